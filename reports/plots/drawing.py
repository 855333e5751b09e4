"""Draws plots with matplotlib, in a few colours that stand for roles; `inline` makes a page's own colours of them."""

from __future__ import annotations

import functools
import io
import math
import warnings
from collections.abc import Iterable, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from .. import figures
from .kinds import NO_DATA, ROOM, Axis, Curves, Dots, Mark, Plot, Point, Stacks, short

# Roles, each a colour that nothing else has.
INK, SOFT, LINE = "#000001", "#000002", "#000003"
SERIES = ("#000011", "#000012", "#000013", "#000014", "#000015", "#000016")
ROLES = {INK: "ink", SOFT: "soft", LINE: "line", **{colour: f"plot-{n}" for n, colour in enumerate(SERIES, 1)}}

WIDTH = 360  # of all plots, in the points of their own coordinates
FONT = 10
CHARACTER = 5.4  # the width of one, on average, in any font a page may have
LABEL_LIMIT = 22  # characters; the words beside the plot have all
ROW, BASE, TOP, RIGHT = 22, 34, 8, 14
HEIGHT = 190  # of values along an axis, without the names of moments
MARK_GAP = 11  # between the names of moments
TICKS = 5

# What the controller's own matplotlibrc says must not change a page.
matplotlib.rcdefaults()
matplotlib.rcParams.update(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "stethos",
        "text.parse_math": False,
        "font.family": ["DejaVu Sans"],
        "font.size": FONT,
        "text.color": INK,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
        "grid.color": LINE,
        "grid.linewidth": 1,
        "xtick.bottom": False,
        "ytick.left": False,
        "axes.axisbelow": True,
    }
)


