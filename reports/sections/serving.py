"""How long a vLLM server takes to its first token, cold and warm, and what it holds of the node's memory meanwhile."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

from probe_agent.engines import vllm_log

from .. import figures, plots, statistics, tables
from ..plots import Axis, Mark, Plot, Series
from ..run_folder import Host, Measurement
from ..statistics import Estimate, median, numbers
from ..tables import Column, Section, Table
from . import requests
from .load import CACHES, cold_against_warm, evicted

# Field, title, and how it is shown; the unit stands in the title.
TIMES = (
    ("ready_s", "spawn to ready, s", tables.seconds),
    ("on_demand_s", "spawn to first token, s", tables.seconds),
    ("first_ttft_s", "first request: first token, ms", tables.milliseconds),
    ("first_server_ttft_s", "first request: first token by the server's clock, ms", tables.milliseconds),
    ("first_e2e_s", "first request: whole, ms", tables.milliseconds),
    ("next_ttft_s", "next requests: first token, ms", tables.milliseconds),
    ("next_server_ttft_s", "next requests: first token by the server's clock, ms", tables.milliseconds),
    ("next_e2e_s", "next requests: whole, ms", tables.milliseconds),
    ("next_tpot_s", "next requests: each token after the first, ms", tables.milliseconds),
)
MODES = {
    "eager": "step by step, without CUDA graphs",
    "graphs": "with CUDA graphs for decoding, uncompiled",
    "compiled": "compiled, with CUDA graphs where the node has a GPU",
}
COMPARED = ("ready_s", "on_demand_s", "first_ttft_s", "next_ttft_s")
BEFORE_SPAWN = "before the spawn"
SHOWN_PHASES = 50
TIMELINES = 12  # starts whose memory is shown over time; the raw file has all


@dataclass(frozen=True)
class Stretch:
    """What was read of a server's memory from one named moment of its life to the next."""

    phase: str
    from_s: float
    to_s: float
    gpu_mb: tuple[float, ...]
    gpu_utilization_percent: tuple[float, ...]
    pss_mb: tuple[float, ...]


def starts(measurement: Measurement) -> list[dict[str, Any]]:
    """Return a flat row per server start: its times, those of the next requests as medians."""
    return [_start(row) for row in measurement.samples("serving")]


def cold_over_warm(rows: list[dict[str, Any]], key: str) -> Estimate:
    """Return the log-ratio of a time within pairs of a cold and a warm start."""
    known = [row for row in rows if row[key] is not None]
    return statistics.estimate(statistics.log_ratios(known, key, "cold", "warm", arm_field="cache", block_field="pair"))


def stretches(timeline: dict[str, Any]) -> list[Stretch]:
    """Cut the readings of a start at its phases."""
    readings = sorted((row for row in timeline["rows"] if row[0] is not None), key=lambda row: row[0])
    marks = sorted(timeline["phases"], key=lambda mark: mark["at_s"])
    edges = [mark["at_s"] for mark in marks]
    found: dict[int, list[list[float | None]]] = {}
    for row in readings:
        found.setdefault(bisect_right(edges, row[0]), []).append(row)
    return [
        Stretch(
            marks[place - 1]["phase"] if place else BEFORE_SPAWN,
            rows[0][0],
            rows[-1][0],
            *(tuple(row[column] for row in rows if row[column] is not None) for column in (1, 2, 3)),
        )
        for place, rows in found.items()
    ]


def findings(host: Host) -> list[str]:
    """Say how long the server takes to come up, what the first request pays, and what memory it takes."""
    measured = host.moments_of("serving")
    if not measured:
        return []
    newest = measured[-1][1]
    rows = starts(newest)
    said = [*ready_sentences(newest), *_first_and_next(rows), *memory_sentences(newest)]
    if not all(row["evicted"] for row in rows if row["cache"] == "cold"):
        said.append("The cold server starts were not cold: model pages were still in the page cache, see the proof.")
    return said + requests.failures(all_requests(newest), "to the started servers")


