"""The figures a node is known by: each with its direction and every value behind it, in one name for all runs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from probe_agent.arms import A_A, CONTROL

from . import metrics
from .loose import number
from .metrics import Metric
from .run_folder import Measurement
from .sections import allocators, bandwidth, batching, kv, load, serving
from .statistics import median, numbers


@dataclass(frozen=True)
class Headline:
    """`name` is as in fleet.json: what was measured under which condition, and the unit.

    `together` are values of one process or server start: what befell it befell them all.
    """

    name: str
    title: str
    lower_is_better: bool
    values: tuple[float, ...]
    together: bool = False

    @property
    def independent(self) -> tuple[float, ...]:
        """One value per process or server start, which is the unit of any test."""
        return (self.median,) if self.together else self.values

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def mad(self) -> float:
        """The median distance from the median."""
        return statistics.median(abs(value - self.median) for value in self.values)


def of(measurement: Measurement) -> list[Headline]:
    """Return the figures that this measurement has."""
    return [found for part in (_load, _allocator, _serving, _batching, _kv, _bandwidth) for found in part(measurement)]


def _load(measurement: Measurement) -> Iterator[Headline]:
    for cache in load.CACHES:
        yield from _each(cache, load.of_cache(measurement, cache), metrics.LOAD_METRICS)


def _allocator(measurement: Measurement) -> Iterator[Headline]:
    """The control's figures, of both its names: what a process does without any lever."""
    rows = [row for name in (CONTROL, A_A) for row in allocators.of_arm(measurement, name)]
    yield from _each(CONTROL, rows, metrics.ALLOCATOR_METRICS)


def _serving(measurement: Measurement) -> Iterator[Headline]:
    started = serving.starts(measurement)
    for cache in serving.CACHES:
        yield from _each(cache, [row for row in started if row["cache"] == cache], metrics.SERVING_METRICS)


def _batching(measurement: Measurement) -> Iterator[Headline]:
    found = batching.loads(measurement) if measurement.samples("batching") else []
    for mode in batching.MODES:
        rates = [each.tokens_per_s for each in batching.of_mode(found, mode) if each.tokens_per_s is not None]
        yield from _one(mode, metrics.THROUGHPUT, rates, together=True)


def _kv(measurement: Measurement) -> Iterator[Headline]:
    tokens = kv.capacity_tokens(measurement)
    yield from _one("kv", metrics.CAPACITY, [] if tokens is None else [tokens], together=True)


def _bandwidth(measurement: Measurement) -> Iterator[Headline]:
    """Of several GPUs the slowest; of an allocation's sizes the largest."""
    slowest: dict[str, list[dict[str, Any]]] = {}
    for (measure, _, advice, size), rows in sorted(
        bandwidth.groups(measurement).items(), key=lambda group: group[0][3]
    ):
        other = slowest.get(measure)
        larger = other is not None and size > other[0]["bytes"]
        if advice in ("", "none") and (other is None or larger or _rate(rows) < _rate(other)):
            slowest[measure] = rows
    for measure, rows in slowest.items():
        yield from _one(measure, metrics.RATE, numbers(rows, "rate"), together=measure not in bandwidth.FRESH)
    drift = number(bandwidth.steadiness(measurement).get(metrics.DRIFT.key))
    yield from _one("generation", metrics.DRIFT, [] if drift is None else [drift], together=True)


def _rate(rows: list[dict[str, Any]]) -> float:
    return median(rows, "rate") or 0.0


def _each(condition: str, rows: list[dict[str, Any]], wanted: tuple[Metric, ...]) -> Iterator[Headline]:
    for metric in wanted:
        yield from _one(condition, metric, numbers(rows, metric.key))


def _one(condition: str, metric: Metric, values: list[float], together: bool = False) -> Iterator[Headline]:
    known = tuple(filter(math.isfinite, values))  # a rate over next to no time overflows
    if known:
        title = f"{metric.title}, {condition.replace('_', ' ')}"
        yield Headline(f"{condition}_{metric.key}", title, metric.lower_is_better, known, together)
