"""From samples to verdicts: an arm against its control, within blocks, on the logarithm of the ratio.

Machines drift during a campaign, so only processes of one block are compared, and every interval is over blocks. The
control runs twice per block under two names: both together are what an arm is held against, and what they differ by is
the noise that an effect has to exceed.

An effect is called when the arm's own interval excludes 0, when it is larger than what the A/A pair could show by
chance and than PRACTICAL_THRESHOLD, and when it stays significant among all metrics of the arm (Holm). The family is
the arm, since each answers one question: whether to pull that lever. The interval is by the arm's own spread always;
the p-values of fewer than OWN_NOISE_BLOCKS take that of the A/A pair in, because three blocks' own spread has nothing
left for eight metrics. tests/bench/statistics.py shows the error rates, also for arms noisier than the control.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy
from scipy import optimize, special

from probe_agent.arms import A_A, CONTROL

from . import figures
from .limits import ALPHA, OWN_NOISE_BLOCKS, PERMUTATION_BLOCKS, PERMUTATION_MOST, POWER, PRACTICAL_THRESHOLD
from .loose import number
from .metrics import ALLOCATOR_METRICS, Metric

LOG_THRESHOLD = math.log1p(PRACTICAL_THRESHOLD)
THRESHOLD_IN_WORDS = f"{100 * PRACTICAL_THRESHOLD:g} %"
PERMUTATIONS = 1999
MOST_BLOCKS = 100  # nobody runs more, so no plan asks for more
TAILS = 0.02  # of power: what quantiles leave out of the tails, and what no simulation may fall short by
LOG_LIMIT = 50.0  # two blocks can give an interval whose ends overflow a float

# Variance of an arm's difference from the mean of both controls over that of the A/A pair's: (1 + 1/2) / (1 + 1).
SHARED_CONTROL = 0.75


class Verdict(StrEnum):
    BETTER = "better"
    WORSE = "worse"
    NO_DIFFERENCE = "no difference"
    INCONCLUSIVE = "inconclusive"
    NOT_ENGAGED = "not engaged"


CALLED = (Verdict.BETTER, Verdict.WORSE)


@dataclass(frozen=True)
class Estimate:
    """The mean of `blocks` log-ratios, and its 95 % interval where there are two blocks or more."""

    blocks: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Precision:
    """What a campaign can see: the standard error of an effect, with so many metrics looked at together.

    `noisier` is how many times that error the A/A pair's own noise makes it expect, where that is more.
    """

    blocks: int
    metrics: int
    error: float
    noisier: float = 1.0

    @property
    def detectable(self) -> float:
        """The smallest effect that another such campaign calls with POWER, as a log-ratio."""
        return _detectable(self.error, self.blocks, self.metrics, self.noisier)

    def blocks_for(self, effect: float) -> int | None:
        """Return how many blocks it takes to call `effect`, None for more than MOST_BLOCKS."""
        spread = self.error * math.sqrt(self.blocks)
        blocks = range(self.blocks, MOST_BLOCKS + 1)

        def seen(number: int) -> float:
            return -_detectable(spread / math.sqrt(number), number, self.metrics, self.noisier)

        enough = bisect.bisect_left(blocks, -effect, key=seen)
        return blocks[enough] if enough < len(blocks) else None


@dataclass(frozen=True)
class Effect:
    """What an arm did to a metric, and what may be said of it. `noise` is a log-ratio, as all in `estimate`."""

    arm: str
    metric: Metric
    estimate: Estimate
    noise: float | None
    precision: Precision | None
    verdict: Verdict
    why: str

    @property
    def detectable(self) -> float | None:
        return self.precision.detectable if self.precision else None


def median(samples: Iterable[Mapping[str, Any]], key: str) -> float | None:
    """Return the median of a numeric field over the samples that have it."""
    values = numbers(samples, key)
    return statistics.median(values) if values else None


def numbers(samples: Iterable[Mapping[str, Any]], key: str) -> list[float]:
    """Return a field's figures, of those samples that have one."""
    return [value for row in samples if (value := number(row.get(key))) is not None]


