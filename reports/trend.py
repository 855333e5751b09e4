"""Did a figure change between runs, and since which one? Each run of one node and fingerprint is one point.

Nobody looks twice at what cries wolf: a figure is called changed only when the step is more than the node's own noise
between runs explains, at a confidence that allows for all figures of a node and many reruns, and large enough to
matter. Two reruns have to show it; one alone is believed when it is far off.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from scipy import special

from . import figures
from .limits import (
    TOLERATED,
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
        said = (
            f"{metric}: not enough history, {before} before this one with its fingerprint; {TREND_POINTS} are needed."
        )
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
    steps = list(_in_segments(logs) if len(logs) >= TREND_SEGMENTS else _in_few(logs))
    last = _step(logs, 0, len(logs) - 1, _noise(logs[:-1]), len(logs) - 1)
    alone = [last] if last.size > max(last.reach, math.log1p(TREND_ALONE)) else []
    called = [step for step in steps if step.size > max(step.reach, margin)]
    return max(called or alone, key=lambda step: step.size / step.reach, default=None)


def _in_few(logs: Sequence[float]) -> list[_Step]:
    """Return the steps before each of the last points that leave enough before them."""
    starts = range(TREND_POINTS, len(logs) - FEWEST + 1)
    return [_step(logs, 0, at, _noise(logs[:at]), at) for at in starts]


def _in_segments(logs: Sequence[float]) -> list[_Step]:
    """Return the step that the last segment stands on: all steps before it that go up without one down."""
    levels = [0, *_changes(logs), len(logs)]
    segments = list(zip(levels, levels[1:], strict=False))
    middle = [statistics.median(logs[start:end]) for start, end in segments]
    first = len(segments) - 1
    while first and middle[first - 1] < middle[first]:
        first -= 1
    if first == len(segments) - 1:
        return []
    rest = [value - middle[number] for number, (start, end) in enumerate(segments) for value in logs[start:end]]
    start, at = segments[first]
    step = _step(logs, start, at, _noise(rest), len(logs) - len(segments))
    last = statistics.median_low(logs[segments[-1][0] :])
    few = 1 / (at - start) + 1 / (len(logs) - segments[-1][0])
    scale = math.sqrt(few / (1 / (at - start) + 1 / (len(logs) - at)))
    return [_Step(at, last - middle[first], step.reach * scale)]


def _changes(logs: Sequence[float]) -> list[int]:
    """Return where a new segment begins."""
    import numpy as np
    import ruptures

    noise = _noise([(after - before) / math.sqrt(2) for before, after in zip(logs, logs[1:], strict=False)])
    found = ruptures.KernelCPD(kernel="rbf", params={"gamma": WIDTH}, min_size=FEWEST)
    return [int(at) for at in found.fit(np.array(logs)[:, None] / noise).predict(pen=TREND_PENALTY)[:-1]]


def _step(logs: Sequence[float], start: int, at: int, noise: float, n: int) -> _Step:
    before, since = logs[start:at], logs[at:]
    # Of an even number of points the lower one: with two, both have to show it.
    size = statistics.median_low(since) - statistics.median(before)
    sigmas = float(special.stdtrit(n - 1 + TREND_NOISE_POINTS, TREND_CONFIDENCE))
    return _Step(at, size, sigmas * noise * math.sqrt(math.pi / 2 * (1 / len(before) + 1 / len(since))))


def _noise(values: Sequence[float]) -> float:
    """Return the noise between runs: few points say little of it, so what most nodes have counts as some more."""
    middle, n = statistics.median(values), len(values)
    small = SMALL_SAMPLE.get(n, n / (n - 0.8))
    own = MAD_TO_SIGMA * small * statistics.median(abs(value - middle) for value in values)
    weight = n - 1
    return math.sqrt((weight * own**2 + TREND_NOISE_POINTS * TREND_NOISE**2) / (weight + TREND_NOISE_POINTS))
