"""The real agent, its lock, deadline, result and progress included, over a probe that takes a second per sample.

The session's environment says how it goes: STAND_IN_S seconds, a clock that is STAND_IN_CLOCK_S off, and a result of
STAND_IN_BYTES.
"""

import json
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from probe_agent import __main__, result, run

SECONDS = int(os.environ.get("STAND_IN_S", "5"))
CLOCK = timedelta(seconds=int(os.environ.get("STAND_IN_CLOCK_S", "0")))
BYTES = int(os.environ.get("STAND_IN_BYTES", "0"))
SAMPLE = Path(__file__).parents[2] / "unit/reports/samples/run/hosts/node1/result.json"
ROWS = json.loads(SAMPLE.read_text())["probes"]["load"]["samples"]


class Load:
    """Rows as the load probe has them."""

    @staticmethod
    def rows(bench):
        bench.progress.expect(SECONDS)
        for number in range(SECONDS):
            bench.progress.step(f"warm load {number + 1} of {SECONDS}")
            if time.monotonic() + 1 >= bench.deadline:
                raise ValueError("the deadline came before all samples were taken")
            time.sleep(1)
            yield {**ROWS[number % len(ROWS)], "pair": number}

    @staticmethod
    def evidence(samples, bench):
        return {"eviction_worked": True}

    @staticmethod
    def headline(samples):
        return {"warm_load_s": samples[0]["load_s"]}


class Waits:
    """No row, and no end until the test puts the file `go` where the agent keeps its state."""

    @staticmethod
    def rows(bench):
        bench.progress.expect(1)
        bench.progress.step("waiting")
        while not (Path(bench.spec.state_dir) / "go").exists() and time.monotonic() < bench.deadline:
            time.sleep(0.1)
        yield from ()


def now():
    return (datetime.now(UTC) + CLOCK).isoformat(timespec="seconds")


if __name__ == "__main__":
    run.PROBES.update(load=Load, curves=Waits)
    result.now = now
    status = __main__.main()
    if BYTES:
        os.truncate(sys.argv[-1], BYTES)
    sys.exit(status)
