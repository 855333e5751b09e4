"""A server under a keeper, seen from the agent: started, listened to, and ended whatever became of either of them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ..host import process
from . import keeper, tree
from .fresh import ProcessFailed, python_path
from .timeline import Timeline, from_lines

GRACE_S = 10.0
END_S = GRACE_S + tree.TRACKER_GRACE_S + keeper.RELEASE_S + 20
BURIAL_S = 10.0


class Kept:
    """One server and its keeper. `spawned_at` is a time.monotonic() value; `status` is the server's, once it ended.

    The server's temporary files go to a folder of its own. The variable that says so also marks its processes: by it
    they are found when the keeper is no more.
    """

    def __init__(
        self, command: list[str], environment: dict[str, str], log: Path, phases: tuple[tuple[str, str], ...] = ()
    ) -> None:
        self.log = log
        self.status: int | None = None
        self.spawned_at = time.monotonic()
        self._readings = log.with_suffix(".jsonl")
        self._marks: list[tuple[float, str]] = []
        self._timeline: Timeline | None = None
        self._heard, self._oom_kills = b"", _oom_kills()
        with log.open("wb") as words:
            self._scratch = Path(tempfile.mkdtemp(prefix="stethos-"))
            self._keeper = subprocess.Popen(
                [sys.executable, "-m", keeper.__name__],
                env={**os.environ, **python_path()},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
                start_new_session=True,  # a terminal's Ctrl-C goes to the agent, which then ends the server in order
            )
        job = keeper.Job(
            agent=os.getpid(),
            command=command,
            environment={**environment, "TMPDIR": str(self._scratch)},
            log=str(log),
            timeline=str(self._readings),
            scratch=str(self._scratch),
            grace_s=GRACE_S,
            phases=[list(phase) for phase in phases],
        )
        self._say(job.to_line())

    def pids(self) -> list[int]:
        """Return the server's processes, its main one first."""
        return process.descendants(self._keeper.pid)

    def check(self) -> None:
        """Raise ProcessFailed when the server has ended, or its keeper."""
        self._hear(0.0)
        if self.status is not None:
            raise ProcessFailed(f"the server {_how(self.status)}{self.oom()}")
        if self._keeper.poll() is not None:
            self._bury()
            raise ProcessFailed(f"the server's keeper {_how(self._keeper.returncode)}{self.oom()}")

    def oom(self) -> str:
        """Return what the kernel ended for want of memory since the spawn, as part of a sentence."""
        killed = _oom_kills() - self._oom_kills
        return f" (the node's memory ran out: processes that the kernel ended for it: {killed})" if killed else ""

    def mark(self, phase: str) -> None:
        self._marks.append((time.monotonic(), phase))

    def timeline(self) -> Timeline:
        if self._timeline:
            return self._timeline
        self._hear(0.0)
        try:
            return from_lines(self._readings.read_text(), self._marks, self.spawned_at)
        except FileNotFoundError:
            return from_lines("", self._marks, self.spawned_at)

    def stop(self) -> Timeline:
        """End every process and wait until what they held is free again. Again and again it returns the same.

        Raises ProcessFailed when some process does not end.
        """
        if self._timeline:
            return self._timeline
        self.mark("stop")
        self._say(b"stop\n")
        limit = time.monotonic() + END_S
        try:
            while time.monotonic() < limit and self._hear(limit - time.monotonic()):
                pass
        finally:
            self._bury()
        self._timeline = self.timeline()
        self._readings.unlink(missing_ok=True)
        return self._timeline

    def _say(self, words: bytes) -> None:
        if self._keeper.stdin.closed:
            return
        with contextlib.suppress(BrokenPipeError):  # it ended; what it leaves is seen to elsewhere
            os.write(self._keeper.stdin.fileno(), words)

    def _hear(self, seconds: float) -> bool:
        """Listen to the keeper for so long at most. False: it has nothing to say any more, and will end."""
        while select.select([self._keeper.stdout], [], [], max(0.0, seconds))[0]:
            said = os.read(self._keeper.stdout.fileno(), 4096)
            if not said:
                return False
            *lines, self._heard = (self._heard + said).split(b"\n")
            for line in lines:
                news = json.loads(line)
                self.spawned_at = news.get("spawned", self.spawned_at)
                self.status = news.get("ended", self.status)
            seconds = 0.0
        return True

    def _bury(self) -> None:
        """Let the keeper end, and see to what is left where it was killed or does not end."""
        self._keeper.stdin.close()
        try:
            self._keeper.wait(BURIAL_S)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()
        began = time.monotonic()
        while tree.kill(self._marked, began):
            if time.monotonic() > began + BURIAL_S:
                left = ", ".join(map(str, self._marked()))
                raise ProcessFailed(f"these processes of the server do not end, not even by SIGKILL: {left}")
            time.sleep(0.05)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _marked(self) -> list[int]:
        return tree.started_with(f"TMPDIR={self._scratch}")


def _how(status: int) -> str:
    return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def _oom_kills() -> int:
    """Return how many processes the kernel has ended for want of memory since boot."""
    found = re.search(r"^oom_kill (\d+)$", Path("/proc/vmstat").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0
