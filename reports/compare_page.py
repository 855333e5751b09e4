"""A comparison as sentences and tables: the terminal, Markdown and HTML show the same ones."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from probe_agent.settings import values as settings_of

from . import figures, tables
from .compare import EXACT, UNTOLD, Figure, Outcome, Pair, Side
from .sections import allocators
from .statistics import Effect, percent
from .tables import Cell, Column, Table

DETAILED = 10  # hosts that each have a section
NEWS = (Outcome.WORSE, Outcome.BETTER, Outcome.MISSING)
NAMED = 10  # hosts or figures that a sentence names
TONES = {
    Outcome.WORSE: "bad",
    Outcome.BETTER: "good",
    Outcome.NO_DIFFERENCE: "calm",
    Outcome.INCONCLUSIVE: "unsure",
    Outcome.MISSING: "bad",
    Outcome.ADDED: "calm",
    Outcome.REFUSED: "bad",
}
SUMMED = (
    Outcome.WORSE,
    Outcome.BETTER,
    Outcome.NO_DIFFERENCE,
    Outcome.INCONCLUSIVE,
    Outcome.MISSING,
)
# How a figure is shown, by the end of its name.
UNITS = (
    ("tokens_per_s", "tokens/s", tables.rate),
    ("gib_per_s", "GiB/s", tables.rate),
    ("_ttft_s", "ms", tables.milliseconds),
    ("_s", "s", tables.seconds),
    ("_mb", "MiB", tables.mib),
    ("", "", tables.count),
)


@dataclass(frozen=True)
class Section:
    """What a host's part of a page says: `tables` first, `details` for those who look further, samples as `strips`."""

    title: str
    sentences: tuple[str, ...]
    tables: tuple[Table, ...]
    details: tuple[Table, ...]
    strips: tuple[tables.Figure, ...]


def page(base: str, new: str, pairs: Sequence[Pair], left_out: Sequence[str]) -> dict[str, Any]:
    """Return what templates and terminal show. Of many hosts, only those have a section of which there is news."""
    news = [pair for pair in pairs if len(pairs) <= DETAILED or pair.doubts or pair.with_outcome(*NEWS)]
    return {
        "base": base,
        "new": new,
        "sentences": [*sentences(pairs), *left_out],
        "overview": overview(pairs) if len(pairs) > 1 else None,
        "sections": [section(pair) for pair in news],
    }


def sentences(pairs: Sequence[Pair]) -> list[str]:
    """Say what came of the whole comparison, what is worse, and what could not be told."""
    counted = Counter(figure.outcome for pair in pairs for figure in pair.figures)
    totals = ", ".join(f"{counted[outcome]:,} {outcome}" for outcome in Outcome if counted[outcome])
    said = [f"{figures.plural(len(pairs), 'host')}, {figures.plural(counted.total(), 'figure')}: {totals or 'none'}."]
    for outcome in (Outcome.WORSE, Outcome.BETTER):
        said += _few([f"{pair.name}: {_change(figure)}." for pair in pairs for figure in pair.with_outcome(outcome)])
    said += _few([sentence for pair in pairs for sentence in untold(pair)])
    called = [figure for pair in pairs for figure in pair.with_outcome(Outcome.WORSE, Outcome.BETTER)]
    if any(not figure.by_run and figure.name not in EXACT for figure in called):
        said.append(
            "Two runs are two stretches of time: a change may also be the machine's own drift between them. Repeat the "
            "run before you act on it, or name runs like BASE with --more-base."
        )
    return said


def untold(pair: Pair) -> list[str]:
    """Say why a pair could not be compared as a whole, or which of its figures could not."""
    if pair.doubts:
        return [f"{pair.name} does not compare: {'; '.join(pair.doubts)}."]
    missing = [figure.name for figure in pair.with_outcome(*UNTOLD)]
    said = []
    if missing:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        said.append(f"{pair.name}: NEW lacks {', '.join(missing[:NAMED])}{more}.{_why_missing(pair)}")
    elif not pair.told:
        said.append(
            f"{pair.name}: nothing could be told, since an interval needs two processes or server starts on each side."
        )
    return said


def overview(pairs: Sequence[Pair]) -> Table:
    """Return a row per host."""
    return Table(
        "Hosts",
        (
            Column("Host"),
            Column("Compares"),
            *(Column(outcome.capitalize(), numeric=True) for outcome in SUMMED),
            Column("Largest change", wide=True),
        ),
        tuple(
            (
                Cell(pair.name),
                Cell("no", tone="bad") if pair.doubts else Cell("yes"),
                *(tables.count(len(pair.with_outcome(outcome))) for outcome in SUMMED),
                tables.text(_largest(pair)),
            )
            for pair in pairs
        ),
        limit=len(pairs),
    )


def section(pair: Pair) -> Section:
    told = (settings_table(pair), parts_table(pair), probes_table(pair), levers_table(pair))
    called = pair.with_outcome(Outcome.WORSE, Outcome.BETTER)
    return Section(
        pair.name,
        tuple(untold(pair)),
        tuple(table for table in (figures_table(pair),) if table.rows),
        tuple(table for table in told if table.rows),
        tuple(strip for figure in called for strip in _strips(figure)),
    )


