"""Did a figure change between runs, and since which one? Each run of one node and fingerprint is one point.

Nobody looks twice at what cries wolf: a figure is called changed only when the step is more than the node's own noise
between runs explains, at a confidence that allows for all figures of a node and many reruns, and large enough to
matter. At least two reruns have to show it; one alone is believed when it is far off.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from scipy import special

from . import figures
from .limits import (
    TOLERATED,
    TREND_ALIKE,
    TREND_ALONE,
    TREND_CONFIDENCE,
    TREND_MARGIN,
    TREND_NOISE,
    TREND_NOISE_POINTS,
    TREND_PENALTY,
    TREND_POINTS,
    TREND_POINTS_MOST,
    TREND_SEGMENTS,
)
from .thresholds import MAD_TO_SIGMA, SMALL_SAMPLE

WIDTH = 0.25  # of the kernel over values in units of noise: beyond about three, an outlier is just an outlier
OUTLIER = 3  # times the noise
FEWEST = 2  # points of a segment


@dataclass(frozen=True)
class Point:
    """A figure of one run: its median there."""

    run_id: str
    when: str
    value: float


class Verdict(StrEnum):
    STEADY = "steady"
    WORSE = "worse"
    BETTER = "better"
    UNKNOWN = "not enough history"


@dataclass(frozen=True)
class Trend:
    """`since` is the first run that showed the change, of which `change_percent` is the size."""

    metric: str
    verdict: Verdict
    sentence: str
    since: str | None = None
    change_percent: float | None = None


@dataclass(frozen=True)
class _Step:
    """The logs of a figure rose by `size` before the point at `at`; noise alone would stay below `reach`."""

    at: int
    size: float
    reach: float


def judge(
    metric: str,
    past: Sequence[Point],
    now: Point,
    lower_is_better: bool,
    limit_percent: float = 100 * TREND_MARGIN,
) -> Trend:
    """Hold `now` against the runs before it, oldest first, all of one fingerprint. Smaller steps are steady."""
    points = [*past, now][-TREND_POINTS_MOST:]
    if len(points) <= TREND_POINTS:
        before = figures.plural(len(points) - 1, "run")
        said = f"{metric}: not enough history, {before} with its fingerprint before this one, of {TREND_POINTS}."
        return Trend(metric, Verdict.UNKNOWN, said)
    values = [max(point.value, TOLERATED.get(metric, -math.inf)) for point in points]
    if not all(0 < value < math.inf for value in values):
        said = f"{metric}: not enough history, for some values have no share of themselves to change by."
        return Trend(metric, Verdict.UNKNOWN, said)
    logs = [math.log(value) for value in values]
    upwards = Verdict.WORSE if lower_is_better else Verdict.BETTER
    downwards = Verdict.BETTER if lower_is_better else Verdict.WORSE
    for sign, verdict in ((1, upwards), (-1, downwards)):
        step = _rise([sign * value for value in logs], math.log1p(limit_percent / 100))
        if step:
            return _changed(metric, verdict, points, step, sign)
    size = figures.plural(len(points) - 1, "run")
    return Trend(metric, Verdict.STEADY, f"{metric} is {figures.digits(now.value)}: steady, over {size} before.")


def _changed(metric: str, verdict: Verdict, points: Sequence[Point], step: _Step, sign: int) -> Trend:
    change, since = 100 * math.expm1(sign * step.size), points[step.at]
    said = (
        f"{metric} is {verdict} by {figures.percent(abs(change), signed=False)} % since {since.run_id}: "
        f"{figures.digits(points[-1].value)} now, in {figures.plural(len(points) - step.at, 'run')}, "
        f"after {step.at} without it."
    )
    return Trend(metric, verdict, said, since.run_id, round(change, 1))


def _rise(logs: Sequence[float], margin: float) -> _Step | None:
    """Return the rise that the last point stands on, when it is more than noise and `margin`."""
    step = _in_segments(logs) if len(logs) >= TREND_SEGMENTS else _in_few(logs)
    if step and step.size > max(step.reach, margin):
        return step
    last = _step(logs, len(logs) - 1, _noise(logs[:-1]), len(logs) - 1)
    return last if last.size > max(last.reach, math.log1p(TREND_ALONE)) else None


def _in_few(logs: Sequence[float]) -> _Step | None:
    """Return the step at the run that best divides them into before and since, with enough before it."""
    starts = range(TREND_POINTS, len(logs) - FEWEST + 1)
    at = min(starts, key=lambda start: _misfit(logs[:start]) + _misfit(logs[start:]), default=None)
    return _step(logs, at, _noise(logs[:at]), at) if at else None


def _misfit(values: Sequence[float]) -> float:
    middle = statistics.median(values)
    return sum(abs(value - middle) for value in values)


def _in_segments(logs: Sequence[float]) -> _Step | None:
    """Return the step that the last segment stands on: all steps before it that go up without one down."""
    starts = [0, *_changes(logs)]
    ends = [*starts[1:], len(logs)]
    middle = [statistics.median(logs[start:end]) for start, end in zip(starts, ends, strict=True)]
    first = len(starts) - 1
    while first and middle[first - 1] < middle[first]:
        first -= 1
    if first == len(starts) - 1:
        return None
    parts = zip(starts, ends, middle, strict=True)
    rest = [value - level for start, end, level in parts for value in logs[start:end]]
    noise = _noise(rest) * math.sqrt(len(rest) / (len(rest) - len(starts)))
    before, since = logs[starts[first] : ends[first]], logs[starts[-1] :]
    last = _step([*before, *since], len(before), noise, len(rest))
    return replace(last, at=ends[first])


def _changes(logs: Sequence[float]) -> list[int]:
    """Return where a new segment begins."""
    # Both take a second of every start, and most commands judge no trend.
    import numpy as np
    import ruptures

    noise = _noise([(after - before) / math.sqrt(2) for before, after in itertools.pairwise(logs)])
    found = ruptures.KernelCPD(kernel="rbf", params={"gamma": WIDTH}, min_size=FEWEST)
    return [int(at) for at in found.fit(np.array(logs)[:, None] / noise).predict(pen=TREND_PENALTY)[:-1]]


def _step(logs: Sequence[float], at: int, noise: float, n: int) -> _Step:
    """Return the step between two levels; `noise` is known from `n` points."""
    before, since = _clipped(logs[:at]), logs[at:]
    # Of an even number of points the lower one: with two, both have to show it.
    size = statistics.median_low(since) - statistics.fmean(before)
    sigmas = float(special.stdtrit(n - 1 + TREND_NOISE_POINTS, TREND_CONFIDENCE))
    return _Step(at, size, sigmas * noise * math.sqrt(TREND_ALIKE * (1 / len(before) + 1 / len(since))))


def _noise(values: Sequence[float]) -> float:
    """Return the noise between runs: few points say little of it, so what most nodes have counts as some more."""
    kept, weight = _clipped(values), len(values) - 1
    own = statistics.variance(kept)
    return math.sqrt((weight * own + TREND_NOISE_POINTS * TREND_NOISE**2) / (weight + TREND_NOISE_POINTS))


def _clipped(values: Sequence[float]) -> list[float]:
    """Return the values with outliers brought in to what the median distance from the median makes credible."""
    middle, n = statistics.median(values), len(values)
    small = SMALL_SAMPLE.get(n, n / (n - 0.8))
    reach = OUTLIER * MAD_TO_SIGMA * small * statistics.median(abs(value - middle) for value in values)
    return [min(max(value, middle - reach), middle + reach) for value in values]
