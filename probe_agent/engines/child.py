"""What every child of `fresh.run` does around its measurement: end with the agent, report stages, wait to be read."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

PR_SET_PDEATHSIG = 1


def main(measure: Callable[[dict[str, Any], Callable[[str], None]], dict[str, Any]]) -> None:
    """Run `measure(job, stage)` and send its reply; a stage ends when `stage` is called with its name."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # the agent may be killed
    job = json.loads(sys.argv[1])
    with os.fdopen(job["events"], "w", buffering=1) as events:

        def stage(name: str) -> None:
            events.write(json.dumps({"stage": name, "at": time.perf_counter()}) + "\n")

        stage("start")
        reply = measure(job, stage)
        events.write(json.dumps({"reply": reply}) + "\n")
        sys.stdin.readline()  # alive until the agent has read /proc/PID
