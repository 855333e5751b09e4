"""Files we own on a node: marked in their first line, written whole, kept for rollback."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from . import snapshot, source

MARK = source.OURS


@dataclass(frozen=True)
class OwnedFile:
    """`path` is relative to the root; `body` is what follows the mark."""

    path: str
    body: str

    @property
    def text(self) -> str:
        return f"{MARK}: change the inventory, not this file\n{self.body}"


@dataclass(frozen=True)
class FileChange:
    """A write that is owed, or with `after` None a removal."""

    path: str
    before: str | None
    after: str | None


def read(path: str, root: Path = Path("/")) -> str | None:
    try:
        return (root / path).read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None


def plan(path: str, wanted: OwnedFile | None, root: Path = Path("/")) -> FileChange | None:
    """Return what makes the file at `path` `wanted` (None: absent), or None when nothing is owed.

    Raises ValueError where somebody else's file has the name.
    """
    found = read(path, root)
    if found is not None and not found.startswith(MARK):
        if wanted is None:
            return None
        raise ValueError(f"/{path} is there and was not written by this tool; move it away first")
    after = wanted.text if wanted else None
    return None if found == after else FileChange(path, found, after)


def write(change: FileChange, root: Path = Path("/")) -> None:
    """Carry the change out, recorded for rollback first."""
    path = root / change.path
    if change.after is None:
        path.unlink()
        snapshot.forget(
            [entry for entry in snapshot.read(root) if (entry.kind, entry.path) == ("file", change.path)], root
        )
        return
    snapshot.record("file", change.path, change.before or "", change.after, root)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("w") as stream:
        stream.write(change.after)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.chmod(0o644)
    fresh.replace(path)
    snapshot.record("file", change.path, change.before or "", change.after, root, settled=True)
