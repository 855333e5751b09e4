"""One at a time on a node: a probe, or a change of its settings. Together, one would measure or undo the other."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path
from typing import IO

from . import snapshot

NAME = "agent.lock"
WAIT_S = 15.0  # an agent that was asked to end has to stop its server first
LOOK_EVERY_S = 0.2


def take(folder: Path, wait_s: float) -> IO[str]:
    """Return the lock in `folder`, held until it is closed or the process ends. Raises ValueError when it is taken."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / NAME).open("a")
    latest = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            if time.monotonic() >= latest:
                lock.close()
                raise ValueError(
                    f"another probe is running on this node, or another run tunes it ({folder / NAME} is held); "
                    "let it end first"
                ) from None
            time.sleep(LOOK_EVERY_S)


def to_tune(root: Path = Path("/"), wait_s: float = WAIT_S) -> IO[str]:
    """Return the lock that a module holds from its first reading to its last, so that no other changes what it read."""
    return take((root / snapshot.FILE).parent, wait_s)
