"""Files that somebody else may have put there: read whole, or refused in words."""

from __future__ import annotations

import stat
from pathlib import Path

LIMIT_BYTES = 16 << 20


def content(path: Path) -> bytes:
    """Return the bytes of one regular file, not through a link. Raises ValueError in words, OSError by the disk."""
    if not stat.S_ISREG(path.lstat().st_mode):  # a pipe would wait for ever
        raise ValueError("it is a link or no regular file, which is not read")
    with path.open("rb") as stream:
        found = stream.read(LIMIT_BYTES + 1)
    if len(found) > LIMIT_BYTES:
        raise ValueError(f"it is larger than {LIMIT_BYTES >> 20} MiB")
    return found
