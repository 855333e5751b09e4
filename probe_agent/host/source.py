"""One line on a node that sets a kernel setting at boot, and the files such lines are found in."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from dataclasses import dataclass, replace
from pathlib import Path

OURS = "# Managed by stethos"
THP = "sys/kernel/mm/transparent_hugepage"
POOLS = "sys/kernel/mm/hugepages"
MEMORY = ("sys/kernel/mm/", "sys/devices/system/node/", "proc/sys/vm/")
LIMIT_BYTES = 4 << 20  # /proc/cpuinfo of a thousand cores fits
BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")


@dataclass(frozen=True)
class Source:
    """`setting` is the knob's path without the leading slash, or a mount point; empty where `file` could not be read.

    `effective` is False when another line of the same kind wins, or when nothing at boot reads this one: `note` says
    which. `value` is empty where a script decides it.
    """

    setting: str
    value: str
    file: str
    line: int
    kind: str
    effective: bool = True
    ours: bool = False
    note: str = ""

    @property
    def sentence(self) -> str:
        """Such as `/etc/sysctl.d/30-db.conf line 3 sets vm.nr_hugepages to 2048`."""
        where = f"{self.file} line {self.line}" if self.line else self.file
        note = f" ({self.note})" if self.note else ""
        if not self.setting:
            return f"{where} {self.note}"
        if self.is_mount:
            return f"{where} mounts hugetlbfs on /{self.setting} with {self.value}{note}"
        if not self.value:
            return f"{where} sets {self.name} to what cannot be told from the line{note}"
        when = " at the next boot" if self.kind == "boot loader" else ""
        return f"{where} sets {self.name} to {self.value}{when}{note}"

    @property
    def is_mount(self) -> bool:
        return bool(self.setting) and not self.setting.startswith(("sys/", "proc/", "default_hugepagesz"))

    @property
    def name(self) -> str:
        """What an operator calls the setting: a sysctl's dotted name, else the path."""
        if self.setting.startswith("proc/sys/"):
            return self.setting[len("proc/sys/") :].replace("/", ".")
        return f"/{self.setting}" if "/" in self.setting else self.setting


@dataclass(frozen=True)
class File:
    """A text file of the node; `error` says why it has no lines, `link` the path that led to it."""

    path: str
    lines: tuple[str, ...] = ()
    error: str = ""
    link: str = ""

    @property
    def ours(self) -> bool:
        return bool(self.lines) and self.lines[0].startswith(OURS)

    def source(self, setting: str, value: str, line: int, kind: str, effective: bool = True, note: str = "") -> Source:
        notes = (f"read as {self.link}" if self.link else "", note)
        return Source(setting, value, self.path, line, kind, effective, self.ours, ", ".join(filter(None, notes)))

    def unread(self, kind: str) -> list[Source]:
        """Return the one source that stands for a file nobody could look into, or none."""
        if not self.error:
            return []
        return [Source("", "", self.path, 0, kind, effective=False, note=f"could not be read: {self.error}")]


