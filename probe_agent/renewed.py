"""Files that a run renews as it goes: whole at any moment, or the run has no place for what it measures."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


class NotKept(Exception):
    """The file cannot be written. No OSError: a probe that meets one of its own fails alone, this ends the run."""


@contextlib.contextmanager
def renewed(path: Path) -> Iterator[Path]:
    """Yield the file to write, which takes the place of `path` when that is done. Raises NotKept."""
    fresh = path.with_suffix(".new")
    try:
        yield fresh
        fresh.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise NotKept(str(error)) from None
