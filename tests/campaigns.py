"""Campaigns whose truth is known: processes of a machine that drifts, as the allocator probe would run them."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from probe_agent.arms import A_A, CONTROL
from reports.metrics import Metric

METRICS = tuple(Metric(f"m{number}_s", f"metric {number}") for number in range(8))
LEVER = "lever"
SHARED = 0.5  # of the variance: metrics of one process go up and down together


def arms(number: int) -> tuple[str, ...]:
    """Return the controls and so many arms, the one that effects are given to first."""
    return (CONTROL, A_A, LEVER, *(f"{LEVER}-{more}" for more in range(1, number)))


def campaign(
    source: random.Random,
    blocks: int,
    *,
    effects: Mapping[str, float] | None = None,
    noise: float = 0.03,
    drift: float = 0.3,
    ran: Sequence[str] = arms(1),
    spread: float = 1.0,
) -> list[dict[str, Any]]:
    """Return a row per process. The machine slows down by `drift` from the first to the last of them.

    `effects` are log-ratios of LEVER by metric key; `spread` is its noise over that of the others.
    """
    rows: list[dict[str, Any]] = []
    for block in range(blocks):
        for arm in source.sample(ran, len(ran)):
            slower = math.log1p(drift * len(rows) / (blocks * len(ran)))
            wide = noise * (spread if arm == LEVER else 1)
            common = source.gauss(0, wide * math.sqrt(SHARED))
            row: dict[str, Any] = {"arm": arm, "block": block, "engaged": True}
            for metric in METRICS:
                own = source.gauss(0, wide * math.sqrt(1 - SHARED))
                effect = (effects or {}).get(metric.key, 0.0) if arm == LEVER else 0.0
                row[metric.key] = 2.0 * math.exp(slower + common + own + effect)
            rows.append(row)
    return rows
