"""The page cache of given files: how much is resident, and eviction that is checked.

posix_fadvise(2) POSIX_FADV_DONTNEED drops clean pages of one file; mincore(2) tells what stayed.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable

BLOCK_BYTES = 8 << 20
LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Residency:
    """Pages of a set of files: in the page cache, and in all."""

    resident_pages: int
    pages: int

    @property
    def share(self) -> float:
        return self.resident_pages / self.pages if self.pages else 0.0


def residency(files: Iterable[Path]) -> Residency:
    """Return how much of `files` is in the page cache, without reading them."""
    counts = [_pages_of(file) for file in files]
    return Residency(sum(resident for resident, _ in counts), sum(pages for _, pages in counts))


def _pages_of(file: Path) -> tuple[int, int]:
    size = file.stat().st_size
    if not size:
        return 0, 0
    pages = -(-size // mmap.PAGESIZE)
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_COPY) as view:
        start = ctypes.c_char.from_buffer(view)  # only a private mapping gives ctypes its address
        vector = (ctypes.c_ubyte * pages)()
        try:
            failed = LIBC.mincore(ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(size), vector)
            error = ctypes.get_errno()
        finally:
            del start  # or the mapping cannot be closed, and its complaint hides what went wrong
    if failed:
        raise OSError(error, f"mincore on {file}: {os.strerror(error)}")
    return sum(byte & 1 for byte in bytes(vector)), pages


def evict(files: Iterable[Path]) -> None:
    """Ask the kernel to drop the files' pages; dirty ones are written first, since they cannot be dropped."""
    for file in files:
        descriptor = os.open(str(file), os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def drop_all(root: Path = Path("/")) -> None:
    """Drop the clean page cache of the whole node, as the labs do. Needs root; every process on the node feels it."""
    os.sync()
    (root / "proc/sys/vm/drop_caches").write_text("3")


def warm(files: Iterable[Path], start: int = 0, end: int | None = None) -> None:
    """Read the files once, so that their pages are resident: of all their bytes in a row, those from start to end."""
    block = memoryview(bytearray(BLOCK_BYTES))
    for file in files:
        size = file.stat().st_size
        first, last = max(0, start), size if end is None else min(size, end)
        with file.open("rb", buffering=0) as stream:
            stream.seek(first)
            left = last - first
            while left > 0 and (got := stream.readinto(block[:left])):
                left -= got
        start -= size
        end = None if end is None else end - size