def section(host: Host) -> Section | None:
    measured = host.moments_of("serving")
    if not measured:
        return None
    newest = measured[-1][1]
    rows = starts(newest)
    details = (
        memory_table(newest),
        jumps_table(newest),
        *(timeline_table(row) for row in newest.samples("serving")[:TIMELINES]),
        *(times_table(part, f", {when} tuning") for when, part in measured[:-1]),
    )
    return Section(
        "serving",
        "First token of a vLLM server",
        tables=(times_table(newest), ratio_table(newest), first_next_table(newest), proof_table(newest)),
        figures=plots.some(
            plots.dots("Spawn to ready", "s", [(cache, *_values(rows, cache, "ready_s")) for cache in CACHES]),
            plots.dots("First token", "ms", _first_tokens(newest)),
            *(memory_plot(row) for row in _first_of_each(newest)),
        ),
        details=tuple(table for table in details if table.rows),
    )


def times_table(measurement: Measurement, when: str = "") -> Table:
    rows = starts(measurement)
    of = {cache: [row for row in rows if row["cache"] == cache] for cache in CACHES}
    counted = ", ".join(f"{cache} {len(found)}" for cache, found in of.items())
    each = ", ".join(str(number) for number in sorted({row["next"] for row in rows}))
    return Table(
        f"A server's start and its first requests, medians{when}",
        (Column("Time"), *(Column(cache, numeric=True) for cache in CACHES)),
        tuple((tables.text(title), *(show(median(of[cache], key)) for cache in CACHES)) for key, title, show in TIMES),
        f"Starts: {counted}. Next requests of each start: {each}, one at a time. Ready is when /health answers; a "
        "first token is timed by the client from just before the request is sent, unless the server's clock is named."
        + _ran(measurement),
    )


def _ran(measurement: Measurement) -> str:
    """Return how the servers ran the model, by what their logs showed of it."""
    mode = measurement.probes["serving"].evidence.get("mode")
    if mode not in tuple(MODES):
        return ""
    phases = {mark["phase"] for row in measurement.samples("serving") for mark in row["timeline"]["phases"]}
    if mode == "graphs" and vllm_log.CAPTURING not in phases:
        return " The server was to decode with CUDA graphs, and captured none: it ran the model step by step."
    return f" The server ran the model {MODES[mode]}."


def ratio_table(measurement: Measurement) -> Table:
    rows = starts(measurement)
    return Table(
        "Cold start against warm start",
        (Column("Time"), *tables.ratio_columns("Cold / warm")),
        tuple(
            (tables.text(title.rpartition(",")[0]), *tables.ratio_cells(cold_over_warm(rows, key)))
            for key, title, _ in TIMES
            if key in COMPARED
        ),
        "Geometric mean over pairs of one cold start and the warm one after it; an interval needs two pairs.",
    )


def first_next_table(measurement: Measurement) -> Table:
    """One row per start: the first request beside the median of the next."""
    return Table(
        "First request against the next ones",
        (
            Column("Start"),
            Column("First token, first request", "ms", numeric=True),
            Column("First token, next requests", "ms", numeric=True),
            Column("Next requests", numeric=True),
            Column("Penalty", "ms", numeric=True),
            Column("First / next", numeric=True),
            Column("Failed requests", numeric=True),
        ),
        tuple(
            (
                tables.text(named(row)),
                tables.milliseconds(row["first_ttft_s"]),
                tables.milliseconds(row["next_ttft_s"]),
                tables.count(row["next"]),
                tables.milliseconds(row["penalty_s"]),
                tables.rate(row["penalty_factor"]),
                tables.count(row["failed"]),
            )
            for row in starts(measurement)
        ),
        "Next requests as their median.",
    )


def proof_table(measurement: Measurement) -> Table:
    meaning = measurement.probes["serving"].evidence.get("cold_means")
    return Table(
        "What cold meant",
        (
            Column("Start"),
            Column("Model", "pages", numeric=True),
            Column("Cached at start", "pages", numeric=True),
            Column("Model out of page cache"),
            Column("Compile cache"),
        ),
        tuple(
            (
                tables.text(named(row)),
                tables.count(row["pages"]),
                tables.count(row["resident_pages_at_start"]),
                _expected(row),
                tables.text(row["compile_cache"]),
            )
            for row in starts(measurement)
        ),
        (f"Cold means: {meaning}. " if isinstance(meaning, str) and meaning else "")
        + "Triton's kernels are in the compile cache too: a server builds some of them in every mode.",
    )


