"""What a squeezed page cache costs: how much of the model stays resident, and how long its load then takes."""

from __future__ import annotations

from typing import Any

from probe_agent.probes.pressure import FULL, followed, of_level, slopes

from .. import figures, plots, statistics, tables
from ..loose import words
from ..run_folder import Host, Measurement
from ..statistics import Estimate, median, numbers
from ..tables import Column, Section, Table


def squeezed(measurement: Measurement) -> Estimate:
    """Return the log-ratio of a load that finds nothing of the model resident to one that finds all of it."""
    return statistics.estimate(slopes(list(measurement.samples("pressure"))))


def findings(host: Host) -> list[str]:
    """Say in one sentence what the page cache is worth to a load, and in another where it could not be squeezed."""
    measured = host.moments_of("pressure")
    if not measured:
        return []
    newest = measured[-1][1]
    said = [_worth(newest)]
    if not all(map(followed, newest.samples("pressure"))):
        said.append("Pages stayed beyond the room left for them: another process has the model's files mapped.")
    if partly := _partly(newest):
        said.append(partly)
    return said


def section(host: Host) -> Section | None:
    measured = host.moments_of("pressure")
    if not measured:
        return None
    newest = measured[-1][1]
    samples = list(newest.samples("pressure"))
    return Section(
        "pressure",
        "Load under memory pressure",
        tables=(levels_table(newest),),
        figures=plots.some(
            plots.dots(
                "Load, by the room left for the model's files",
                "s",
                [
                    (_room(level), numbers(found, "load_s"), median(found, "load_s"))
                    for level in _levels(samples)
                    if (found := of_level(samples, level))
                ],
            )
        ),
        details=tuple(levels_table(part, f", {when} tuning") for when, part in measured[:-1]),
    )


def levels_table(measurement: Measurement, when: str = "") -> Table:
    samples = list(measurement.samples("pressure"))
    rows = []
    for level in _levels(samples):
        found = of_level(samples, level)
        against = statistics.estimate(_against_full(samples, level))
        known = against.low is not None and against.high is not None
        rows.append(
            (
                tables.text(_room(level)),
                tables.count(len(found)),
                tables.percent(_percent(median(found, "resident_share_at_start")), signed=False),
                tables.mib(median(found, "balloon_mb")),
                tables.seconds(median(found, "load_s")),
                tables.seconds(min(numbers(found, "load_s"), default=None)),
                tables.seconds(max(numbers(found, "load_s"), default=None)),
                tables.text("" if against.mean is None else figures.ratio(against.mean)),
                tables.text(f"{figures.ratio(against.low)} … {figures.ratio(against.high)}" if known else ""),
            )
        )
    limit, before, lowest = (
        figures.mib(found)
        for found in (
            median(samples, "limit_mb"),
            max(numbers(samples, "available_before_mb"), default=None),
            min(numbers(samples, "available_lowest_mb"), default=None),
        )
    )
    levels = figures.listed([_room(level) for level in _levels([row for row in samples if row.get("taken_from")])])
    taken = f" At {levels} stand the processes of the load probe, warm and cold." if levels else ""
    return Table(
        f"Load by what is left of the page cache{when}",
        (
            Column("Room for the model's files"),
            Column("Processes", numeric=True),
            Column("Resident at start", "%", numeric=True),
            Column("Balloon", "MiB", numeric=True),
            Column("Load, median", "s", numeric=True),
            Column("Fastest", "s", numeric=True),
            Column("Slowest", "s", numeric=True),
            Column("Against full room", numeric=True),
            Column("95 % interval", numeric=True),
        ),
        tuple(rows),
        f"Files and balloon shared a cgroup limited to {limit} MiB; the load ran outside of it. Of {before} MiB "
        f"available, the node never had less than {lowest} MiB.{taken}",
    )


def _worth(measurement: Measurement) -> str:
    found = squeezed(measurement)
    if found.mean is None:
        return (
            "What a squeezed page cache costs a load is not known: no block had a load with much less of it resident."
        )
    takes = f"With nothing of the model in the page cache a load takes {figures.ratio(found.mean)} times as long"
    blocks = figures.plural(found.blocks, "block")
    if found.low is None or found.high is None:
        return f"{takes} as with all of it; one block gives no interval."
    open_question = "" if found.low > 0 or found.high < 0 else ", so a difference is not shown"
    ends = f"95 % interval {figures.ratio(found.low)} … {figures.ratio(found.high)}, {blocks}"
    return f"{takes} as with all of it ({ends}){open_question}."


def _partly(measurement: Measurement) -> str:
    said = measurement.probes["pressure"].evidence.get("partly")
    return f"{words(said).rstrip('.')}." if isinstance(said, str) and said else ""


def _against_full(samples: list[dict[str, Any]], level: float) -> list[float]:
    return [] if level == FULL else statistics.log_ratios(samples, "load_s", level, FULL, arm_field="level")


def _levels(samples: list[dict[str, Any]]) -> list[float]:
    return sorted({row["level"] for row in samples}, reverse=True)


def _room(level: float) -> str:
    return f"{100 * level:.0f} %"


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