def figures_table(pair: Pair) -> Table:
    return Table(
        "Figures",
        (
            Column("Figure", key="figure"),
            Column("Unit"),
            Column("BASE", numeric=True),
            Column("NEW", numeric=True),
            Column("Values", numeric=True),
            Column("Change", "%", numeric=True),
            Column("95 % interval", "%", numeric=True),
            Column("Seen from", "%", numeric=True),
            Column("Threshold", "%", numeric=True),
            Column("Verdict"),
            Column("Why", wide=True),
        ),
        tuple(_row(figure) for figure in pair.figures),
        "BASE and NEW are medians; the change is that of the geometric mean. Seen from: the smallest change that two "
        "such runs call in four of five cases.",
    )


def parts_table(pair: Pair) -> Table:
    """Return what the two sides do not have in common of what decides whether they compare."""
    return Table(
        "Parts of the fingerprint that differ",
        (Column("Part"), Column("BASE → NEW", wide=True), Column("Allowed by --across")),
        tuple(
            (Cell(part.name), tables.text(part.words), Cell("yes") if part.allowed else Cell("no", tone="bad"))
            for part in pair.parts
        ),
    )


def settings_table(pair: Pair) -> Table:
    base, new = ({} if side.measurement is None else settings_of(side.measurement.host_memory) for side in _both(pair))
    known = bool(pair.base.measurement and pair.new.measurement)
    return Table(
        "Settings that differ",
        (Column("Setting"), Column("BASE"), Column("NEW")),
        tuple(
            (Cell(name), tables.text(base.get(name)), tables.text(new.get(name), "changed"))
            for name in {**base, **new}
            if known and base.get(name) != new.get(name)
        ),
    )


def probes_table(pair: Pair) -> Table:
    """Return the probes that one of both sides did not bring to an end."""
    base, new = ({} if side.measurement is None else side.measurement.probes for side in _both(pair))
    states = {
        name: [f"{found[name].status} {found[name].reason}".strip() if name in found else "" for found in (base, new)]
        for name in {**base, **new}
    }
    return Table(
        "Probes that are not ok on both sides",
        (Column("Probe"), Column("BASE", wide=True), Column("NEW", wide=True)),
        tuple(
            (Cell(name), *map(tables.text, said)) for name, said in states.items() if any(word != "ok" for word in said)
        ),
    )


def levers_table(pair: Pair) -> Table:
    """Return what each lever did against the control of its own run, on what it is pulled for."""
    base, new = (_levers(side) for side in _both(pair))
    return Table(
        "Levers against the control of their own run",
        (Column("Lever"), Column("BASE"), Column("NEW")),
        tuple((Cell(arm), tables.text(base.get(arm)), tables.text(new.get(arm))) for arm in {**base, **new}),
    )


def _both(pair: Pair) -> tuple[Side, Side]:
    return pair.base, pair.new


def _levers(side: Side) -> dict[str, str]:
    return {effect.arm: _lever(effect) for effect in allocators.headlines(allocators.effects(side.measurement))}


def _lever(effect: Effect) -> str:
    """As in `first generation −4.0 %, inconclusive`."""
    known = effect.estimate.mean is not None
    size = f" {figures.percent(percent(effect.estimate.mean))} %" if known else ""
    return f"{effect.metric.title}{size}, {effect.verdict}"


def _row(figure: Figure) -> tuple[Cell, ...]:
    _, unit, show = _unit(figure.name)
    found = figure.test
    ends = figures.interval(percent(found.low), percent(found.high)) if found else ""
    return (
        Cell(figure.name),
        Cell(unit),
        show(_median(figure.base)),
        show(_median(figure.new)),
        Cell(f"{len(figure.base)}, {len(figure.new)}"),
        tables.percent(percent(figure.change)),
        tables.text(ends),
        tables.percent(percent(figure.detectable), signed=False),
        Cell(f"{100 * figure.threshold:g}", 100 * figure.threshold),
        Cell(str(figure.outcome), tone=TONES[figure.outcome]),
        tables.text(figure.why),
    )


def _strips(figure: Figure) -> tuple[tables.Figure, ...]:
    _, unit, _ = _unit(figure.name)
    sides = (("BASE", figure.base), ("NEW", figure.new))
    scale = 1000 if unit == "ms" else 1
    groups = [(name, [scale * value for value in values], scale * statistics.median(values)) for name, values in sides]
    return tables.strips(figure.title, unit, groups)


def _unit(name: str) -> tuple[str, str, Callable[[float | None], Cell]]:
    return next(each for each in UNITS if name.endswith(each[0]))


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def _change(figure: Figure) -> str:
    """Return a called change in a few words, as in `warm_load_s +23 % (worse, threshold 10 %)`."""
    threshold = f"threshold {100 * figure.threshold:g} %"
    return f"{figure.name} {figures.percent(percent(figure.change))} % ({figure.outcome}, {threshold})"


def _largest(pair: Pair) -> str:
    """Return the largest change that was called."""
    called = pair.with_outcome(Outcome.WORSE, Outcome.BETTER)
    return _change(max(called, key=lambda figure: abs(figure.change or 0.0))) if called else ""


def _why_missing(pair: Pair) -> str:
    """Say which probes of NEW did not end well."""
    measured = pair.new.measurement
    broken = [] if measured is None else [probe for probe in measured.probes.values() if probe.status != "ok"]
    said = "; ".join(f"{probe.name} {probe.status}: {probe.reason or 'no reason given'}" for probe in broken)
    return f" {said}." if said else ""


def _few(said: list[str]) -> list[str]:
    more = len(said) - NAMED
    return [*said[:NAMED], f"{more:,} more, see the tables."] if more > 0 else said
