"""How long the model takes to load with a cold and with a warm page cache, stage by stage."""

from __future__ import annotations

from typing import Any

from probe_agent.probes.cold import EVICTED_SHARE

from .. import figures, plots, statistics, tables
from ..run_folder import Host, Measurement
from ..statistics import Estimate, median, numbers
from ..tables import Column, Section, Table

STAGES = (
    ("start_s", "Python start"),
    ("imports_s", "imports"),
    ("tokenizer_s", "tokenizer"),
    ("weights_s", "weights"),
    ("to_device_s", "to device"),
    ("first_token_s", "first token"),
    ("load_s", "load: tokenizer to first token"),
    ("wall_real_s", "whole process"),
)
STACKED = STAGES[:6]  # one after the other; the last two are sums
CACHES = ("cold", "warm")
ONLY = "only measurement"
DRIFT = "Before and after are two blocks of time: a difference between them can be drift, and is called no effect."


def of_cache(measurement: Measurement, cache: str) -> list[dict[str, Any]]:
    return [row for row in measurement.samples("load") if row["cache"] == cache]


def group(cache: str, when: str) -> str:
    """Name the processes of one cache state in one measurement, as `cold before`."""
    return f"{cache} {when}".rstrip()


def cold_over_warm(measurement: Measurement) -> Estimate:
    """Return the log-ratio of load times within pairs of a cold and a warm process."""
    samples = measurement.samples("load")
    ratios = statistics.log_ratios(samples, "load_s", "cold", "warm", arm_field="cache", block_field="pair")
    return statistics.estimate(ratios)


def was_cold(measurement: Measurement) -> bool:
    """Tell whether every cold load began with the model's files out of the page cache."""
    return all(map(evicted, of_cache(measurement, "cold")))


def evicted(row: dict[str, Any]) -> bool:
    """Tell whether the model's files were out of the page cache when this process or server was started."""
    return row["resident_pages_at_start"] <= EVICTED_SHARE * row["pages"]


def cold_against_warm(found: Estimate) -> str:
    """End a sentence that named both medians: how many times as long cold takes, where pairs tell."""
    if found.low is None or found.high is None or found.mean is None:
        return f"; {'one pair gives no interval' if found.blocks else 'there is no pair of both to compare'}."
    pairs = figures.plural(found.blocks, "pair")
    ends = f"95 % interval {figures.ratio(found.low)} … {figures.ratio(found.high)}, {pairs}"
    ratio = f"cold takes {figures.ratio(found.mean)} times as long ({ends})"
    open_question = "" if found.low > 0 or found.high < 0 else ", so a difference is not shown"
    return f": {ratio}{open_question}."


def findings(host: Host) -> list[str]:
    """Say what the page cache is worth on this node, and how far before and after lie apart."""
    said = []
    measured = host.moments_of("load")
    if measured:
        _, newest = measured[-1]
        cold, warm = (median(of_cache(newest, cache), "load_s") for cache in CACHES)
        said.append(_cold_warm(cold, warm, cold_over_warm(newest)))
        if not was_cold(newest):
            said.append("The cold loads were not cold: model pages were still in the page cache, see the proof.")
    if len(measured) == 2 and host.comparable:
        first, second = (median(of_cache(part, "cold"), "load_s") for _, part in measured)
        if first is not None and second is not None:
            said.append(
                f"Cold load took {figures.seconds(first)} s before and {figures.seconds(second)} s after. {DRIFT}"
            )
    return said


def section(host: Host) -> Section | None:
    measured = host.moments_of("load")
    if not measured:
        return None
    groups = [(group(cache, when), of_cache(part, cache)) for cache in CACHES for when, part in measured]
    stages = Table(
        "Load stages, medians",
        (Column("Stage"), *(Column(label, "s", numeric=True) for label, _ in groups)),
        tuple(
            (tables.text(title), *(tables.seconds(median(rows, key)) for _, rows in groups)) for key, title in STAGES
        ),
        f"Processes: {', '.join(f'{label} {len(rows)}' for label, rows in groups)}."
        + (f" {DRIFT}" if len(measured) == 2 else ""),
    )
    return Section(
        "load",
        "Cold and warm load",
        tables=(stages, _ratio_table(measured), _proof_table(measured)),
        figures=plots.some(
            plots.stacks(
                "Load stages, medians",
                "s",
                [title for _, title in STACKED],
                [(label, [median(rows, key) for key, _ in STACKED]) for label, rows in groups],
            ),
            plots.dots(
                "Load, tokenizer to first token",
                "s",
                [(label, numbers(rows, "load_s"), median(rows, "load_s")) for label, rows in groups],
            ),
        ),
    )


def _cold_warm(cold: float | None, warm: float | None, found: Estimate) -> str:
    if cold is None or warm is None:
        there, lacks = ("cold", "warm") if warm is None else ("warm", "cold")
        return (
            f"The model loaded {there} in {figures.seconds(cold if warm is None else warm)} s; no {lacks} load ended."
        )
    medians = f"The model loads in {figures.seconds(cold)} s cold and {figures.seconds(warm)} s warm (medians)"
    return medians + cold_against_warm(found)


def _ratio_table(measured: list[tuple[str, Measurement]]) -> Table:
    return Table(
        "Cold load against warm load",
        (Column("When"), *tables.ratio_columns("Cold / warm")),
        tuple((tables.text(when or ONLY), *tables.ratio_cells(cold_over_warm(part))) for when, part in measured),
        "Geometric mean over pairs of one cold and the warm process after it.",
    )


def _proof_table(measured: list[tuple[str, Measurement]]) -> Table:
    rows = []
    for when, part in measured:
        cold = of_cache(part, "cold")
        meaning = part.probes["load"].evidence.get("cold_means")
        rows.append(
            (
                tables.text(when or ONLY),
                tables.count(median(cold, "pages")),
                tables.count(median(cold, "resident_pages_before")),
                tables.count(max((row["resident_pages_at_start"] for row in cold), default=None)),
                (tables.text("yes", "good") if was_cold(part) else tables.text("no", "bad"))
                if cold
                else tables.text(""),
                tables.text(meaning if isinstance(meaning, str) else ""),
            )
        )
    return Table(
        "Proof that cold was cold",
        (
            Column("When"),
            Column("Model", "pages", numeric=True),
            Column("Cached before", "pages", numeric=True),
            Column("Cached at start, most", "pages", numeric=True),
            Column("Cold"),
            Column("What cold means", wide=True),
        ),
        tuple(rows),
    )
