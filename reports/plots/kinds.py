"""Three kinds of plots as data: samples beside each other, times stacked up, and values along an axis."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from .. import figures

Point = tuple[float, float]

SHOWN_ROWS = 40
SHOWN_DOTS = 300  # of one row or series
SHOWN_READINGS = 400  # of one line
SHOWN_SERIES = 6  # as many as there are colours
SHOWN_MARKS = 24
ROOM = 0.04  # of its length, that an axis has beyond the outermost points
LARGEST = 1e18  # beyond it an axis overflows
TOLD = 12  # points of a series that its words name one by one


@dataclass(frozen=True)
class Axis:
    """`ticks` are places with a text each, for an axis whose values are names; `from_zero` is for the y axis alone."""

    title: str
    unit: str = ""
    log: bool = False
    ticks: tuple[tuple[float, str], ...] = ()
    from_zero: bool = True

    def name(self, value: float) -> str:
        return dict(self.ticks).get(value, short(value))


@dataclass(frozen=True)
class Row:
    """Samples of one thing, with their median."""

    label: str
    values: tuple[float, ...]
    median: float


@dataclass(frozen=True)
class Dots:
    """Every sample as a dot, a row for each thing, on one axis."""

    title: str
    unit: str
    rows: tuple[Row, ...]
    legend = ()
    note = "A dot is a sample, a stroke the median."

    @property
    def empty(self) -> bool:
        return not self.rows

    @property
    def alternative(self) -> str:
        said = [
            f"{row.label}: median {short(row.median)}, {_told([short(value) for value in row.values])}"
            for row in self.rows
        ]
        return f"{_titled(self.title, self.unit)}. {'; '.join(said) or NO_DATA}."


@dataclass(frozen=True)
class Bar:
    label: str
    lengths: tuple[float, ...]


@dataclass(frozen=True)
class Stacks:
    """Parts of a whole laid end to end, a bar for each whole."""

    title: str
    unit: str
    parts: tuple[str, ...]
    bars: tuple[Bar, ...]
    note = ""

    @property
    def empty(self) -> bool:
        return not any(any(bar.lengths) for bar in self.bars)

    @property
    def legend(self) -> tuple[str, ...]:
        return self.parts

    @property
    def alternative(self) -> str:
        said = [
            f"{bar.label}: {', '.join(f'{part} {short(value)}' for part, value in zip(self.parts, bar.lengths))}"  # noqa: B905
            f", together {short(math.fsum(bar.lengths))}"
            for bar in self.bars
        ]
        return f"{_titled(self.title, self.unit)}. {'; '.join(said) or NO_DATA}."


@dataclass(frozen=True)
class Series:
    """`dots` are what was measured; `line` joins what belongs together, such as medians or readings."""

    label: str
    dots: tuple[Point, ...] = ()
    line: tuple[Point, ...] = ()


@dataclass(frozen=True)
class Mark:
    """A moment on the x axis, or a limit on the y axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Curves:
    """Values along an axis, with moments and limits that are worth a line of their own."""

    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    moments: tuple[Mark, ...] = ()
    limits: tuple[Mark, ...] = ()
    note: str = ""

    @property
    def empty(self) -> bool:
        return not any(each.dots or each.line for each in self.series)

    @property
    def legend(self) -> tuple[str, ...]:
        return tuple(each.label for each in self.series) if len(self.series) > 1 else ()

    @property
    def unit(self) -> str:
        return _titled(self.y.title, self.y.unit)

    @property
    def alternative(self) -> str:
        said = [f"{each.label}: {self._points(each.line or each.dots)}" for each in self.series]
        said += [f"{mark.label} at {self.x.name(mark.at)}" for mark in self.moments]
        said += [f"{mark.label}: {short(mark.at)}" for mark in self.limits]
        axes = f"{_titled(self.y.title, self.y.unit)} against {_titled(self.x.title, self.x.unit)}"
        return f"{self.title}: {axes}. {'; '.join(said) or NO_DATA}."

    def _points(self, points: Sequence[Point]) -> str:
        """Name few points one by one, and of many the first, the lowest, the highest and the last."""
        if len(points) <= TOLD:
            return ", ".join(self._point(point) for point in points) or NO_DATA
        low, high = (pick(points, key=lambda point: point[1]) for pick in (min, max))
        ends = f"from {self._point(points[0])} to {self._point(points[-1])}"
        return f"{ends}, lowest {self._point(low)}, highest {self._point(high)}"

    def _point(self, point: Point) -> str:
        return f"{short(point[1])} at {self.x.name(point[0])}"


Plot = Dots | Stacks | Curves
NO_DATA = "no figures"


