"""A process that gives back the node's settings as soon as the agent has gone, however that came.

It waits on a pipe which only the agent holds open: the kernel closes it even when the agent is killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from ..host import loans
from .fresh import python_path

READY = b"ready\n"
LEAVES_WITHIN_S = 10


class Guard:
    """Watches over the journal `file` until it is dismissed. Raises ValueError when it does not start."""

    def __init__(self, file: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, file],
            env={**os.environ, **python_path()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C at the agent's terminal is not for the guard
        )
        if self._process.stdout.readline() != READY:
            self.dismiss()
            raise ValueError("no setting of the node is changed: the guard that would put it back did not start")

    def dismiss(self) -> None:
        """Let it give back what may be left, and end."""
        self._process.stdin.close()
        try:
            self._process.wait(LEAVES_WITHIN_S)
        except subprocess.TimeoutExpired:  # the kernel holds its write; the journal stays for the next run
            self._process.kill()
        self._process.stdout.close()


def main() -> None:
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # what kills the agent for want of memory shall leave its guard
        Path("/proc/self/oom_score_adj").write_text("-1000")
    sys.stdout.buffer.write(READY)
    sys.stdout.flush()
    sys.stdin.read()
    for sentence in loans.give_back(sys.argv[1]):
        sys.stderr.write(sentence + "\n")


if __name__ == "__main__":
    main()
