"""A process that fills a cgroup with page cache, and then squeezes it there by memory of its own.

First it reads the files, so that their pages are charged to the cgroup; then its balloon takes all of the limit but the
room left for them. It holds that until it is released, and lets go by itself when the agent has gone or the node runs
short: it is the first to be killed for want of memory, and the kernel ends it with the agent.
"""

from __future__ import annotations

import json
import mmap
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..host import cgroup, meminfo, pagecache, parent, process
from .fresh import ProcessFailed, last_words, python_path

MIB = 1 << 20
OWN_BYTES = 64 * MIB  # of the limit, for the process that reads and squeezes
SLACK_BYTES, SLACK_PART = 8 * MIB, 128  # page tables and the page cache's index take half of that
LOOK_EVERY_S = 0.1
LEAVES_WITHIN_S = 10


@dataclass(frozen=True)
class Job:
    """`pressed_bytes` of `files`, in their order, are charged to `group`; of these `room_bytes` may stay."""

    group: str
    version: int
    files: tuple[str, ...]
    pressed_bytes: int
    room_bytes: int
    floor_kb: int


def slack(pressed_bytes: int) -> int:
    """Return what page tables and the kernel's own records take, and what keeps the cgroup from running out."""
    return SLACK_BYTES + pressed_bytes // SLACK_PART


def limit(pressed_bytes: int) -> int:
    """Return the limit of a cgroup in which so much page cache has room."""
    return pressed_bytes + slack(pressed_bytes) + OWN_BYTES


def fitting(limit_bytes: int) -> int:
    """Return how much page cache a cgroup of that limit has room for, in whole pages."""
    left = limit_bytes - SLACK_BYTES - OWN_BYTES
    return left * SLACK_PART // (SLACK_PART + 1) // mmap.PAGESIZE * mmap.PAGESIZE


def size(pressed_bytes: int, room_bytes: int, own_bytes: int) -> int:
    """Return the balloon that leaves `room_bytes`, in whole pages; `own_bytes` are charged to the process already."""
    left = limit(pressed_bytes) - slack(pressed_bytes) - own_bytes - room_bytes
    return max(1, left // mmap.PAGESIZE) * mmap.PAGESIZE


class Balloon:
    """Holds what `job` says from its start until it is released. Raises ProcessFailed when it cannot."""

    def __init__(self, job: Job, deadline: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, json.dumps(asdict(job))],
            env={**os.environ, **python_path()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            self.bytes = self._answer(deadline - time.monotonic())["balloon_bytes"]
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Balloon:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def release(self) -> int:
        """Let go, and return the least MemAvailable in kB that the node had meanwhile."""
        self._process.stdin.close()
        return self._answer(LEAVES_WITHIN_S)["lowest_available_kb"]

    def _answer(self, seconds: float) -> dict[str, Any]:
        if not select.select([self._process.stdout], [], [], max(0.0, seconds))[0]:
            raise ProcessFailed("the balloon that squeezes the page cache did not answer in time")
        line = self._process.stdout.readline()
        if not line:
            raise ProcessFailed(f"the balloon that squeezes the page cache {self._epitaph()}")
        return json.loads(line)

    def _epitaph(self) -> str:
        code = self._process.wait()
        words = last_words(self._process.stderr.read().decode(errors="replace"))
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        return f"{how}: {words}" if words else how

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            stream.close()


def main() -> None:
    parent.end_with_it()
    Path("/proc/self/oom_score_adj").write_text("1000")
    job = Job(**json.loads(sys.argv[1]))
    group, before = Path(job.group), _anonymous()
    cgroup.join(group)
    own = cgroup.usage(group, job.version)
    pagecache.warm(map(Path, job.files), end=job.pressed_bytes)
    own += _anonymous() - before
    taken = size(job.pressed_bytes, job.room_bytes, own)
    with mmap.mmap(-1, taken, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE):
        _say(balloon_bytes=taken)
        _say(lowest_available_kb=_hold(job.floor_kb))


def _hold(floor_kb: int) -> int:
    """Wait until stdin closes, and return the least MemAvailable seen; below the floor, end the process."""
    lowest = sys.maxsize
    while True:
        released = select.select([sys.stdin], [], [], LOOK_EVERY_S)[0]
        lowest = min(lowest, meminfo.read()["MemAvailable"])
        if lowest < floor_kb:
            sys.exit(f"it let go: MemAvailable of the node fell to {lowest >> 10} MiB, below {floor_kb >> 10} MiB")
        if released:
            return lowest


def _anonymous() -> int:
    return process.parse_kb(Path("/proc/self/status").read_text())["RssAnon"] << 10


def _say(**answer: int) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
