"""The process that keeps a server: samples its memory from before its start, and lets nothing of it outlive the agent.

Started by `kept.Kept` with a pipe as its stdin, which is the leash. The first line on it is the job, "stop" asks for a
graceful end, and its closing, or another parent than the agent, means that the agent was killed: then every process
ends at once. The keeper adopts what the server's processes leave behind, so whoever forks twice stays its descendant.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from .. import gpu
from ..host import parent, process
from . import tree

PR_SET_CHILD_SUBREAPER = 36
TICK_S = 0.1
PSS_EVERY_S = 0.5
PSS_SHARE = 0.05  # of one core, at most: the kernel walks every page table for it
RELEASE_S = 30.0
RELEASED_MB = 64


@dataclass(frozen=True)
class Job:
    """`scratch` is the server's folder for temporary files; `phases` pairs a text of its log with its phase."""

    agent: int
    command: list[str]
    environment: dict[str, str]
    log: str
    timeline: str
    scratch: str
    grace_s: float
    phases: list[list[str]]

    def to_line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"


class Leash:
    """What the agent says. `stop` and `gone` stay true once they are."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._agent = descriptor, 0
        self.stop = self.gone = False
        for number in (signal.SIGTERM, signal.SIGINT):  # from a service manager that ends the agent's whole group
            signal.signal(number, self._ask)

    def job(self) -> Job:
        line = b""
        while not line.endswith(b"\n"):
            if not (byte := os.read(self._descriptor, 1)):
                sys.exit("the agent ended before it gave a job")
            line += byte
        job = Job(**json.loads(line))
        self._agent = job.agent
        return job

    def wait(self, seconds: float) -> None:
        """Listen for so long. A child that the agent forked may hold the pipe open: its parent's pid tells as well."""
        if self.gone:
            time.sleep(seconds)
        elif select.select([self._descriptor], [], [], seconds)[0]:
            said = os.read(self._descriptor, 4096)
            self.stop = self.stop or b"stop" in said
            self.gone = not said
        self.gone = self.gone or os.getppid() != self._agent

    def _ask(self, _number: int, _frame: object) -> None:
        self.stop = True


class Sampler:
    """Writes the timeline: lines [at, gpu_mb, gpu_utilization_percent, pss_mb] and {"at": …, "phase": …}."""

    def __init__(self, job: Job, device: gpu.Device | None, timeline: IO[str]) -> None:
        self._device, self._timeline = device, timeline
        self._log = Path(job.log).open("rb")  # noqa: SIM115 - open as long as the keeper
        self._phases, self._line, self._pss_due = list(job.phases), b"", 0.0

    def sample(self) -> int | None:
        """Write what is due, and return the GPU memory in use. A phase is written before what happens in it."""
        self._follow_log()
        used_mb = utilization = pss_mb = None
        if self._device:
            memory = self._device.memory_mb()
            used_mb, utilization = memory[0] if memory else None, self._device.utilization_percent()
        now = time.monotonic()
        if now >= self._pss_due:
            pss_mb = tree.pss_mb(process.descendants(os.getpid()))
            done = time.monotonic()
            self._pss_due = done + max(PSS_EVERY_S, (done - now) / PSS_SHARE)
        if self._device or pss_mb is not None:
            self._write([now, used_mb, utilization, pss_mb])
        return used_mb

    def phase(self, name: str) -> None:
        self._pss_due = 0.0
        self._write({"at": time.monotonic(), "phase": name})

    def _follow_log(self) -> None:
        *lines, self._line = (self._line + self._log.read()).split(b"\n")
        for line in lines:
            for entry in self._phases:
                if entry[0].encode() in line:
                    self._phases.remove(entry)
                    self.phase(entry[1])
                    break

    def _write(self, entry: Any) -> None:
        with contextlib.suppress(OSError):  # a full disk costs the timeline, not the server
            self._timeline.write(json.dumps(entry) + "\n")
            self._timeline.flush()


def main() -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    leash = Leash(sys.stdin.fileno())
    job = leash.job()
    try:
        with Path(job.timeline).open("w") as timeline, gpu.first_visible(job.environment) as device:
            _keep(job, leash, Sampler(job, device, timeline))
    finally:
        if leash.gone:
            shutil.rmtree(job.scratch, ignore_errors=True)


def _keep(job: Job, leash: Leash, sampler: Sampler) -> None:
    sampler.phase("before")
    before_mb = sampler.sample()
    sampler.phase("start")
    _tell(spawned=time.monotonic())
    server = subprocess.Popen(
        job.command,
        env=job.environment,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,  # the log
        stderr=sys.stderr,
        start_new_session=True,
        preexec_fn=_expendable,
    )
    try:
        _watch(server, job.grace_s, leash, sampler)
    finally:
        _end(server, leash, sampler)
    sampler.phase("gone")
    limit = time.monotonic() + (0.0 if leash.gone else RELEASE_S)
    while (used_mb := sampler.sample()) is not None and before_mb is not None:
        if used_mb <= before_mb + RELEASED_MB or time.monotonic() >= limit:
            break
        leash.wait(TICK_S)


def _watch(server: subprocess.Popen, grace_s: float, leash: Leash, sampler: Sampler) -> None:
    """Return when the server has ended, or is to be ended by force."""
    asked_at = None
    while not leash.gone:
        sampler.sample()
        _reap(server)
        if server.returncode is not None:
            _tell(ended=server.returncode)
            return
        if leash.stop and asked_at is None:
            asked_at = time.monotonic()
            server.terminate()
        if asked_at is not None and time.monotonic() >= asked_at + grace_s:
            return
        leash.wait(TICK_S)


def _end(server: subprocess.Popen, leash: Leash, sampler: Sampler) -> None:
    """Kill until no descendant is left."""
    began = time.monotonic()
    while tree.kill(lambda: process.descendants(os.getpid()), began):
        _reap(server)
        sampler.sample()
        leash.wait(TICK_S)


def _expendable() -> None:
    """In the server's main process: end with the keeper, and be the first that the kernel ends for want of memory."""
    parent.end_with_it()
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _reap(server: subprocess.Popen) -> None:
    """Collect every child that has ended, adopted ones too."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == server.pid:
                server.returncode = os.waitstatus_to_exitcode(ended[1])


def _tell(**news: Any) -> None:
    with contextlib.suppress(OSError):
        sys.stdout.write(json.dumps(news) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
