"""What another allocator did to generation, against glibc's in the same blocks."""

from __future__ import annotations

from typing import Any

from probe_agent.arms import A_A, CONTROL

from .. import figures, statistics, tables
from ..loose import number
from ..run_folder import Host, Measurement
from ..statistics import ALLOCATOR_METRICS, Effect, Verdict, median, percent
from ..tables import Column, Section, Table
from .load import DRIFT, ONLY

COLUMNS = (
    Column("Allocator", key="allocator"),
    Column("First generation", "s", numeric=True, key="gen_latency_s"),
    Column("Whole process", "s", numeric=True, key="wall_real_s"),
    Column("RSS", "MiB", numeric=True, key="rss_mb"),
)
CALLED = (Verdict.BETTER, Verdict.WORSE)
HEADLINE = ALLOCATOR_METRICS[0]


def effects(measurement: Measurement | None) -> list[Effect]:
    """Return the effect of each arm on each metric."""
    samples = measurement.samples("allocator") if measurement else ()
    return [effect for arm in statistics.arms(samples) for effect in statistics.effects(samples, arm)]


def findings(host: Host) -> list[str]:
    """Say what each arm did to the headline metric, whatever the verdict, and to the others where one is called."""
    return [
        sentence(effect) for effect in effects(host.result) if effect.metric == HEADLINE or effect.verdict in CALLED
    ]


def sentence(effect: Effect) -> str:
    """One effect in words, as in `jemalloc, first generation: −1.4 % (…): inconclusive, …`."""
    found = effect.estimate
    if found.mean is None:
        return f"{effect.arm}, {effect.metric.title}: {effect.verdict}, {effect.why}."
    blocks = figures.plural(found.blocks, "block")
    ends = "" if found.low is None or found.high is None else f"{_ends(effect)}, "
    change = f"{figures.percent(percent(found.mean))} % against {CONTROL} ({ends}{blocks})"
    return f"{effect.arm}, {effect.metric.title}: {change}: {effect.verdict}, {effect.why}."


def samples_table(measurement: Measurement) -> Table:
    """One row per process in block order: what allocator_latency_comparison.csv holds."""
    rows = sorted(measurement.samples("allocator"), key=lambda row: row["block"])
    return Table(
        "Every process, in block order",
        COLUMNS,
        tuple(
            (
                tables.text(row["arm"]),
                tables.seconds(row["gen_latency_s"]),
                tables.seconds(row["wall_real_s"]),
                tables.mib(number(row.get("rss_mb"))),
            )
            for row in rows
        ),
    )


def section(host: Host) -> Section | None:
    measured = host.moments_of("allocator")
    if not measured:
        return None
    newest = measured[-1][1]
    effect_tables = [_effects_table(when, part) for when, part in measured if effects(part)]
    return Section(
        "allocators",
        "Allocators",
        tables=(*effect_tables[-1:], _arms_table(measured)),
        figures=tables.strips(
            "First generation", "s", [(arm, *_values(newest, arm, HEADLINE.key)) for arm in arms(newest)]
        ),
        details=(*effect_tables[:-1], samples_table(newest)),
    )


def _effects_table(when: str, measurement: Measurement) -> Table:
    found = effects(measurement)
    return Table(
        f"Effect against {CONTROL} in the same blocks" + (f", {when} tuning" if when else ""),
        (
            Column("Arm"),
            Column("Metric"),
            Column("Verdict"),
            Column("Effect", "%", numeric=True),
            Column("95 % interval", "%", numeric=True),
            Column("Blocks", numeric=True),
            Column("Noise", "%", numeric=True),
            Column("Smallest detectable", "%", numeric=True),
            Column("Why", wide=True),
        ),
        tuple(
            (
                tables.text(effect.arm),
                tables.text(effect.metric.title),
                tables.toned(effect.verdict),
                tables.percent(percent(effect.estimate.mean)),
                tables.text(
                    figures.interval(percent(effect.estimate.low), percent(effect.estimate.high)),
                ),
                tables.count(effect.estimate.blocks),
                tables.percent(percent(effect.noise), signed=False),
                tables.percent(percent(effect.estimate.detectable), signed=False),
                tables.text(effect.why),
            )
            for effect in found
        ),
        f"Noise is how far {CONTROL} and {A_A}, which are the same, differ. Less is better in every metric here.",
    )


def _arms_table(measured: list[tuple[str, Measurement]]) -> Table:
    rows = []
    for arm in dict.fromkeys(arm for _, part in measured for arm in arms(part)):
        for when, part in measured:
            found = of_arm(part, arm)
            engaged = sum(row["engaged"] for row in found)
            rows.append(
                (
                    tables.text(arm),
                    tables.text(when or ONLY),
                    *(tables.seconds(median(found, key)) for key in ("gen_latency_s", "gen_warm_latency_s")),
                    tables.seconds(median(found, "wall_real_s")),
                    *(tables.mib(median(found, key)) for key in ("rss_mb", "anon_huge_mb")),
                    tables.text(f"{engaged} of {len(found)}", "" if engaged == len(found) else "bad"),
                    tables.text(", ".join(sorted({path for row in found for path in row["allocators"]})) or "none"),
                )
            )
    return Table(
        "Medians per arm, with the proof of use",
        (
            Column("Arm"),
            Column("When"),
            Column("First generation", "s", numeric=True),
            Column("Second generation", "s", numeric=True),
            Column("Whole process", "s", numeric=True),
            Column("RSS", "MiB", numeric=True),
            Column("Huge pages", "MiB", numeric=True),
            Column("As intended", "processes"),
            Column("Allocator libraries mapped", wide=True),
        ),
        tuple(rows),
        DRIFT if len(measured) == 2 else "",
    )


def arms(measurement: Measurement) -> list[str]:
    present = {row["arm"] for row in measurement.samples("allocator")}
    controls = [name for name in (CONTROL, A_A) if name in present]
    return controls + statistics.arms(measurement.samples("allocator"))


def of_arm(measurement: Measurement, arm: str) -> list[dict[str, Any]]:
    return [row for row in measurement.samples("allocator") if row["arm"] == arm]


def _values(measurement: Measurement, arm: str, key: str) -> tuple[list[float], float | None]:
    rows = of_arm(measurement, arm)
    return [row[key] for row in rows], median(rows, key)


def _ends(effect: Effect) -> str:
    low, high = (percent(end) for end in (effect.estimate.low, effect.estimate.high))
    return f"95 % interval {figures.interval(low, high)} %"