def load(path: str, root: Path) -> File | None:
    """Return the file, None when there is none; a link to /dev/null is an empty one.

    Bytes that are no UTF-8 are replaced: a comment in another encoding must not hide the lines around it.
    """
    shown = _shown(path)
    try:
        real = resolve(path, root)
        mode = (root / real).stat().st_mode
        if stat.S_ISCHR(mode):
            return File(shown)
        if not stat.S_ISREG(mode):
            return File(shown, error="it is not a regular file")
        with (root / real).open("rb") as stream:
            data = stream.read(LIMIT_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        return File(shown, error=getattr(error, "strerror", None) or str(error))
    if len(data) > LIMIT_BYTES:
        return File(shown, error="it is larger than 4 MiB")
    text = data.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    # not splitlines(), which counts form feeds and the like as line ends, as no boot tool does
    lines = tuple(line.rstrip("\r") for line in text.split("\n"))
    return File(_shown(real), lines, link=shown if real != path else "")


def resolve(path: str, root: Path) -> str:
    """Follow links as the node would: absolute ones start at `root`. Raises OSError on a loop."""
    for _ in range(40):
        if not (root / path).is_symlink():
            return path
        target = os.readlink(str(root / path))
        path = os.path.normpath(str(Path("/", path).parent / target)).lstrip("/")
    raise OSError("too many links")


def names(folder: str, root: Path) -> list[str]:
    """Return what is in the folder, none where it is missing or closed to us."""
    try:
        return sorted((entry.name for entry in (root / folder).iterdir()), key=os.fsencode)
    except OSError:
        return []


def layered(folders: tuple[str, ...], suffix: str, root: Path) -> list[str]:
    """Return one path per file name, ordered by name: an earlier folder hides its namesakes in the later ones.

    Whatever bears the name hides: systemd 252 lets an empty file, a dangling link and a folder do so too.
    """
    paths: dict[str, str] = {}
    for folder in folders:
        for name in names(folder, root):
            if name.endswith(suffix) and not name.startswith("."):
                paths.setdefault(name, f"{folder}/{name}")
    return [paths[name] for name in sorted(paths, key=os.fsencode)]


def sysctl_path(key: str) -> str:
    """Return `vm.nr_hugepages` and `vm/nr_hugepages` as a path: what separates first is the separator (sysctl.d(5))."""
    separators = re.search(r"[./]", key)
    if separators and separators.group() == ".":
        key = key.translate(str.maketrans("./", "/."))
    return "proc/sys/" + simplify(key)


def simplify(path: str) -> str:
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def matches(name: str, pattern: str) -> bool:
    """Match part by part, as glob(7) does: a star stops at a slash."""
    if name.count("/") != pattern.count("/"):
        return False
    try:
        return all(map(fnmatch.fnmatchcase, name.split("/"), pattern.split("/")))
    except re.error:  # such as [z-a]
        return False


def is_glob(path: str) -> bool:
    return any(character in path for character in "*?[{")


def expand(pattern: str, root: Path) -> list[str]:
    """Return the memory settings a path or glob(7) pattern with braces stands for on this node.

    A pattern that matches nothing stands for itself.
    """
    if not is_glob(pattern):
        return [pattern] if pattern.startswith(MEMORY) else []
    fixed = re.split(r"[*?[{]", pattern)[0]
    if not any(fixed.startswith(memory) or memory.startswith(fixed) for memory in MEMORY):
        return []
    found = {path for plain in _braces(pattern) for path in _glob(plain, root) if path.startswith(MEMORY)}
    return sorted(found) or ([pattern] if pattern.startswith(MEMORY) else [])


def overrule(source: Source, winner: Source) -> Source:
    return replace(source, effective=False, note=f"overruled by {winner.file} line {winner.line}")


def last_wins(sources: list[Source]) -> list[Source]:
    """Return the sources with all but the last effective one of each setting overruled."""
    winners = {source.setting: source for source in sources if source.effective}
    return [
        overrule(source, winners[source.setting])
        if source.effective and source is not winners[source.setting]
        else source
        for source in sources
    ]


def _braces(pattern: str) -> list[str]:
    found = BRACES.search(pattern)
    if not found or pattern.count("{") > 4:  # a line with more is a joke, and would grow without end
        return [pattern]
    before, after = pattern[: found.start()], pattern[found.end() :]
    return [plain for word in found.group(1).split(",") for plain in _braces(f"{before}{word}{after}")]


def _glob(pattern: str, root: Path) -> list[str]:
    if not is_glob(pattern):
        return [pattern] if os.path.lexists(root / pattern) else []
    if ".." in pattern.split("/"):
        return []
    try:
        found = list(root.glob(re.sub(r"\*+", "*", pattern)))
    except (OSError, ValueError, NotImplementedError, re.error):
        return []
    return [path.relative_to(root).as_posix() for path in found]


def _shown(path: str) -> str:
    return "/" + os.fsencode(path).decode("utf-8", "replace")
