"""Where the time of a run goes: to what is measured, mostly the model and the engine at work, or to ourselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

# What is measured is at work: fresh processes from start to exit, a server until it is ready and until it has ended,
# requests under way, and the balloon of the pressure probe until the page cache is as small as it shall be. A process
# being held for reading is not at work.
PROCESSES, SERVER_START, REQUESTS, SERVER_STOP = "processes", "server_start", "requests", "server_stop"
SQUEEZE = "squeeze"
AT_WORK = (PROCESSES, SERVER_START, REQUESTS, SERVER_STOP, SQUEEZE)
# The model is made, or found as it was made before: it belongs to the environment.
MODEL = "model"
# Ours: waiting for a calm node, bringing files into the page cache or out of it, reading a process that is held,
# changing settings of the node and putting them back, and all the rest of the agent.
SETTLE, PAGE_CACHE, READING, SETTINGS, OTHER = "settle", "page_cache", "reading", "settings", "other"
OURS = (SETTLE, PAGE_CACHE, READING, SETTINGS, OTHER)


class Clock:
    """Counts every second since it was made for one kind: for the innermost that is open, or for OTHER."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._since = now, now()
        self._open, self._spent_s = [OTHER], dict.fromkeys((*AT_WORK, MODEL, *OURS), 0.0)

    @contextmanager
    def of(self, kind: str) -> Iterator[None]:
        """Count what happens inside for `kind`."""
        self._count()
        self._open.append(kind)
        try:
            yield
        finally:
            self._count()
            self._open.pop()

    def move(self, seconds: float, source: str, target: str) -> None:
        """Count for `target` what was counted for `source`."""
        self._spent_s[source] -= seconds
        self._spent_s[target] += seconds

    def read(self) -> dict[str, float]:
        """Return the seconds of each kind so far."""
        self._count()
        return dict(self._spent_s)

    def _count(self) -> None:
        now = self._now()
        self._spent_s[self._open[-1]] += now - self._since
        self._since = now


def timing(spent_s: Mapping[str, float], before: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Return what a result keeps of a clock: seconds of each kind, and since `before` where that is given."""
    found = {kind: round(seconds - (before or {}).get(kind, 0.0), 4) for kind, seconds in spent_s.items()}
    share = overhead_percent(found)
    return {
        "took_s": round(sum(found.values()), 4),
        "spent_s": {kind: seconds for kind, seconds in found.items() if seconds},
        **({} if share is None else {"overhead_percent": round(share, 2)}),
    }


def overhead_percent(spent_s: Mapping[str, float]) -> float | None:
    """Return which share of the wall time nothing that is measured was at work; None where no time went by.

    Making the model ready counts neither way. What goes on beside the work takes no time of its own here: while a
    server lives its memory is read from another process, for at most a twentieth of one core.
    """
    ours, work = (sum(spent_s.get(kind, 0.0) for kind in kinds) for kinds in (OURS, AT_WORK))
    return 100 * ours / (ours + work) if ours + work else None
