"""From samples to verdicts: an arm against its control, within blocks, on the logarithm of the ratio.

Machines drift during a campaign, so only processes of one block are compared, and the Student interval is over blocks.
The control runs twice per block under two names: what the two differ by is the noise that an effect has to exceed.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from scipy import special

from probe_agent.arms import A_A, CONTROL

from . import figures
from .loose import number

ALPHA = 0.05
POWER = 0.8
PRACTICAL_THRESHOLD = 0.03  # nobody retunes a fleet for less
LOG_THRESHOLD = math.log1p(PRACTICAL_THRESHOLD)
THRESHOLD_IN_WORDS = f"{100 * PRACTICAL_THRESHOLD:g} %"
LOG_LIMIT = 50.0  # two blocks can give an interval whose ends overflow a float


class Verdict(StrEnum):
    BETTER = "better"
    WORSE = "worse"
    NO_DIFFERENCE = "no difference"
    INCONCLUSIVE = "inconclusive"
    NOT_ENGAGED = "not engaged"


@dataclass(frozen=True)
class Metric:
    """`key` names a sample's field, and its unit."""

    key: str
    title: str
    lower_is_better: bool = True


ALLOCATOR_METRICS = (
    Metric("gen_latency_s", "first generation"),
    Metric("gen_warm_latency_s", "second generation"),
    Metric("wall_real_s", "whole process"),
    Metric("rss_mb", "resident memory"),
)


@dataclass(frozen=True)
class Estimate:
    """The mean of `blocks` log-ratios. `low`, `high`, `detectable` and `p` need two blocks, `mean` needs one."""

    blocks: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    detectable: float | None = None
    p: float | None = None


@dataclass(frozen=True)
class Effect:
    """What an arm did to a metric, and what may be said of it. `noise` is a log-ratio, as all in `estimate`."""

    arm: str
    metric: Metric
    estimate: Estimate
    noise: float | None
    verdict: Verdict
    why: str


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
    arm: str,
    control: str,
    *,
    arm_field: str = "arm",
    block_field: str = "block",
) -> list[float]:
    """Return log(arm / control) of each block that has both; several processes of one arm in a block are averaged."""
    logs: dict[int, dict[str, list[float]]] = {}
    for row in samples:
        if row[arm_field] in (arm, control) and row[key] > 0:
            logs.setdefault(row[block_field], {}).setdefault(row[arm_field], []).append(math.log(row[key]))
    return [
        statistics.fmean(logs[block][arm]) - statistics.fmean(logs[block][control])
        for block in sorted(logs)
        if arm in logs[block] and control in logs[block]
    ]


def estimate(differences: Sequence[float]) -> Estimate:
    """Return mean and Student interval of paired differences, and the smallest effect such a spread lets one see."""
    blocks = len(differences)
    if not blocks:
        return Estimate(0)
    mean = statistics.fmean(differences)
    if blocks < 2:
        return Estimate(blocks, mean)
    error = statistics.stdev(differences) / math.sqrt(blocks)
    half = float(special.stdtrit(blocks - 1, 1 - ALPHA / 2)) * error
    p = 2 * float(special.stdtr(blocks - 1, -abs(mean) / error)) if error else float(mean == 0)
    return Estimate(blocks, mean, mean - half, mean + half, _noncentrality(blocks) * error, p)


@functools.cache
def _noncentrality(blocks: int) -> float:
    """Return how many standard errors an effect must have to be seen with POWER (noncentral Student, two-sided)."""
    critical = float(special.stdtrit(blocks - 1, 1 - ALPHA / 2))
    return float(special.nctdtrinc(blocks - 1, 1 - POWER, critical))