def percentile(values: Sequence[float], percent: int) -> float | None:
    """Return a percentile above the median, linear between values; None with too few for one to lie beyond it."""
    if len(values) * (100 - percent) < 100:
        return None
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def log_ratios(
    samples: Iterable[Mapping[str, Any]],
    key: str,
    arm: str | float,
    *controls: str | float,
    arm_field: str = "arm",
    block_field: str = "block",
) -> list[float]:
    """Return log(arm / control) of each block that has both; several processes of one side in a block are averaged."""
    logs: dict[int, tuple[list[float], list[float]]] = {}
    for row in samples:
        value, name = number(row.get(key)), row[arm_field]
        if value is not None and value > 0 and (name == arm or name in controls):
            logs.setdefault(row[block_field], ([], []))[name != arm].append(math.log(value))
    return [
        statistics.fmean(logs[block][0]) - statistics.fmean(logs[block][1])
        for block in sorted(logs)
        if all(logs[block])
    ]


def estimate(differences: Sequence[float]) -> Estimate:
    """Return the mean of paired differences and an interval whose error holds for that many of them."""
    blocks = len(differences)
    if blocks < 2:
        return Estimate(blocks, differences[0] if blocks else None)
    error = statistics.stdev(differences) / math.sqrt(blocks)
    if PERMUTATION_BLOCKS <= blocks < PERMUTATION_MOST and error:
        return Estimate(blocks, statistics.fmean(differences), *_sign_flips(differences, error))
    mean, half = statistics.fmean(differences), _student(blocks - 1, ALPHA) * error
    return Estimate(blocks, mean, mean - half, mean + half)


def noise_floor(samples: Iterable[Mapping[str, Any]], key: str) -> float | None:
    """Return how far two equal arms can lie apart over these blocks: the 95 % reach of the A/A pair's mean around 0."""
    return _reach(log_ratios(samples, key, A_A, CONTROL))


def holm(probabilities: Sequence[float]) -> list[float]:
    """Return p-values adjusted for being looked at together (Holm 1979), in the order given."""
    adjusted, running = [0.0] * len(probabilities), 0.0
    for rank, place in enumerate(sorted(range(len(probabilities)), key=probabilities.__getitem__)):
        running = max(running, min(1.0, (len(probabilities) - rank) * probabilities[place]))
        adjusted[place] = running
    return adjusted


def effects(
    samples: Sequence[Mapping[str, Any]], arm: str, metrics: Sequence[Metric] = ALLOCATOR_METRICS
) -> list[Effect]:
    """Return the arm's effect on each metric measured. Needs samples with `arm`, `block` and `engaged`."""
    measured = [metric for metric in metrics if median(samples, metric.key) is not None]
    doubt = _doubt(samples, arm)
    if doubt and doubt[0] is Verdict.NOT_ENGAGED:  # a figure beside it would be read as the lever's effect
        return [Effect(arm, metric, Estimate(0), noise_floor(samples, metric.key), None, *doubt) for metric in measured]
    pairs = {metric: log_ratios(samples, metric.key, A_A, CONTROL) for metric in measured}
    against = {metric: log_ratios(samples, metric.key, arm, CONTROL, A_A) for metric in measured}
    tested = [metric for metric in measured if len(against[metric]) > 1 and pairs[metric]]
    errors = {metric: _error(against[metric], pairs[metric]) for metric in tested}
    adjusted = dict(zip(tested, holm([_p(against[each], pairs[each], errors[each]) for each in tested]), strict=True))
    found = []
    for metric in measured:
        guess, noise = estimate(against[metric]), _reach(pairs[metric])
        precision = None
        if metric in errors:
            noisier = _noisier(pairs[metric], errors[metric], guess.blocks)
            precision = Precision(guess.blocks, len(tested), errors[metric], noisier)
        verdict = doubt or _judge(metric, guess, noise, precision, adjusted.get(metric))
        found.append(Effect(arm, metric, guess, noise, precision, *verdict))
    return found