def memory_table(measurement: Measurement) -> Table:
    rows = []
    for row in measurement.samples("serving"):
        gpu = row["gpu_mb"] or {}
        rows.append(
            (
                tables.text(named(row)),
                *(tables.mib(gpu.get(when)) for when in ("before", "min", "max", "after")),
                tables.mib(row["pss_mb"]["max"]),
                tables.text("yes" if row["shared"] else "no"),
            )
        )
    made = Table(
        "Memory of each start",
        (
            Column("Start"),
            *(Column(f"GPU, {when}", "MiB", numeric=True) for when in ("before", "least", "most", "after")),
            Column("PSS of its processes, most", "MiB", numeric=True),
            Column("Left running for other probes"),
        ),
        tuple(rows),
        "GPU memory is the whole device's; a server that was left running has no figure after its end."
        if any(row["gpu_mb"] for row in measurement.samples("serving"))
        else "",
    )
    return tables.without_empty(made)


def jumps_table(measurement: Measurement) -> Table:
    names = {"gpu": "GPU memory", "pss": "PSS"}
    return Table(
        "Jumps of memory",
        (
            Column("Start"),
            Column("What"),
            Column("Phase"),
            Column("At", "s", numeric=True),
            Column("From", "MiB", numeric=True),
            Column("To", "MiB", numeric=True),
        ),
        tuple(
            (
                tables.text(named(row)),
                tables.text(names[jump["what"]]),
                tables.text(jump["phase"]),
                tables.seconds(jump["at_s"]),
                tables.mib(jump["from_mb"]),
                tables.mib(jump["to_mb"]),
            )
            for row in measurement.samples("serving")
            for jump in row["jumps"]
        ),
        "Seconds count from the spawn.",
    )


def timeline_table(row: dict[str, Any]) -> Table:
    """What one start's memory did, phase by phase."""
    made = Table(
        f"Memory over time, {named(row)}",
        (
            Column("Phase"),
            Column("From", "s", numeric=True),
            Column("To", "s", numeric=True),
            Column("GPU, first", "MiB", numeric=True),
            Column("GPU, least", "MiB", numeric=True),
            Column("GPU, most", "MiB", numeric=True),
            Column("GPU, last", "MiB", numeric=True),
            Column("GPU utilization, mean", "%", numeric=True),
            Column("PSS, most", "MiB", numeric=True),
            Column("Readings", numeric=True),
        ),
        tuple(
            (
                tables.text(part.phase),
                tables.seconds(part.from_s),
                tables.seconds(part.to_s),
                *(tables.mib(pick(part.gpu_mb) if part.gpu_mb else None) for pick in (_first, min, max, _last)),
                tables.percent(_mean(part.gpu_utilization_percent), signed=False),
                tables.mib(max(part.pss_mb, default=None)),
                tables.count(max(map(len, (part.gpu_mb, part.gpu_utilization_percent, part.pss_mb)))),
            )
            for part in stretches(row["timeline"])
        ),
        "Seconds count from the spawn.",
        limit=SHOWN_PHASES,
    )
    return tables.without_empty(made)


def memory_plot(row: dict[str, Any]) -> Plot:
    """One start's memory over time with its phases: the GPU's, or that of its processes where there is none."""
    readings = sorted((each for each in row["timeline"]["rows"] if each[0] is not None), key=lambda each: each[0])
    gpu = any(each[1] is not None for each in readings)
    what, column = ("GPU memory", 1) if gpu else ("PSS of the server's processes", 3)
    return plots.curves(
        f"{what} over time, {named(row)}",
        Axis("since the spawn", "s"),
        Axis("", "MiB"),
        [Series(what, line=tuple((each[0], each[column]) for each in readings if each[column] is not None))],
        [Mark(mark["at_s"], mark["phase"]) for mark in sorted(row["timeline"]["phases"], key=lambda m: m["at_s"])],
    )


def _first_of_each(measurement: Measurement) -> list[dict[str, Any]]:
    """Return the first cold and the first warm start."""
    rows = measurement.samples("serving")
    return [found[0] for cache in CACHES if (found := [row for row in rows if row["cache"] == cache])]


