"""Where a server saturates: the rule, in one place for the node and for the report."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

SHARE = 0.9  # of the sweep's highest throughput


class Saturation(NamedTuple):
    """`reached_last`: it is the highest concurrency tried, so whether more would give more is not known."""

    concurrency: int
    reached_last: bool


def saturation(loads: Iterable[tuple[int, float]]) -> Saturation | None:
    """Return the smallest concurrency whose tokens per second reach SHARE of the highest.

    `loads` are (concurrency, tokens per second). None with fewer than two of them, or when none produced a token.
    """
    sweep = sorted(loads)
    highest = max((rate for _, rate in sweep), default=0)
    if len(sweep) < 2 or highest <= 0:
        return None
    found = next(concurrency for concurrency, rate in sweep if rate >= SHARE * highest)
    return Saturation(found, found == sweep[-1][0])