def arms(samples: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the arms there are, control and A/A apart, in the order they first ran."""
    return [name for name in dict.fromkeys(row["arm"] for row in samples) if name not in (CONTROL, A_A)]


def percent(log_ratio: float | None) -> float | None:
    """Return a log-ratio as per cent of change."""
    return None if log_ratio is None else 100 * math.expm1(max(-LOG_LIMIT, min(LOG_LIMIT, log_ratio)))


def _student(freedom: int, alpha: float) -> float:
    """Return the two-sided critical value."""
    return float(special.stdtrit(freedom, 1 - alpha / 2))


def _sign_flips(differences: Sequence[float], error: float) -> tuple[float, float]:
    """Return the shifts that a sign-flip permutation test of the differences does not reject."""
    from scipy import stats  # takes seconds to import, and only a large campaign comes here

    values, middle = numpy.array(differences), statistics.fmean(differences)
    seed = int.from_bytes(hashlib.sha256(values.tobytes()).digest()[:8], "big")

    def excess(shift: float) -> float:
        tested = stats.permutation_test(
            (values - shift,),
            numpy.mean,
            permutation_type="samples",
            vectorized=True,
            n_resamples=PERMUTATIONS,
            rng=numpy.random.default_rng(seed),
        )
        return float(tested.pvalue) - ALPHA

    beyond = (min(differences) - error, max(differences) + error)  # all of one sign, which no test accepts
    return tuple(optimize.bisect(excess, middle, end, xtol=error / 100) for end in beyond)


def _reach(equal: Sequence[float]) -> float | None:
    """Return the 95 % reach of the mean of differences whose truth is 0."""
    if not equal:
        return None
    return _student(len(equal), ALPHA) * math.sqrt(math.fsum(value**2 for value in equal)) / len(equal)


def _error(differences: Sequence[float], equal: Sequence[float]) -> float:
    """Return the standard error of the mean difference."""
    blocks, mean = len(differences), statistics.fmean(differences)
    squares = math.fsum((value - mean) ** 2 for value in differences)
    own = squares / (blocks - 1)
    if blocks >= OWN_NOISE_BLOCKS:
        return math.sqrt(own / blocks)
    squares += SHARED_CONTROL * math.fsum(value**2 for value in equal)
    pooled = squares / _freedom(blocks, len(equal))
    return math.sqrt(max(own, pooled) / blocks)


def _noisier(equal: Sequence[float], error: float, blocks: int) -> float:
    """Return how many times an effect's error the A/A pair lets expect, at least 1."""
    expected = math.sqrt(SHARED_CONTROL * statistics.fmean(value**2 for value in equal) / blocks)
    return max(1.0, round(expected / error, 2)) if error else 1.0


def _freedom(blocks: int, pairs: int) -> int:
    """Return the degrees of freedom of `_error`; the A/A pair adds one per block, its mean being known to be 0."""
    return blocks - 1 if blocks >= OWN_NOISE_BLOCKS else blocks - 1 + pairs


def _p(differences: Sequence[float], equal: Sequence[float], error: float) -> float:
    mean = statistics.fmean(differences)
    if not error:
        return float(mean == 0)
    return 2 * float(special.stdtr(_freedom(len(differences), len(equal)), -abs(mean) / error))


# The smallest detectable effect. The rule has random bars: each is a critical value times a spread found in the blocks.
# Chi quantiles of equal probability stand for those spreads, so that no random number is drawn.


@functools.cache
def _spreads(freedom: int, points: int) -> numpy.ndarray:
    """Return what the root of a variance estimate may be over the truth, as quantiles of equal probability."""
    return numpy.sqrt(special.chdtri(freedom, (numpy.arange(points) + 0.5) / points)[::-1] / freedom)


@functools.lru_cache(maxsize=1024)
def _bars(blocks: int, metrics: int, noisier: float) -> numpy.ndarray:
    """Return how many standard errors an effect must exceed to pass interval, floor and Holm, sorted."""
    own, equal = (grid.ravel() for grid in numpy.meshgrid(_spreads(blocks - 1, 100), _spreads(blocks, 100)))
    known = own
    if blocks < OWN_NOISE_BLOCKS:
        known = numpy.maximum(own, numpy.sqrt(((blocks - 1) * own**2 + blocks * equal**2) / _freedom(blocks, blocks)))
    interval = _student(blocks - 1, ALPHA) * own
    floor = _student(blocks, ALPHA) * noisier * equal / math.sqrt(SHARED_CONTROL)
    together = _student(_freedom(blocks, blocks), ALPHA / metrics) * known
    bars = numpy.sort(numpy.maximum.reduce([interval, floor, together]))
    return bars.reshape(40, -1).mean(axis=1)


@functools.lru_cache(maxsize=4096)  # every page and file of a host asks for the same ones
def _detectable(error: float, blocks: int, metrics: int, noisier: float = 1.0) -> float:
    """Return the effect that is called with POWER. That `error` is itself an estimate is allowed for."""
    if error <= 0:
        return LOG_THRESHOLD
    bars, truths = _bars(blocks, metrics, noisier)[:, None], 1 / _spreads(_freedom(blocks, blocks), 100)

    def shortfall(effect: float) -> float:
        passed = special.ndtr(effect / (error * truths) - numpy.maximum(bars, LOG_THRESHOLD / (error * truths)))
        return float(passed.mean()) - POWER - TAILS

    return optimize.brentq(shortfall, 0, LOG_THRESHOLD + 1000 * noisier * error, rtol=1e-3)


def _doubt(samples: Iterable[Mapping[str, Any]], arm: str) -> tuple[Verdict, str] | None:
    """Return why no figure of this arm means anything, if so: a lever not in use, a control that pulled one."""
    used = {name: [row["engaged"] for row in samples if row["arm"] == name] for name in (arm, CONTROL, A_A)}
    if False in used[arm]:  # None is a lever that memory does not show
        unused = used[arm].count(False)
        users = len(used[arm]) - unused
        return Verdict.NOT_ENGAGED, f"{arm} was in use in {users or 'none'} of {len(used[arm])} processes"
    for control in (CONTROL, A_A):
        if False in used[control]:
            spoiled = used[control].count(False)
            reason = f"{control} is no control: another allocator was in {spoiled} of {len(used[control])} processes"
            return Verdict.INCONCLUSIVE, reason
    return None


def _judge(
    metric: Metric, found: Estimate, noise: float | None, precision: Precision | None, p: float | None
) -> tuple[Verdict, str]:
    if found.mean is None or found.low is None or found.high is None:
        return Verdict.INCONCLUSIVE, f"{found.blocks} of the 2 blocks that an interval needs have both arms"
    if noise is None or precision is None or p is None:
        return Verdict.INCONCLUSIVE, "the control did not run twice in any block, so the noise is not known"
    size, seen = abs(found.mean), found.low > 0 or found.high < 0
    if seen and p < ALPHA and size > max(noise, LOG_THRESHOLD):
        good = (found.mean < 0) == metric.lower_is_better
        why = f"the interval excludes 0 and the effect exceeds the noise ({_shown(noise)}) and {THRESHOLD_IN_WORDS}"
        return (Verdict.BETTER if good else Verdict.WORSE), why
    if found.low >= -LOG_THRESHOLD and found.high <= LOG_THRESHOLD:
        return Verdict.NO_DIFFERENCE, f"the whole interval lies within ±{THRESHOLD_IN_WORDS}"
    least = f"with {figures.plural(found.blocks, 'block')} only {_shown(precision.detectable)} or more is reliably seen"
    if not seen:
        return Verdict.INCONCLUSIVE, f"the interval includes 0; {least}"
    if size <= LOG_THRESHOLD:
        return Verdict.INCONCLUSIVE, f"the effect is below {THRESHOLD_IN_WORDS}; {least}"
    if size <= noise:
        return Verdict.INCONCLUSIVE, f"the effect is within the noise ({_shown(noise)}); {least}"
    return Verdict.INCONCLUSIVE, f"the interval excludes 0, but not when all metrics are allowed for (Holm); {least}"


def _shown(log_ratio: float) -> str:
    return f"{figures.percent(percent(log_ratio), signed=False)} %"
