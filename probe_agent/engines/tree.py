"""The processes of a server: found wherever they went, read together, and ended without hitting anybody else."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from ..host import process

TRACKER = b"multiprocessing.resource_tracker"
TRACKER_GRACE_S = 2.0


def pss_mb(pids: Iterable[int], root: Path = Path("/")) -> float:
    """Return the memory of all of them, what they share counted once (PSS). Those that have ended count nothing."""
    total_kb = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total_kb += process.parse_kb((root / f"proc/{pid}/smaps_rollup").read_text()).get("Pss", 0)
    return round(total_kb / 1024, 1)


def started_with(variable: str, root: Path = Path("/")) -> list[int]:
    """Return the processes in whose environment `variable` ("NAME=value") was when they started."""
    found = []
    for folder in (root / "proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if variable.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def born(pid: int, root: Path = Path("/")) -> int | None:
    """Return when `pid` started, in clock ticks since boot: both together name one process for ever. None: it ended."""
    try:
        stat = (root / f"proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def name(pid: int, root: Path = Path("/")) -> str:
    """Return what the process calls itself, or nothing when it ended."""
    try:
        return (root / f"proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def is_tracker(pid: int, root: Path = Path("/")) -> bool:
    """Tell whether this is Python's own helper that removes the shared memory of processes that died.

    It ignores SIGTERM, ends by itself when the last of them is gone, and killed before that it leaves the memory taken.
    """
    try:
        return TRACKER in (root / f"proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def kill(find: Callable[[], list[int]], began: float) -> bool:
    """Kill once what `find` returns, and tell whether it returned anything.

    The trackers of shared memory get some seconds from `began` (time.monotonic()) on to do their work.
    A pid that belongs to somebody else by now is left alone: it is held first, then found again.
    """
    patient = time.monotonic() < began + TRACKER_GRACE_S
    held = {}
    for pid in find():
        with contextlib.suppress(ProcessLookupError):
            held[pid] = os.pidfd_open(pid)
    still = set(find())
    for pid, descriptor in held.items():
        if pid in still and not (patient and is_tracker(pid)):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.close(descriptor)
    return bool(still)
