"""How long a fleet of 1000 hosts takes to render, how large its page is, and how much memory that takes.

python tests/bench/fleet_page.py [hosts] [folder]. The hosts are made of one real result with the variation of real
nodes: most are alike, some are slow, some are set otherwise, some are dead. The folder, if named, is kept to look at.
"""

from __future__ import annotations

import copy
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:1] = [str(ROOT)]  # this folder goes: its statistics.py is not Python's

import numpy  # noqa: E402

from reports import fleet, render, run_folder  # noqa: E402

SAMPLE = ROOT / "reports/samples/h200/hosts/local"
NOISE = 0.02  # of a node against its twins
DEAD = (("unreachable", "preflight", "ssh: connect to host 10.0.{} port 22: No route to host"),
        ("failed", "probe", "The agent ended with status 1: no space left on device"),
        ("skipped", "", "left out by --limit"))  # fmt: skip


def entries(hosts: int, source: random.Random) -> Iterator[tuple[str, dict[str, str]]]:
    for number in range(hosts):
        state, phase, reason = "ok", "report", ""
        if source.random() < 0.05:
            state, phase, reason = source.choice(DEAD)
        yield f"gpu{number:04}.example.com", {"state": state, "phase": phase, "reason": reason.format(number)}


def varied(result: dict[str, Any], number: int, source: random.Random) -> dict[str, Any]:
    """Return the result as another node would have it: each of its times a little off, of some nodes far off."""
    slow = 1.4 if source.random() < 0.01 else 1.0
    made = {**result, "fingerprint": {**result["fingerprint"], "id": f"{number % 3:08x}"}}
    made["host_memory"] = memory = copy.deepcopy(result["host_memory"])
    if source.random() < 0.03:
        memory["thp"]["defrag"] = "always"
    memory["kernel"]["min_free_kb"] = source.choice((67584, 67584, 67584, 90112))
    made["probes"] = {
        name: {**probe, "samples": [_row(row, slow, source) for row in probe["samples"]]}
        for name, probe in result["probes"].items()
    }
    return made


def _row(row: dict[str, Any], slow: float, source: random.Random) -> dict[str, Any]:
    off = slow * source.gauss(1, NOISE)
    return {name: value * off if name.endswith("_s") and value else value for name, value in row.items()}


def make(folder: Path, hosts: int) -> None:
    """Write a run folder of so many hosts."""
    source = random.Random(hosts)
    result, baseline = (json.loads((SAMPLE / f"{part}.json").read_text()) for part in ("result", "baseline"))
    found = dict(entries(hosts, source))
    for number, (name, entry) in enumerate(found.items()):
        if entry["state"] == "ok":
            place = folder / "hosts" / name
            place.mkdir(parents=True, exist_ok=True)
            (place / "baseline.json").write_text(json.dumps(baseline))
            (place / "result.json").write_text(json.dumps(varied(result, number, source)))
    run = {"started": "2026-11-21T02:00:00+00:00", "finished": "2026-11-21T03:00:00+00:00", "hosts": found}
    (folder / "run.json").write_text(json.dumps({"schema_version": 1, "run_id": folder.name, **run}))


def seconds() -> numpy.ndarray:
    """Return the time, and what CPU time this process and those that it waited for have taken."""
    return numpy.array((time.perf_counter(), sum(os.times()[:4])))


def measure(folder: Path) -> None:
    run = run_folder.read(folder)
    began = seconds()
    rows = render.render(run)
    whole = seconds() - began
    began = seconds()
    for path, content in render.fleet_files(run, rows):
        render.write(run.path / path, content)
    alone = seconds() - began
    print(fleet.totals(rows))
    for what, (wall_s, cpu_s) in (("fleet page alone", alone), ("all hosts and the fleet", whole)):
        print(f"{what}: {wall_s:.1f} s, of {len(os.sched_getaffinity(0))} CPUs {cpu_s:.1f} s")
    for name in ("index.html", "fleet.json", "fleet.md"):
        print(f"{name}: {(folder / name).stat().st_size / 2**20:.2f} MiB")
    written = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"run folder: {written / 2**20:.0f} MiB")
    own, workers = (
        resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(f"peak resident: {own:.0f} MiB, and {workers:.0f} MiB in each of the processes that render hosts")


def main() -> None:
    hosts = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(scratch) / f"fleet-{hosts}"
        folder.mkdir(parents=True, exist_ok=True)
        make(folder, hosts)
        measure(folder)


if __name__ == "__main__":
    main()