def noise_floor(samples: Iterable[Mapping[str, Any]], key: str) -> float | None:
    """Return how far two equal processes of one block differ: root mean square of the A/A pair's log-ratios."""
    differences = log_ratios(samples, key, A_A, CONTROL)
    return math.sqrt(statistics.fmean(value**2 for value in differences)) if differences else None


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
    """Return the arm's effect on each metric. Needs samples with `arm`, `block`, `engaged` and the metrics' keys."""
    doubt = _doubt(samples, arm)
    if doubt and doubt[0] is Verdict.NOT_ENGAGED:  # a figure beside it would be read as the lever's effect
        return [Effect(arm, metric, Estimate(0), noise_floor(samples, metric.key), *doubt) for metric in metrics]
    estimates = [estimate(log_ratios(samples, metric.key, arm, CONTROL)) for metric in metrics]
    adjusted = iter(holm([found.p for found in estimates if found.p is not None]))
    verdicts = []
    for metric, found in zip(metrics, estimates, strict=True):
        noise = noise_floor(samples, metric.key)
        p = None if found.p is None else next(adjusted)
        verdicts.append(Effect(arm, metric, found, noise, *(doubt or _judge(metric, found, noise, p))))
    return verdicts


def arms(samples: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the arms there are, control and A/A apart, in the order they first ran."""
    return [name for name in dict.fromkeys(row["arm"] for row in samples) if name not in (CONTROL, A_A)]


def percent(log_ratio: float | None) -> float | None:
    """Return a log-ratio as per cent of change."""
    return None if log_ratio is None else 100 * math.expm1(max(-LOG_LIMIT, min(LOG_LIMIT, log_ratio)))


def _doubt(samples: Iterable[Mapping[str, Any]], arm: str) -> tuple[Verdict, str] | None:
    """Return why no figure of this arm means anything, if so: a lever not in use, a control that pulled one."""
    used = {name: [row["engaged"] for row in samples if row["arm"] == name] for name in (arm, CONTROL, A_A)}
    if not all(used[arm]):
        return Verdict.NOT_ENGAGED, f"{arm} was in use in only {sum(used[arm])} of {len(used[arm])} processes"
    for control in (CONTROL, A_A):
        if not all(used[control]):
            spoiled = used[control].count(False)
            reason = f"{control} is no control: another allocator was in {spoiled} of {len(used[control])} processes"
            return Verdict.INCONCLUSIVE, reason
    return None


def _judge(metric: Metric, found: Estimate, noise: float | None, p: float | None) -> tuple[Verdict, str]:
    if found.mean is None or found.detectable is None or p is None:
        return Verdict.INCONCLUSIVE, f"{found.blocks} of the 2 blocks that an interval needs have both arms"
    if noise is None:
        return Verdict.INCONCLUSIVE, "the control did not run twice in any block, so the noise is not known"
    size, seen = abs(found.mean), found.low > 0 or found.high < 0
    noise_percent, detectable_percent = (
        f"{figures.percent(percent(value), signed=False)} %" for value in (noise, found.detectable)
    )
    if seen and p < ALPHA and size > max(noise, LOG_THRESHOLD):
        good = (found.mean < 0) == metric.lower_is_better
        why = f"the interval excludes 0 and the effect exceeds the noise ({noise_percent}) and {THRESHOLD_IN_WORDS}"
        return (Verdict.BETTER if good else Verdict.WORSE), why
    if size <= LOG_THRESHOLD and found.detectable <= LOG_THRESHOLD:
        return Verdict.NO_DIFFERENCE, f"an effect of {detectable_percent} would have been seen"
    if not seen:
        least = f"with {found.blocks} blocks only an effect of {detectable_percent} or more is reliably seen"
        return Verdict.INCONCLUSIVE, f"the interval includes 0; {least}"
    if p >= ALPHA:
        return Verdict.INCONCLUSIVE, "the interval excludes 0, but not when all metrics are allowed for (Holm)"
    if size <= LOG_THRESHOLD:
        least = f"only {detectable_percent} or more is reliably seen"
        return Verdict.INCONCLUSIVE, f"the effect is below {THRESHOLD_IN_WORDS}, and {least}"
    return Verdict.INCONCLUSIVE, f"the effect is within the noise: the control differs from itself by {noise_percent}"
