"""Which node is unlike its twins, the nodes with the same fingerprint: in which figure, and by how much.

A figure stands out when it lies farther from the twins' median than their own spread explains and by more than
OUTLIER_MARGIN. Times and rates are compared as logarithms, so twice as fast is as far off as twice as slow.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scipy import special

from . import thresholds
from .fleet import Row
from .limits import ALPHA, OUTLIER_MARGIN, TWINS_LEAST
from .thresholds import DIGITS


@dataclass(frozen=True)
class Outlier:
    """`spreads` is the distance in the twins' robust standard deviations; None where all others are the same."""

    host: str
    metric: str
    title: str
    value: float
    median: float
    twins: int
    off_percent: float
    spreads: float | None
    worse: bool


def outliers(rows: Sequence[Row]) -> list[Outlier]:
    """Return what stands out, the worse ones first, the farthest of them first."""
    found = [each for nodes in kinds(rows).values() for each in _of_kind(nodes)]
    return sorted(found, key=lambda each: (not each.worse, -abs(math.log1p(each.off_percent / 100))))


def kinds(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the nodes with figures by fingerprint, those without one left out: they compare with nothing."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row.fingerprint and row.figures:
            found.setdefault(row.fingerprint, []).append(row)
    return found


def reach(spread: float, nodes: int) -> float:
    """Return how far from the median, in the unit of `spread`, one of so many equal nodes may lie by chance.

    Over all nodes of a kind together a figure is called falsely with ALPHA.
    """
    sigma = thresholds.sigma(spread, nodes)
    return float(special.stdtrit(nodes - 1, 1 - ALPHA / 2 / nodes)) * sigma * math.sqrt(1 + 1 / nodes)


def _of_kind(nodes: Sequence[Row]) -> Iterator[Outlier]:
    by_metric: dict[str, list[tuple[Row, str, float, bool]]] = {}
    for row in nodes:
        for each in row.figures:
            if each.median > 0:  # a figure about nothing has no share to be off by
                by_metric.setdefault(each.name, []).append((row, each.title, each.median, each.lower_is_better))
    for metric, found in by_metric.items():
        if len(found) < TWINS_LEAST:
            continue
        logs = [math.log(value) for _, _, value, _ in found]
        centre = statistics.median(logs)
        spread = statistics.median(abs(value - centre) for value in logs)
        bound = max(math.log1p(OUTLIER_MARGIN), reach(spread, len(logs)))
        sigma = thresholds.sigma(spread, len(logs))
        for (row, title, value, lower_is_better), place in zip(found, logs, strict=True):
            away = place - centre
            if abs(away) > bound:
                yield Outlier(
                    row.host,
                    metric,
                    title,
                    round(value, DIGITS),
                    round(math.exp(centre), DIGITS),
                    len(found),
                    round(100 * math.expm1(away), 1),
                    round(abs(away) / sigma, 1) if sigma > 1e-9 else None,
                    worse=(away > 0) == lower_is_better,
                )
