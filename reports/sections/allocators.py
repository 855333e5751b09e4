"""What each lever did to generation and memory, against glibc's malloc without any in the same blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from probe_agent.arms import A_A, CONTROL

from .. import figures, metrics, plots, statistics, tables
from ..loose import mapping, number, words
from ..plots import Plot
from ..run_folder import Host, Measurement
from ..statistics import CALLED, Effect, Verdict, median, numbers, percent
from ..tables import Cell, Column, Section, Table
from .load import DRIFT, ONLY

COLUMNS = (
    Column("Allocator", key="allocator"),
    Column("First generation", "s", numeric=True, key="gen_latency_s"),
    Column("Whole process", "s", numeric=True, key="wall_real_s"),
    Column("RSS", "MiB", numeric=True, key="rss_mb"),
)
FIGURES = (
    Column("Effect", "%", numeric=True),
    Column("95 % interval", "%", numeric=True),
    Column("Blocks", numeric=True),
    Column("Noise", "%", numeric=True),
    Column("Smallest detectable", "%", numeric=True),
)
NOISE = (
    f"Effects are against {CONTROL} and {A_A} together, block by block, so they need not follow from medians. "
    f"Noise is how far {CONTROL} and {A_A}, which are the same, can lie apart over these blocks. "
    "Less is better in every metric here."
)


def effects(measurement: Measurement | None) -> list[Effect]:
    """Return the effect of each arm on each metric."""
    samples = measurement.samples("allocator") if measurement else ()
    return [effect for arm in statistics.arms(samples) for effect in statistics.effects(samples, arm)]


def verdicts(measurement: Measurement | None) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the effects as plain values by arm and metric, for files that other programs read."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for effect in effects(measurement):
        found.setdefault(effect.arm, {})[effect.metric.key] = {
            "verdict": str(effect.verdict),
            "why": effect.why,
            "blocks": effect.estimate.blocks,
            "effect_percent": _rounded(effect.estimate.mean),
            "low_percent": _rounded(effect.estimate.low),
            "high_percent": _rounded(effect.estimate.high),
            "noise_percent": _rounded(effect.noise),
            "detectable_percent": _rounded(effect.detectable),
        }
    return found


def headlines(found: list[Effect]) -> list[Effect]:
    """Return of each arm the effect on what its lever is pulled for, or on the first metric where that is not known."""
    chosen: dict[str, Effect] = {}
    for effect in found:
        if effect.arm not in chosen or effect.metric == metrics.headline(effect.arm):
            chosen[effect.arm] = effect
    return list(chosen.values())


def skipped(measurement: Measurement | None) -> dict[str, str]:
    """Return the arms that the node could not run, with the reason."""
    if measurement is None or "allocator" not in measurement.probes:
        return {}
    reasons = mapping(measurement.probes["allocator"].evidence.get("skipped_arms"))
    return {name: words(reason) for name, reason in reasons.items()}


def findings(host: Host) -> list[str]:
    """Say what each arm did to its headline metric, whatever the verdict, and to the others where one is called."""
    found = effects(host.result)
    first = headlines(found)
    return [sentence(effect) for effect in found if effect in first or effect.verdict in CALLED]


def in_short(host: Host) -> list[str]:
    """Say in one sentence what came of each lever: what was called, then what was not."""
    found = effects(host.result)
    called = [effect for effect in found if effect.verdict in CALLED]
    shown = called + [effect for effect in headlines(found) if effect.verdict not in CALLED]
    parts = []
    for verdict in Verdict:
        said = [_named(effect) for effect in shown if effect.verdict is verdict]
        parts += [f"{verdict}: {', '.join(said)}"] if said else []
    return [f"Levers against {CONTROL}: {'; '.join(parts)}."] if parts else []


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
    verdicts = _verdicts_table(newest)
    return Section(
        "allocators",
        "Allocators and other levers",
        tables=(*([verdicts] if verdicts.rows else []), _arms_table(measured)),
        figures=plots.some(*_plots(newest)),
        details=(*reversed(effect_tables), samples_table(newest)),
    )


def _plots(measurement: Measurement) -> Iterator[Plot]:
    """Yield the samples of every arm, in each time that some lever is pulled for."""
    there = arms(measurement)
    for metric in dict.fromkeys([metrics.FIRST_GENERATION, *map(metrics.headline, there)]):
        groups = [(arm, of_arm(measurement, arm)) for arm in there]
        yield plots.dots(
            f"{metric.title[:1].upper()}{metric.title[1:]}",
            "s",
            [(arm, numbers(rows, metric.key), median(rows, metric.key)) for arm, rows in groups],
        )


def _verdicts_table(measurement: Measurement) -> Table:
    """Return one row per arm asked for: those that ran with their headline metric, then those that could not run."""
    evidence = mapping(measurement.probes["allocator"].evidence.get("arms"))
    ran = [
        (
            tables.text(effect.arm),
            tables.toned(effect.verdict),
            tables.text(effect.metric.title),
            *_figures(effect),
            _used(measurement, effect.arm),
            tables.text(words(mapping(evidence.get(effect.arm)).get("proof") or "")),
            tables.text(effect.why),
        )
        for effect in headlines(effects(measurement))
    ]
    nothing = [tables.text("")] * (len(FIGURES) + 3)
    could_not = [
        (tables.text(name), tables.toned("skipped"), *nothing, tables.text(reason))
        for name, reason in skipped(measurement).items()
    ]
    return Table(
        "Verdict per lever, on what it is pulled for",
        (
            Column("Arm"),
            Column("Verdict"),
            Column("Metric"),
            *FIGURES,
            Column("In use", "processes"),
            Column("Proven by", wide=True),
            Column("Why", wide=True),
        ),
        (*ran, *could_not),
        NOISE,
    )


def _effects_table(when: str, measurement: Measurement) -> Table:
    found = effects(measurement)
    return Table(
        f"Effect against {CONTROL} in the same blocks" + (f", {when} tuning" if when else ""),
        (Column("Arm"), Column("Metric"), Column("Verdict"), *FIGURES, Column("Why", wide=True)),
        tuple(
            (
                tables.text(effect.arm),
                tables.text(effect.metric.title),
                tables.toned(effect.verdict),
                *_figures(effect),
                tables.text(effect.why),
            )
            for effect in found
        ),
        NOISE,
    )


def _figures(effect: Effect) -> tuple[Cell, ...]:
    """Return the cells under FIGURES."""
    found = effect.estimate
    return (
        tables.percent(percent(found.mean)),
        tables.text(figures.interval(percent(found.low), percent(found.high))),
        tables.count(found.blocks),
        tables.percent(percent(effect.noise), signed=False),
        tables.percent(percent(effect.detectable), signed=False),
    )


def _used(measurement: Measurement, arm: str) -> Cell:
    """Return in how many processes the arm was as intended; those that do not show it count neither way."""
    shown = [row["engaged"] for row in of_arm(measurement, arm)]
    if None in shown and False not in shown:
        silent = f"{shown.count(None)} do not show it"
        return tables.text(f"{shown.count(True)} of {len(shown)}; {silent}", "unsure")
    return tables.text(f"{shown.count(True)} of {len(shown)}", "" if all(shown) else "bad")


def _arms_table(measured: list[tuple[str, Measurement]]) -> Table:
    rows = []
    for arm in dict.fromkeys(arm for _, part in measured for arm in arms(part)):
        for when, part in measured:
            found = of_arm(part, arm)
            rows.append(
                (
                    tables.text(arm),
                    tables.text(when or ONLY),
                    *(tables.seconds(median(found, key)) for key in ("gen_latency_s", "gen_warm_latency_s")),
                    tables.seconds(median(found, "wall_real_s")),
                    tables.seconds(median(found, "pin_s")),
                    *(tables.mib(median(found, key)) for key in ("rss_mb", "anon_huge_mb")),
                    _used(part, arm),
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
            Column("Pinning memory", "s", numeric=True),
            Column("RSS", "MiB", numeric=True),
            Column("Huge pages", "MiB", numeric=True),
            Column("As intended", "processes"),
            Column("Allocator libraries mapped", wide=True),
        ),
        tuple(rows),
        f"{_pinned(measured)}{DRIFT if len(measured) == 2 else ''}".strip(),
    )


def _pinned(measured: list[tuple[str, Measurement]]) -> str:
    """Return what was pinned, in a sentence, or nothing on a node without a GPU."""
    asked = {mapping(row.get("pinned")).get("asked_mb") for _, part in measured for row in part.samples("allocator")}
    sizes = sorted(mb for mb in asked if number(mb) is not None)
    if not sizes:
        return ""
    said = figures.listed([figures.count(mb) for mb in sizes])
    return f"Each process pins {said} MiB for the GPU at its end, which is no part of the whole process. "


def arms(measurement: Measurement) -> list[str]:
    present = {row["arm"] for row in measurement.samples("allocator")}
    controls = [name for name in (CONTROL, A_A) if name in present]
    return controls + statistics.arms(measurement.samples("allocator"))


def of_arm(measurement: Measurement, arm: str) -> list[dict[str, Any]]:
    return [row for row in measurement.samples("allocator") if row["arm"] == arm]


def _named(effect: Effect) -> str:
    """As in `jemalloc (first token −11 %)`; of what was not called without the figure."""
    change = f" {figures.percent(percent(effect.estimate.mean))} %" if effect.verdict in CALLED else ""
    return f"{effect.arm} ({effect.metric.title}{change})"


def _rounded(log_ratio: float | None) -> float | None:
    value = percent(log_ratio)
    return None if value is None else round(value, 2)


def _ends(effect: Effect) -> str:
    low, high = (percent(end) for end in (effect.estimate.low, effect.estimate.high))
    return f"95 % interval {figures.interval(low, high)} %"