def draw(plot: Plot) -> str:
    """Return the plot as matplotlib's SVG."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the page's font writes the text, not matplotlib's
        return _svg(_empty() if plot.empty else _drawn(plot))


@functools.singledispatch
def _drawn(plot: Plot) -> Figure:
    raise TypeError(type(plot))


@_drawn.register
def _dots(plot: Dots) -> Figure:
    figure, axes = _rows([row.label for row in plot.rows], right=58)
    lows, highs = zip(*((min(row.values), max(row.values)) for row in plot.rows), strict=True)
    _range(axes, Axis("", plot.unit), min(lows), max(highs))
    for place, row in enumerate(plot.rows):
        axes.plot([row.median] * 2, [place - 0.34, place + 0.34], color=INK, linewidth=2, clip_on=False)
        _spots(axes, [(value, place) for value in row.values], SERIES[0])
        axes.annotate(
            short(row.median),
            (1, place),
            (10, 0),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            verticalalignment="center_baseline",
            annotation_clip=False,
        )
    return figure


@_drawn.register
def _stacks(plot: Stacks) -> Figure:
    figure, axes = _rows([bar.label for bar in plot.bars], right=48)
    totals = [math.fsum(bar.lengths) for bar in plot.bars]
    _range(axes, Axis("", plot.unit), 0, max(totals), exact=True)
    for place, (bar, total) in enumerate(zip(plot.bars, totals, strict=True)):
        left = 0.0
        for length, colour in zip(bar.lengths, SERIES, strict=False):
            if length:
                axes.barh(place, length, 0.6, left=left, color=colour, edgecolor="none", clip_on=False)
            left += length
        axes.annotate(
            short(total), (total, place), (5, 0), textcoords="offset points", verticalalignment="center_baseline"
        )
    return figure


@_drawn.register
def _curves(plot: Curves) -> Figure:
    band = CHARACTER * max((len(_cut(mark.label)) for mark in plot.moments), default=-1) + 12
    places, heights = zip(*(point for each in plot.series for point in (*each.dots, *each.line)), strict=True)
    heights += tuple(mark.at for mark in plot.limits)
    left = 12 + CHARACTER * max(4, *(len(short(value)) for value in (min(heights), 1.5 * max(heights))))
    figure, axes = _axes(left, RIGHT, BASE + 10, TOP + band, HEIGHT + band)
    _range(axes, plot.x, min(places), max(places), places)
    _range(axes, plot.y, min(heights), max(heights), vertical=True)
    axes.grid(axis="y")
    axes.set_xlabel(", ".join(filter(None, (plot.x.title, plot.x.unit))), color=SOFT, labelpad=4)
    for mark in plot.limits:
        axes.axhline(mark.at, color=INK, linewidth=1, linestyle=(0, (4, 3)), clip_on=False)
        axes.annotate(
            _cut(mark.label),
            (1, mark.at),
            (0, 4),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            horizontalalignment="right",
        )
    _moments(axes, plot.moments, WIDTH - left - RIGHT)
    for place, (each, colour) in enumerate(zip(plot.series, SERIES, strict=False)):
        if each.line:
            style = "solid" if place % 2 == 0 else (0, (6, 2))
            axes.plot(*zip(*each.line, strict=True), color=colour, linewidth=1.5, linestyle=style, clip_on=False)
        _spots(axes, each.dots, colour, square=place % 2 == 1)
    return figure


def _moments(axes: Axes, moments: Sequence[Mark], width: float) -> None:
    """Draw a line at each moment, its name above; names that would lie on each other are moved apart."""
    on_axis = axes.transData + axes.transAxes.inverted()
    at = [on_axis.transform((mark.at, axes.get_ylim()[0]))[0] * width for mark in moments]
    for mark, place, name_at in zip(moments, at, apart(at, MARK_GAP, width), strict=True):
        axes.axvline(mark.at, color=SOFT, linewidth=0.8, linestyle=(0, (2, 2)), clip_on=False)
        axes.annotate(
            _cut(mark.label),
            (mark.at, 1),
            (name_at - place, 9),
            xycoords=axes.get_xaxis_transform(),
            textcoords="offset points",
            rotation=90,
            color=SOFT,
            horizontalalignment="center",
            verticalalignment="bottom",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": SOFT, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0},
        )


def apart(places: Sequence[float], gap: float, width: float) -> list[float]:
    """Return sorted places moved as little as it takes to have `gap` between them, within 0 and `width`."""
    found: list[float] = []
    for place in places:
        found.append(max(place, found[-1] + gap) if found else place)
    end = width
    for place in reversed(range(len(found))):
        found[place] = min(found[place], end)
        end = found[place] - gap
    return found


def _rows(labels: Sequence[str], right: float) -> tuple[Figure, Axes]:
    """Return axes with a named row for each label, the first on top."""
    names = [_cut(label) for label in labels]
    left = 14 + CHARACTER * max(map(len, names))
    figure, axes = _axes(left, right, BASE - 8, TOP, TOP + BASE - 8 + ROW * len(names))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names, color=INK)
    axes.grid(axis="x")
    return figure, axes


def _axes(left: float, right: float, bottom: float, top: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, frameon=False)
    axes = figure.add_axes(
        (left / WIDTH, bottom / height, (WIDTH - left - right) / WIDTH, (height - bottom - top) / height), frameon=False
    )
    return figure, axes


def _range(
    axes: Axes,
    axis: Axis,
    low: float,
    high: float,
    places: Iterable[float] = (),
    *,
    vertical: bool = False,
    exact: bool = False,
) -> None:
    """Give an axis of the plot its scale, its reach with room for the outermost dots, and its ticks."""
    drawn = axes.yaxis if vertical else axes.xaxis
    set_scale, set_reach = (axes.set_yscale, axes.set_ylim) if vertical else (axes.set_xscale, axes.set_xlim)
    several = sorted(set(places))
    if axis.log:
        set_scale("log")
        room = (high / low) ** ROOM if high > low else 2
        set_reach(low / room, high * room)
        drawn.set_major_locator(FixedLocator(several) if 0 < len(several) <= 9 else LogLocator(numticks=TICKS))
    else:
        room = ROOM * (high - low) or abs(high) * 0.1 or 1
        low_end = 0 if vertical and axis.from_zero and low >= 0 else low - room
        set_reach(low if exact else low_end, high if exact else high + room)
        drawn.set_major_locator(MaxNLocator(TICKS, steps=[1, 2, 2.5, 5, 10]))
    drawn.set_minor_locator(NullLocator())
    drawn.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    if axis.ticks:
        step = max(1, math.ceil(len(axis.ticks) / TICKS))
        shown = axis.ticks[::step]
        drawn.set_major_locator(FixedLocator([place for place, _ in shown]))
        drawn.set_major_formatter(FuncFormatter(lambda value, _: _cut(dict(shown).get(value, ""), 12)))


def _spots(axes: Axes, points: Sequence[Point], colour: str, *, square: bool = False) -> None:
    """Draw points as ends of strokes without length: one path for all of them."""
    if not points:
        return
    path = Path(
        [point for point in points for _ in range(2)], [code for _ in points for code in (Path.MOVETO, Path.LINETO)]
    )
    path.should_simplify = False
    axes.add_patch(
        PathPatch(
            path,
            fill=False,
            edgecolor=colour,
            linewidth=5 if square else 6,
            capstyle="projecting" if square else "round",
            alpha=0.75,
            clip_on=False,
        )
    )


def _empty() -> Figure:
    figure = Figure(figsize=(WIDTH / 72, 40 / 72), dpi=72, frameon=False)
    figure.text(0.5, 0.5, NO_DATA, color=SOFT, horizontalalignment="center")
    return figure


def _cut(label: str, limit: int = LABEL_LIMIT) -> str:
    shown = figures.printable(label)
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def _svg(figure: Figure) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return stream.getvalue()