def _start(row: dict[str, Any]) -> dict[str, Any]:
    first = {} if row["first"]["error"] else row["first"]
    following = requests.ended(row["next"])
    asked = [row["first"], *row["next"]]
    found = {key: row[key] for key in ("start", "pair", "cache", "pages", "resident_pages_at_start", "compile_cache")}
    found |= {f"first_{key}": first.get(key) for key in ("ttft_s", "server_ttft_s", "e2e_s")}
    found |= {f"next_{key}": median(following, key) for key in ("ttft_s", "server_ttft_s", "e2e_s", "tpot_s")}
    one, others = found["first_ttft_s"], found["next_ttft_s"]
    both = one is not None and others is not None
    return {
        **found,
        "ready_s": row["ready_s"],
        "on_demand_s": None if one is None else row["ready_s"] + one,
        "next": len(following),
        "penalty_s": one - others if both else None,
        "penalty_factor": one / others if both and others > 0 else None,
        "failed": len(asked) - len(requests.ended(asked)),
        "evicted": evicted(row),
    }


def ready_sentences(measurement: Measurement) -> list[str]:
    """Say how long a server takes from its spawn to ready, cold and warm."""
    rows = starts(measurement)
    cold, warm = (median([row for row in rows if row["cache"] == cache], "ready_s") for cache in CACHES)
    if cold is None or warm is None:
        there, lacks = ("cold", "warm") if warm is None else ("warm", "cold")
        only = figures.seconds(cold if warm is None else warm)
        return [f"A vLLM server was ready {only} s after its spawn, {there}; no {lacks} start ended."]
    ready = f"A vLLM server is ready {figures.seconds(cold)} s after its spawn cold and {figures.seconds(warm)} s warm"
    return [f"{ready} (medians)" + cold_against_warm(cold_over_warm(rows, "ready_s"))]


def _first_and_next(rows: list[dict[str, Any]]) -> list[str]:
    said = []
    for cache in CACHES:
        found = [row for row in rows if row["cache"] == cache]
        first, others = (median(found, key) for key in ("first_ttft_s", "next_ttft_s"))
        if first is not None and others is not None:
            said.append(f"{figures.digits(1000 * first)} ms and {figures.digits(1000 * others)} ms {cache}")
    return (
        [f"First token of a server's first request and of the next ones: {'; '.join(said)} (medians)."] if said else []
    )


def memory_sentences(measurement: Measurement) -> list[str]:
    rows = measurement.samples("serving")
    gpu = [row["gpu_mb"] for row in rows if row["gpu_mb"]]
    before, most = median(gpu, "before"), max(numbers(gpu, "max"), default=None)
    pss = max(numbers([row["pss_mb"] for row in rows], "max"), default=None)
    said = []
    if before is not None and most is not None:
        said.append(f"the GPU held {figures.mib(before)} MiB before a start and {figures.mib(most)} MiB at most")
    if pss is not None:
        said.append(f"the server's processes held {figures.mib(pss)} MiB of host memory at most (PSS)")
    return [f"While serving, {', '.join(said)}."] if said else []


def _first_tokens(measurement: Measurement) -> list[tuple[str, list[float], float | None]]:
    groups = []
    for cache in CACHES:
        rows = [row for row in measurement.samples("serving") if row["cache"] == cache]
        for label, found in (
            (f"{cache}, first request", [row["first"] for row in rows]),
            (f"{cache}, next requests", [each for row in rows for each in row["next"]]),
        ):
            found = requests.ended(found)
            middle = median(found, "ttft_s")
            values = [1000 * value for value in numbers(found, "ttft_s")]
            groups.append((label, values, None if middle is None else 1000 * middle))
    return groups


def all_requests(measurement: Measurement) -> list[dict[str, Any]]:
    return [each for row in measurement.samples("serving") for each in (row["first"], *row["next"])]


def _values(rows: list[dict[str, Any]], cache: str, key: str) -> tuple[list[float], float | None]:
    found = [row for row in rows if row["cache"] == cache]
    return numbers(found, key), median(found, key)


def named(row: dict[str, Any]) -> str:
    return f"{row['cache']}, pair {row['pair'] + 1:,}"


def _expected(row: dict[str, Any]) -> tables.Cell:
    """Return whether the model was out of the page cache; for a cold start it has to be."""
    tone = {True: "good", False: "bad"}[row["evicted"]] if row["cache"] == "cold" else ""
    return tables.text("yes" if row["evicted"] else "no", tone)


def _first(values: tuple[float, ...]) -> float:
    return values[0]


def _last(values: tuple[float, ...]) -> float:
    return values[-1]


def _mean(values: tuple[float, ...]) -> float | None:
    return sum(values) / len(values) if values else None
