"""The GPUs of a node side by side: where each sits, how fast it is reached, and how fast the model generates on it."""

from __future__ import annotations

from typing import Any

from .. import figures, tables
from ..loose import number, words
from ..run_folder import Host, Measurement
from ..statistics import median
from ..tables import Cell, Column, Section, Table
from . import bandwidth

WARM_UP = 3  # generations that still fill caches
COPIES = ("h2d_pinned", "d2h_pinned")
APART_PERCENT = 5.0  # of the fastest; GPUs of one kind in one node differ by less


def section(host: Host) -> Section | None:
    """Show them where the model ran on more than one."""
    measured = host.moments_of("bandwidth")
    if not measured:
        return None
    newest = measured[-1][1]
    found = generations(newest)
    if len(found) < 2:
        return None
    return Section("gpus", "GPUs side by side", sentences=(apart(found),), tables=(side_by_side(newest, found),))


def generations(measurement: Measurement) -> dict[str, float]:
    """Return the median seconds of a generation by the UUID of its GPU, without the warm-up."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for measure in ("generation", "gpu_generation"):
        for row in bandwidth.of_measure(measurement, measure):
            if "gpu" in row and "error" not in row and row["repeat"] >= WARM_UP:
                rows.setdefault(row["gpu"], []).append(row)
    return {uuid: middle for uuid, found in rows.items() if (middle := median(found, "seconds"))}


def apart(found: dict[str, float]) -> str:
    """Say how far the slowest GPU is behind the fastest."""
    slow, fast = (choose(found, key=found.__getitem__) for choose in (max, min))
    percent = 100 * (found[slow] / found[fast] - 1)
    behind = f"{figures.percent(percent, signed=False)} % longer than on the fastest, {fast}"
    verdict = "GPUs of one kind differ by less" if percent > APART_PERCENT else "they are alike"
    return f"The model generates on {slow} for {behind}: {verdict}."


def side_by_side(measurement: Measurement, found: dict[str, float]) -> Table:
    placed = {words(device.get("uuid")): device for device in bandwidth.gpus(measurement)}
    groups = bandwidth.groups(measurement)
    rows = []
    for uuid, seconds in found.items():
        device = placed.get(uuid, {})
        near = device.get("process_is_near")
        rates = [_rate(groups, measure, uuid) for measure in COPIES]
        rows.append(
            (
                tables.count(number(device.get("index"))),
                tables.text(uuid),
                tables.text(words(device.get("numa_node"))),
                tables.text(words(near), bandwidth.NEAR.get(near, "") if isinstance(near, str) else ""),
                tables.seconds(seconds),
                *rates,
            )
        )
    return Table(
        "Each GPU",
        (
            Column("GPU", numeric=True),
            Column("UUID"),
            Column("NUMA node"),
            Column("This process's CPUs near it"),
            Column("Generation, median", "s", numeric=True),
            Column("Host to GPU, pinned", "GiB/s", numeric=True),
            Column("GPU to host, pinned", "GiB/s", numeric=True),
        ),
        tuple(rows),
        "The number is that of nvidia-smi.",
    )


def _rate(groups: dict[bandwidth.Group, list[dict[str, Any]]], measure: str, uuid: str) -> Cell:
    rates = [median(rows, "rate") for (name, gpu, _, _), rows in groups.items() if (name, gpu) == (measure, uuid)]
    return tables.rate(next(iter(rates), None))
