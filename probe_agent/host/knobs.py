"""One kernel setting is one small file: read it, plan a change, write it, read it back."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

ACTIVE = re.compile(r"\[([^\]]+)\]")


@dataclass(frozen=True)
class Knob:
    """`value` is what holds now; `choices` are the words the kernel offers, empty for a number."""

    path: str
    value: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Change:
    """A write that is owed: `path` is relative to the root."""

    path: str
    before: str
    after: str


def parse(path: str, text: str) -> Knob:
    """Read `always [madvise] never` as a choice, anything else as a plain value."""
    active = ACTIVE.search(text)
    if active is None:
        return Knob(path, text.strip())
    return Knob(path, active.group(1), tuple(text.replace("[", "").replace("]", "").split()))


def read(path: str, root: Path = Path("/")) -> Knob | None:
    """Return the knob, or None where this kernel (or this reader's rights) has no such file.

    The value of a pool of huge pages is without its surplus, which the pool's file counts but a write does not set.
    """
    try:
        found = parse(path, (root / path).read_text())
        surplus = (root / path).with_name("surplus_hugepages")
        if path.endswith("/nr_hugepages") and surplus.exists():
            return replace(found, value=str(int(found.value) - int(surplus.read_text())))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    return found


def read_folder(folder: str, root: Path = Path("/")) -> dict[str, Knob]:
    """Return every readable knob directly in `folder`, by file name."""
    try:
        names = sorted(entry.name for entry in (root / folder).iterdir() if entry.is_file())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found = {name: read(f"{folder}/{name}", root) for name in names}
    return {name: knob for name, knob in found.items() if knob is not None}


def plan(variable: str, found: Knob | None, wanted: object) -> Change | None:
    """Return the write that fulfils `wanted`, or None. Raises ValueError on a word the kernel does not offer."""
    if found is None:
        raise ValueError(f"{variable} is {wanted}, and this kernel has no such setting")
    value = str(wanted)
    if found.choices and value not in found.choices:
        raise ValueError(f"{variable} is {value}, and must be one of {', '.join(found.choices)}")
    return None if value == found.value else Change(found.path, found.value, value)


def write(change: Change, root: Path = Path("/")) -> str:
    """Write, and return what the kernel made of it. Raises OSError where the kernel refuses."""
    (root / change.path).write_text(change.after)
    found = read(change.path, root)
    return found.value if found else ""
