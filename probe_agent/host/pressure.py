"""How busy the node is: load, pressure stall information, time stolen by the hypervisor, thermal throttling.

Source: Documentation/accounting/psi.rst and Documentation/admin-guide/thermal of the Linux kernel, proc_stat(5).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

RESOURCES = ("cpu", "memory", "io")
THROTTLES = "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count"
STEAL = 7  # its place in the cpu line of /proc/stat, of which guest time (8, 9) is counted in user time already
TIMES = 8


@dataclass(frozen=True)
class Stall:
    """Some task waited for the resource: `avg10` in percent of the last ten seconds, `total_us` since boot."""

    avg10: float
    total_us: int


@dataclass(frozen=True)
class Reading:
    """The node at one moment. None, or no entry in `stalls`, where the kernel does not tell."""

    load1: float
    cpu_ticks: int
    steal_ticks: int
    running: int
    stalls: dict[str, Stall]
    throttles: int | None


def read(root: Path = Path("/")) -> Reading:
    times, running = parse_stat((root / "proc/stat").read_text())
    stalls = {name: _stall(root / "proc/pressure" / name) for name in RESOURCES}
    return Reading(
        load1=float((root / "proc/loadavg").read_text().split()[0]),
        cpu_ticks=sum(times),
        steal_ticks=times[STEAL],
        running=running,
        stalls={name: stall for name, stall in stalls.items() if stall},
        throttles=_throttles(root),
    )


def during(before: Reading, after: Reading) -> dict[str, float | None]:
    """Return what a sample's row keeps: gauges as they were at its end, stolen time and throttling over its length."""
    ticks = after.cpu_ticks - before.cpu_ticks
    throttled = None if before.throttles is None or after.throttles is None else after.throttles - before.throttles
    return {
        "load1": after.load1,
        "steal_share": round((after.steal_ticks - before.steal_ticks) / ticks, 4) if ticks > 0 else None,
        **{f"psi_{name}_some_avg10": after.stalls[name].avg10 if name in after.stalls else None for name in RESOURCES},
        "thermal_throttle_count": throttled,
    }


def waiting_share(before: Reading, after: Reading, seconds: float) -> float:
    """Return the share of `seconds` in which some task waited for a CPU; without PSI, 1 when more run than fit."""
    if "cpu" not in before.stalls or "cpu" not in after.stalls:
        return float(after.running > (os.cpu_count() or 1))
    return (after.stalls["cpu"].total_us - before.stalls["cpu"].total_us) / 1e6 / seconds


def parse_stat(text: str) -> tuple[list[int], int]:
    """Return the ticks of all CPUs by kind, user to steal, and the tasks that run."""
    line = re.search(r"^cpu +(.+)$", text, re.MULTILINE)
    running = re.search(r"^procs_running (\d+)$", text, re.MULTILINE)
    times = [int(word) for word in line.group(1).split()[:TIMES]] if line else []
    return times + [0] * (TIMES - len(times)), int(running.group(1)) if running else 0


def parse_stall(text: str) -> Stall | None:
    """Return the `some` line of a file in /proc/pressure."""
    found = re.search(r"^some avg10=([\d.]+) .*total=(\d+)$", text, re.MULTILINE)
    return Stall(float(found.group(1)), int(found.group(2))) if found else None


def _stall(file: Path) -> Stall | None:
    try:
        return parse_stall(file.read_text())
    except OSError:  # no such file, or one that cannot be read: a kernel started with psi=0
        return None


def _throttles(root: Path) -> int | None:
    counts = []
    for file in root.glob(THROTTLES):
        try:
            counts.append(int(file.read_text()))
        except (OSError, ValueError):  # a CPU that went offline
            continue
    return sum(counts) if counts else None
