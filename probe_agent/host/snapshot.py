"""The way back: what a value was before our first write, kept on the node until a rollback.

The entry is on disk before the write it describes, so a killed run can still be undone. A value that is no longer what
we wrote was changed by somebody else since: a rollback leaves it and says so.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Callable

from . import knobs
from .knobs import Change

FILE = "var/lib/stethos/snapshot.json"


class RefusedError(ValueError):
    """The kernel, or the way /sys is mounted, did not take a value."""

    def __init__(self, change: Change, error: OSError) -> None:
        super().__init__(f"/{change.path} does not take {change.after}: {error.strerror}")
        self.errno = error.errno


@dataclass(frozen=True)
class Entry:
    """One thing we changed: a `knob` with its values, a `mount`, a `folder` we made for it, a `file`, a
    `unit` we enabled, the `tuned` profiles, or `boot words` given to grubby.

    `settled` is False between the intent and the read-back.
    """

    kind: str
    path: str
    before: str
    wrote: str
    since: str
    settled: bool = False


@dataclass(frozen=True)
class Undo:
    """What a rollback does about one entry: write `change`, take away `gone`, or leave it because of `foreign`."""

    entry: Entry
    change: Change | None = None
    gone: bool = False
    foreign: str = ""


def read(root: Path = Path("/"), file: str = FILE) -> list[Entry]:
    """Return the entries, oldest first. Raises ValueError when the file is not ours to understand."""
    try:
        text = (root / file).read_text()
    except FileNotFoundError:
        return []
    try:
        return [Entry(**row) for row in json.loads(text)["entries"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{root / file} cannot be read as a snapshot ({error}); move it away to start anew") from None


def _write(entries: list[Entry], root: Path, file: str) -> None:
    path = root / file
    if not entries:
        if path.exists():
            path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    with fresh.open("w") as stream:
        json.dump({"schema_version": 1, "entries": [asdict(entry) for entry in entries]}, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(path)


def record(
    kind: str,
    path: str,
    before: str,
    wrote: str,
    root: Path = Path("/"),
    settled: bool = False,
    file: str = FILE,
) -> None:
    """Keep the entry; the first `before` of a path stays, later calls only renew what we wrote."""
    entries = {(entry.kind, entry.path): entry for entry in read(root, file)}
    known = entries.get((kind, path))
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    entries[kind, path] = (
        replace(known, wrote=wrote, settled=settled) if known else Entry(kind, path, before, wrote, now, settled)
    )
    _write(list(entries.values()), root, file)


def forget(done: list[Entry], root: Path = Path("/"), file: str = FILE) -> None:
    """Drop entries that have been dealt with, whatever else about them changed meanwhile."""
    gone = {(entry.kind, entry.path) for entry in done}
    _write([entry for entry in read(root, file) if (entry.kind, entry.path) not in gone], root, file)


def apply(
    changes: list[Change],
    root: Path = Path("/"),
    write: Callable[[Change, Path], str] = knobs.write,
    file: str = FILE,
) -> dict[str, str]:
    """Carry the changes out, each kept for rollback first. Returns path to the value read back."""
    actual = {}
    for change in changes:
        entries = read(root, file)
        record("knob", change.path, change.before, change.after, root, file=file)
        try:
            actual[change.path] = write(change, root)
        except OSError as error:
            _write(entries, root, file)  # nothing was changed
            raise RefusedError(change, error) from error
        record("knob", change.path, change.before, actual[change.path], root, settled=True, file=file)
    return actual


def plan_rollback(entries: list[Entry], mounted: set[str], root: Path = Path("/")) -> list[Undo]:
    """Return what to do about each entry, latest first. `mounted` are the targets of hugetlbfs mounts."""
    undos = []
    for entry in reversed(entries):
        if entry.kind == "mount":
            undos.append(Undo(entry, gone=entry.path in mounted))
        elif entry.kind in ("unit", "tuned", "boot words"):
            undos.append(Undo(entry, gone=True))
        elif entry.kind == "file":
            undos.append(_undo_file(entry, root / entry.path))
        elif entry.kind == "folder":
            undos.append(Undo(entry, gone=(root / entry.path.lstrip("/")).is_dir()))
        else:
            undos.append(_undo_knob(entry, knobs.read(entry.path, root)))
    return undos


def _undo_file(entry: Entry, file: Path) -> Undo:
    """Our files had no forerunner, so going back means taking them away."""
    if not file.exists():
        return Undo(entry)
    if entry.settled and file.read_text() != entry.wrote:
        return Undo(entry, foreign=f"/{entry.path} was edited after we wrote it, and stays")
    return Undo(entry, gone=True)


def _undo_knob(entry: Entry, found: knobs.Knob | None) -> Undo:
    if found is None:
        return Undo(entry, foreign=f"/{entry.path} is no longer there")
    if found.value == entry.before:
        return Undo(entry)
    if entry.settled and found.value != entry.wrote:
        return Undo(entry, foreign=f"/{entry.path} is {found.value}: somebody changed it after we wrote {entry.wrote}")
    return Undo(entry, change=Change(entry.path, found.value, entry.before))