def dots(title: str, unit: str, groups: Iterable[tuple[str, Sequence[float], float | None]]) -> Dots:
    """Return a plot of those groups that have samples."""
    rows = []
    for label, values, median in groups:
        known = tuple(value for value in values if abs(value) <= LARGEST)
        if known and median is not None and abs(median) <= LARGEST:
            rows.append(Row(label, known[:SHOWN_DOTS], median))
    if len(rows) > SHOWN_ROWS:
        title = f"{title}, the first {SHOWN_ROWS} of {len(rows):,}"
    return Dots(title, unit, tuple(rows[:SHOWN_ROWS]))


def stacks(title: str, unit: str, parts: Sequence[str], groups: Iterable[tuple[str, Sequence[float | None]]]) -> Stacks:
    """Return a plot of those groups that have any part; a part that is not known has no length."""
    bars = []
    for label, lengths in groups:
        known = tuple(value if value is not None and 0 < value <= LARGEST else 0.0 for value in lengths[:SHOWN_SERIES])
        if any(known):
            bars.append(Bar(label, known))
    return Stacks(title, unit, tuple(parts[:SHOWN_SERIES]), tuple(bars[:SHOWN_ROWS]))


def curves(
    title: str,
    x: Axis,
    y: Axis,
    series: Iterable[Series],
    moments: Iterable[Mark] = (),
    limits: Iterable[Mark] = (),
    note: str = "",
) -> Curves:
    """Return a plot without the points that its axes have no place for."""
    kept = []
    for each in series:
        found = replace(
            each,
            dots=_placed(each.dots, x, y)[:SHOWN_DOTS],
            line=thinned(_placed(each.line, x, y)),
        )
        if found.dots or found.line:
            kept.append(found)
    places = [point[0] for each in kept for point in (*each.dots, *each.line)] or [0.0]
    room = ROOM * (max(places) - min(places))
    shown = [mark for mark in moments if min(places) - room <= mark.at <= max(places) + room]
    bars = [mark for mark in limits if _fits(mark.at, y)]
    marks = (tuple(shown[:SHOWN_MARKS]), tuple(bars[:SHOWN_MARKS])) if kept else ((), ())
    return Curves(title, x, y, tuple(kept[:SHOWN_SERIES]), *marks, note)


def timeline(
    title: str,
    points: Sequence[tuple[str, float]],
    unit: str,
    limit: float | None = None,
    change: int | None = None,
) -> Curves:
    """Return values over named runs, in order, with a certified limit and the first run after a change."""
    places = [(float(place), value) for place, (_, value) in enumerate(points)]
    until = len(places) if change is None else change
    series = [Series("before the change" if change is not None else title, places[:until], places[:until])]
    if change is not None:
        series.append(Series("since the change", places[until:], places[until:]))
    return curves(
        title,
        Axis("run", ticks=tuple((float(place), label) for place, (label, _) in enumerate(points))),
        Axis("", unit, from_zero=False),
        series,
        () if change is None else [Mark(float(change), "change")],
        () if limit is None else [Mark(limit, "certified limit")],
    )


def thinned(points: Sequence[Point]) -> tuple[Point, ...]:
    """Return few enough readings to draw: of each stretch the first, the lowest, the highest and the last."""
    if len(points) <= SHOWN_READINGS:
        return tuple(points)
    stretch, found = 4 * len(points) // SHOWN_READINGS + 1, {}
    for start in range(0, len(points), stretch):
        part = range(start, min(start + stretch, len(points)))
        low, high = (pick(part, key=lambda place: points[place][1]) for pick in (min, max))
        found |= dict.fromkeys(sorted({part[0], low, high, part[-1]}))
    return tuple(points[place] for place in found)


def short(value: float) -> str:
    """Return a figure of any size in four digits or fewer, and all of those before the point."""
    if value and not 1e-4 <= abs(value) < 1e9:
        return f"{value:.2e}".replace("-", "−")
    shown = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return shown.replace("-", "−")


def _placed(points: Iterable[Point], x: Axis, y: Axis) -> tuple[Point, ...]:
    return tuple((first, second) for first, second in points if _fits(first, x) and _fits(second, y))


def _fits(value: float, axis: Axis) -> bool:
    return abs(value) <= LARGEST and (value >= 1 / LARGEST or not axis.log)  # so written, NaN does not fit


def _told(values: Sequence[str]) -> str:
    more = len(values) - TOLD
    return f"{figures.plural(len(values), 'sample')} {', '.join(values[:TOLD])}" + (f" and {more} more" * (more > 0))


def _titled(title: str, unit: str) -> str:
    return ", ".join(filter(None, (title, unit)))
