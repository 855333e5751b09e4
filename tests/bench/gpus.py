"""Whether the GPU that is named is the GPU that is measured, on a node with two or more: `python tests/bench/gpus.py`.

With the interpreter of a serving stack. Takes about three minutes, and ends with 0 where all of it holds.
NVML tells where memory was taken, the processes themselves tell where they ran.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from probe_agent import gpu

TAKEN_MB = 1000  # by a server, at least


def measured(*arguments: str, visible: str | None = None) -> tuple[int, dict[str, Any]]:
    """Run the agent by hand, and return its status and its probes."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        command = [sys.executable, "-m", "probe_agent", "run", "--out", str(out), "--state-dir", folder, *arguments]
        command += ["--models-dir", str(Path(tempfile.gettempdir()) / "stethos-models")]
        environment = {**os.environ, **({} if visible is None else {gpu.VISIBLE: visible})}
        done = subprocess.run(command, env=environment, check=False)
        return done.returncode, json.loads(out.read_text())["probes"]


def checks(first: gpu.Gpu, last: gpu.Gpu) -> Iterator[tuple[str, bool]]:
    """Yield what should hold, and whether it does."""
    _, probes = measured("--profile=quick", "--probe=bandwidth", f"--gpu={last.index}", f"--gpu={first.uuid}")
    rows, evidence = probes["bandwidth"]["samples"], probes["bandwidth"]["evidence"]

    def ran_on(measure: str) -> set[str]:
        return {row.get("gpu", "nowhere") for row in rows if row["measure"] == measure}

    yield f"the model generates on GPU {last.index}, named first, by index", ran_on("generation") == {last.uuid}
    yield f"then on GPU {first.index}, named by UUID", ran_on("gpu_generation") == {first.uuid}
    yield "both are copied to", ran_on("h2d_pinned") == {first.uuid, last.uuid}
    yield "links and NUMA nodes are read of all GPUs", len(evidence["gpus"]) == len(gpu.listed())
    for each in evidence["gpus"]:
        print(f"  GPU {each['index']} {each['uuid']}: NUMA {each['numa_node']}, {each['nearness']}, {each['pcie']}")
    for sentence in evidence["unread"]:
        print(f"  {sentence}")

    _, probes = measured("--profile=quick", "--probe=load", visible=str(last.index))
    uuids = {row.get("gpu") for row in probes["load"]["samples"]}
    yield f"{gpu.VISIBLE}={last.index} of the operator counts as nvidia-smi does", uuids == {last.uuid}

    code, probes = measured("--profile=quick", "--probe=load", f"--gpu={first.index}", visible=last.uuid)
    print(f"  {probes['load']['reason']}")
    yield "a GPU that the operator hides is refused", code == 1 and "hides" in probes["load"]["reason"]

    _, probes = measured("--probe=serving", f"--gpu={last.uuid}")
    taken = [row["gpu_mb"] and row["gpu_mb"]["max"] - row["gpu_mb"]["before"] for row in probes["serving"]["samples"]]
    print(f"  {probes['serving']['reason'] or taken}")
    yield f"a server takes the memory of GPU {last.index}", bool(taken) and all((mb or 0) > TAKEN_MB for mb in taken)


def main() -> int:
    there = [each for each in gpu.listed() if not each.lost and not each.mig]
    if len(there) < 2:
        sys.exit(f"this takes a node with two GPUs, and here are {len(there)}")
    found = []
    for what, holds in checks(there[0], there[-1]):
        print(f"{'ok' if holds else 'NOT SO'}: {what}", flush=True)
        found.append(holds)
    return 0 if all(found) else 1


if __name__ == "__main__":
    sys.exit(main())
