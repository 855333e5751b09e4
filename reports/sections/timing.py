"""Where the time of a run went: to what is measured, or to ourselves, per probe and step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from probe_agent import clock
from probe_agent.clock import AT_WORK, MODEL, OURS

from .. import figures, tables
from ..run_folder import Host, Measurement
from ..statistics import numbers
from ..tables import Cell, Column, Section, Table

ALLOWED_PERCENT = 5.0
KINDS = {
    clock.PROCESSES: "Processes",
    clock.SERVER_START: "Server start",
    clock.REQUESTS: "Requests",
    clock.SERVER_STOP: "Server stop",
    clock.SQUEEZE: "Squeezing",
    clock.MODEL: "Model prepared",
    clock.SETTLE: "Settling",
    clock.PAGE_CACHE: "Page cache",
    clock.READING: "Reading processes",
    clock.SETTINGS: "Changing settings",
    clock.OTHER: "Rest of ours",
}
PROCESS_PROBES = ("load", "allocator", "pressure")  # whose samples are processes
STAGES = {
    "start_s": "Python",
    "imports_s": "Imports",
    "tokenizer_s": "Tokenizer",
    "weights_s": "Weights",
    "to_device_s": "To the device",
    "first_token_s": "First token",
    "gen_latency_s": "First generation",
    "gen_warm_latency_s": "Second generation",
}
Spent = Mapping[str, float]


def overhead(measurement: Measurement) -> float | None:
    """Return our own share of the run's wall time in per cent, as `clock.overhead_percent` defines it."""
    return clock.overhead_percent(_spent(measurement.timing))


def section(host: Host) -> Section | None:
    newest = host.measured
    if newest is None or not newest.timing:
        return None
    made = (spent_table(newest), stages_table(newest))
    return Section(
        "timing",
        "Where the time went",
        sentences=tuple(sentences(newest)),
        tables=tuple(table for table in made if table.rows),
        details=tuple(
            spent_table(part, f", {when} tuning") for when, part in host.moments if part is not newest and part.timing
        ),
    )


def sentences(measurement: Measurement) -> list[str]:
    """Say how long it took, and how much of that was ours."""
    spent, share = _spent(measurement.timing), overhead(measurement)
    if share is None:
        return []
    work = sum(spent.get(kind, 0.0) for kind in AT_WORK)
    ours = sum(spent.get(kind, 0.0) for kind in OURS)
    kept = "no more than" if share <= ALLOWED_PERCENT else "more than"
    prepared = spent.get(MODEL, 0.0)
    return [
        f"Measuring took {figures.seconds(work + ours)} s: model and engine were at work for {figures.seconds(work)} s "
        f"of them, and {figures.seconds(ours)} s were ours, {figures.percent(share, signed=False)} %, which is {kept} "
        f"the {ALLOWED_PERCENT:g} % allowed. Making the model ready took another {figures.seconds(prepared)} s."
    ]


def spent_table(measurement: Measurement, when: str = "") -> Table:
    """A row per probe, one for what is between them, and one for the whole run."""
    whole = _spent(measurement.timing)
    probes = {name: _spent(probe.timing) for name, probe in measurement.probes.items() if probe.timing}
    between = {
        kind: max(0.0, whole.get(kind, 0.0) - sum(spent.get(kind, 0.0) for spent in probes.values())) for kind in KINDS
    }
    rows = [*probes.items(), ("between probes", between), ("whole run", whole)]
    made = Table(
        f"Wall time by probe and what it was spent on{when}",
        (
            Column("Probe"),
            Column("All", "s", numeric=True),
            *(Column(title, "s", numeric=True) for title in KINDS.values()),
            Column("Ours", "%", numeric=True),
        ),
        tuple((tables.text(name), *_cells(spent)) for name, spent in rows),
        "Every second counts once. Ours is what is neither processes, server, requests nor the squeezing that the "
        "pressure probe is about, without the model's preparation. A server that probes share is started in the first "
        "of them.",
    )
    return tables.without_empty(made)


def stages_table(measurement: Measurement) -> Table:
    """What the processes spent their time on, summed over all of a probe."""
    rows = []
    for name in PROCESS_PROBES:
        if samples := [row for row in measurement.samples(name) if not row.get("taken_from")]:
            stages = [sum(numbers(samples, key)) or None for key in STAGES]
            rest = sum(numbers(samples, "wall_real_s")) - sum(filter(None, stages))
            seconds = map(tables.seconds, (*stages, max(0.0, rest)))
            rows.append((tables.text(name), tables.count(len(samples)), *seconds))
    made = Table(
        "Inside the processes, all of a probe together",
        (
            Column("Probe"),
            Column("Processes", numeric=True),
            *(Column(title, "s", numeric=True) for title in (*STAGES.values(), "Rest and exit")),
        ),
        tuple(rows),
    )
    return tables.without_empty(made)


def _cells(spent: Spent) -> tuple[Cell, ...]:
    share = clock.overhead_percent(spent) if any(spent.get(kind) for kind in AT_WORK) else None
    return (
        tables.seconds(sum(spent.values())),
        *(tables.seconds(spent.get(kind) or None) for kind in KINDS),
        tables.percent(share, signed=False),
    )


def _spent(timing: Mapping[str, Any]) -> Spent:
    return timing.get("spent_s", {})
