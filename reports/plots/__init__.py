"""Plots: what they show as data (`kinds`), drawn (`drawing`) as SVG that is part of a page (`inline`)."""

from __future__ import annotations

import functools

from .kinds import Axis, Mark, Plot, Series, curves, dots, stacks, timeline

__all__ = ["Axis", "Mark", "Plot", "Series", "curves", "dots", "some", "stacks", "svg", "timeline"]


def some(*plots: Plot) -> tuple[Plot, ...]:
    """Return the plots that have anything to show."""
    return tuple(plot for plot in plots if not plot.empty)


@functools.lru_cache(maxsize=256)  # nodes of one kind can have the same plots
def svg(plot: Plot) -> str:
    """Return a plot as an SVG element for a page, the same bytes for the same plot."""
    from . import drawing, inline  # matplotlib takes a while to import, and only a page needs it

    return inline.element(drawing.draw(plot), plot.alternative)
