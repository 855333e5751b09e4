"""One measurement in one fresh process: start it, follow its stages, read its memory while it lives, let it end."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..host import process, proof
from ..host.proof import Proof

PACKAGE_PARENT = Path(__file__).resolve().parents[2]
TAIL_LINES = 3
GONE_WITHIN_S = 2.0


class ProcessFailed(Exception):
    """The process ended, or did not end, in a way that leaves no measurement. The text says why."""


@dataclass(frozen=True)
class Finished:
    """What one process gave.

    `stages_s` maps a stage to its seconds, in order. `proof` is what it and all it started showed before it ended.
    `wall_s` is start to exit, less the `held_s` that it was held for reading.
    """

    stages_s: dict[str, float]
    reply: dict[str, Any]
    proof: Proof
    wall_s: float
    held_s: float


def run(
    module: str,
    job: dict[str, Any],
    environment: dict[str, str],
    deadline: float,
    prepare: Callable[[], None] | None = None,
) -> Finished:
    """Run `python -m module` on `job` and return what it measured.

    `environment` is added to the node's; an empty value takes a variable away. `deadline` is a time.monotonic() value.
    `prepare` runs in the new process before its program starts. The child speaks JSON lines on a pipe of its own
    (libraries print to stdout), and waits when it is done until its memory has been read. Raises ProcessFailed.
    """
    reader, writer = os.pipe()
    with tempfile.TemporaryFile() as log, os.fdopen(reader, "rb") as events:
        began = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps({**job, "events": writer})],
            env={**_without(environment), **python_path()},
            preexec_fn=prepare,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=(writer,),
            start_new_session=True,
        )
        os.close(writer)
        try:
            stages, reply = _follow(events, child, began, deadline)
            hold_began = time.perf_counter()
            found = proof.read(child.pid)
            held_s = time.perf_counter() - hold_began
            child.communicate(b"\n", timeout=max(0.1, deadline - time.monotonic()))
            wall_s = time.perf_counter() - began - held_s
        except subprocess.TimeoutExpired:
            raise ProcessFailed("the process did not end before the deadline") from None
        except (FileNotFoundError, ProcessLookupError, EOFError) as error:
            said = _epitaph(child, log) if _ended(child) else f"the process lives, and cannot be read: {error}"
            raise ProcessFailed(said) from None
        finally:
            _end(child)
        if child.returncode:
            raise ProcessFailed(_epitaph(child, log))
    return Finished(stages, reply, found, wall_s, held_s)


def _without(environment: dict[str, str]) -> dict[str, str]:
    """Return the node's environment with `environment` in it, less the variables that are empty there.

    An empty variable is not an absent one: torch takes an empty PYTORCH_CUDA_ALLOC_CONF for the settings it looks for.
    """
    return {name: value for name, value in {**os.environ, **environment}.items() if value or name not in environment}


def python_path() -> dict[str, str]:
    """Return the environment in which a child finds the agent, and still whatever the operator's path adds."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(PACKAGE_PARENT), os.environ.get("PYTHONPATH")]))}


def _follow(events: Any, child: subprocess.Popen, began: float, deadline: float) -> tuple[dict[str, float], dict]:
    """Return the stages and the reply. Raises EOFError when the child closes its pipe early."""
    stages: dict[str, float] = {}
    last, buffered = began, b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([events], [], [], left)[0]:
            after = f"after {list(stages)[-1]!r}" if stages else "before its first stage"
            raise ProcessFailed(f"the deadline came {after}, {time.perf_counter() - began:.0f} s into the process")
        chunk = os.read(events.fileno(), 65536)
        if not chunk:
            child.wait(timeout=10)
            raise EOFError
        *lines, buffered = (buffered + chunk).split(b"\n")
        for line in lines:
            event = json.loads(line)
            if "reply" in event:
                return stages, event["reply"]
            stages[event["stage"]] = event["at"] - last  # perf_counter is one clock for all processes of a node
            last = event["at"]


def _ended(child: subprocess.Popen) -> bool:
    """Tell whether the child has ended. Its memory is gone a moment earlier, so it gets that moment."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(GONE_WITHIN_S)
    return child.returncode is not None


def _epitaph(child: subprocess.Popen, log: Any) -> str:
    """Say how the child, which has, ended, with the last words of its log."""
    code = child.returncode
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    log.seek(0)
    words = last_words(log.read().decode(errors="replace"))
    return f"the process {how}" + (f": {words}" if words else "")


def last_words(log: str) -> str:
    """Return the end of a log as one line: of a Python traceback, the error alone."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return " | ".join(lines[-1:] if "Traceback (most recent call last):" in lines else lines[-TAIL_LINES:])


def _end(child: subprocess.Popen) -> None:
    """End the child's whole session; nothing of it outlives the measurement, nor holds memory in the next."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    if child.stdin:
        child.stdin.close()
    latest = time.monotonic() + GONE_WITHIN_S
    while process.group(child.pid) and time.monotonic() < latest:
        time.sleep(0.01)
