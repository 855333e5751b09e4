"""Small multiples of a fleet: for each figure a strip, on it every host as a dot, nodes of one kind on one line."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from . import figures
from .fleet import Row
from .fleet_twins import Outlier

LINES = 8  # kinds of a fleet that get a line of their own; the others share one
LABEL = 8  # characters of a fingerprint
NAMED = 5  # hosts that the text alternative names
WIDTH, HEIGHT = 200, 14
GOLDEN = 0.618034  # steps of it spread dots evenly over a line's height, however many there are
# The first that a name ends with counts.
UNITS = {
    "_tokens_per_s": "tokens/s",
    "_gib_per_s": "GiB/s",
    "_capacity_tokens": "tokens",
    "_mb": "MiB",
    "_s": "s",
}


@dataclass(frozen=True)
class Line:
    """The nodes of one kind. The paths hold a dot for each, those that stand out apart from the usual ones."""

    label: str
    hosts: int
    median: str
    place: str
    alternative: str
    usual: Markup
    worse: Markup
    better: Markup


@dataclass(frozen=True)
class Strip:
    metric: str
    title: str
    unit: str
    low: str
    high: str
    lines: tuple[Line, ...]


def strips(rows: Sequence[Row], kinds: Collection[str], found: Sequence[Outlier]) -> list[Strip]:
    """Return a strip for each figure that two hosts have. `kinds` are the fingerprints, the largest first."""
    values: dict[str, list[tuple[str, str, float]]] = {}
    titles: dict[str, str] = {}
    for row in rows:
        for each in row.figures:
            titles.setdefault(each.name, each.title)
            values.setdefault(each.name, []).append((row.fingerprint, row.host, each.median))
    unusual = {(each.metric, each.host): each for each in found}
    return [
        _strip(metric, titles[metric], points, kinds, unusual) for metric, points in values.items() if len(points) > 1
    ]


def unit(metric: str) -> str:
    return next((name for end, name in UNITS.items() if metric.endswith(end)), "")


def _shown(metric: str) -> Callable[[float | None], str]:
    return figures.seconds if unit(metric) == "s" else figures.digits


def _strip(
    metric: str,
    title: str,
    points: Sequence[tuple[str, str, float]],
    kinds: Collection[str],
    unusual: Mapping[tuple[str, str], Outlier],
) -> Strip:
    low, high = min(value for *_, value in points), max(value for *_, value in points)
    own = list(kinds)[:LINES]
    by_kind: dict[str, list[tuple[str, float]]] = {}
    for kind, host, value in points:
        by_kind.setdefault(kind if kind in own else "", []).append((host, value))
    lines = [
        _line(kind[:LABEL] if kind in own else "others", by_kind[kind], (low, high), metric, unusual)
        for kind in [*own, ""]
        if kind in by_kind
    ]
    show = _shown(metric)
    return Strip(metric, title, unit(metric), show(low), show(high), tuple(lines))


def _line(
    label: str,
    points: Sequence[tuple[str, float]],
    ends: tuple[float, float],
    metric: str,
    unusual: Mapping[tuple[str, str], Outlier],
) -> Line:
    dots: dict[str, list[str]] = {"usual": [], "worse": [], "better": []}
    said = []
    for number, (host, value) in enumerate(points):
        odd = unusual.get((metric, host))
        height = 2 + (HEIGHT - 4) * ((number * GOLDEN) % 1 if len(points) > 1 else 0.5)
        # A line of no length with round ends is a dot, in a quarter of a circle's bytes.
        dots["usual" if odd is None else "worse" if odd.worse else "better"].append(
            f"M{_place(value, ends):.4g} {height:.3g}h0"
        )
        said += [f"{host} {figures.percent(odd.off_percent)} %"] if odd else []
    show = _shown(metric)
    middle = statistics.median(value for _, value in points)
    values = [value for _, value in points]
    more = f" and {len(said) - NAMED} more" if len(said) > NAMED else ""
    unlike = f"; unlike their twins: {', '.join(said[:NAMED])}{more}" if said else ""
    return Line(
        label,
        len(points),
        show(middle),
        f"{_place(middle, ends):.4g}",
        f"{figures.plural(len(points), 'host')}, from {show(min(values))} to {show(max(values))}, "
        f"median {show(middle)}{unlike}",
        **{name: Markup("".join(path)) for name, path in dots.items()},  # noqa: S704 - numbers only
    )


def _place(value: float, ends: tuple[float, float]) -> float:
    """Return where on the strip a value stands, with room for the outermost dots."""
    low, high = ends
    return 4 + (WIDTH - 8) * ((value - low) / (high - low) if high > low else 0.5)
