"""What every child of `fresh.run` does around its measurement: end with the agent, report stages, wait to be read."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from ..host import parent


def main(measure: Callable[[dict[str, Any], Callable[[str], None]], dict[str, Any]]) -> None:
    """Run `measure(job, stage)` and send its reply; a stage ends when `stage` is called with its name."""
    parent.end_with_it()  # the agent may be killed
    job = json.loads(sys.argv[1])
    with os.fdopen(job["events"], "w", buffering=1) as events:

        def stage(name: str) -> None:
            events.write(json.dumps({"stage": name, "at": time.perf_counter()}) + "\n")

        stage("start")
        reply = measure(job, stage)
        events.write(json.dumps({"reply": reply}) + "\n")
        sys.stdin.readline()  # alive until the agent has read /proc/PID
