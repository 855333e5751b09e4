"""Runs batching and curves on one vLLM server, and batching once more while the server is killed. `MODEL SPEC FOLDER`.

In the node's environment, and with one server for all of it: starting one is what takes the time. Prints a JSON object
of what each run gave.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from probe_agent import spec
from probe_agent.bench import Bench
from probe_agent.clock import Clock
from probe_agent.engines.fresh import ProcessFailed
from probe_agent.engines.servers import Servers
from probe_agent.probes import batching, curves
from probe_agent.progress import Progress


def measured(probe: ModuleType, bench: Bench) -> dict[str, Any]:
    rows = list(probe.rows(bench))
    return {"samples": rows, "evidence": probe.evidence(rows, bench), "headline": probe.headline(rows)}


def measured_while_killed(bench: Bench) -> dict[str, Any]:
    """Kill the engine when the rows of the first load come."""
    rows, reason = [], ""
    try:
        for row in batching.rows(bench):
            if not rows:
                os.kill(bench.server().pids()[-1], signal.SIGKILL)
            rows.append(row)
    except ProcessFailed as why:
        reason = str(why)
    return {"samples": rows, "reason": reason, "headline": batching.headline(rows)}


def main() -> None:
    model, wanted, folder = sys.argv[1:]
    asked, deadline = spec.parse(json.loads(wanted)), time.monotonic() + 500
    clock = Clock()
    servers = Servers(asked, Path(model), Path(folder), deadline, clock)
    progress = Progress(Path(folder) / "progress.json", ("batching", "curves"), "test")
    bench = Bench(asked, Path(model), progress, deadline, servers, clock)
    try:
        found = {"batching": measured(batching, bench), "curves": measured(curves, bench)}
        found["killed"] = measured_while_killed(bench)
    finally:
        servers.stop()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
