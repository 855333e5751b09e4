"""Two runs, or two hosts, figure by figure: what NEW differs by from BASE, and what may be said of it.

The processes of one run and those of the other are independent samples, so a figure is tested by Welch on the
logarithms; the unit is the process or the server start. What a machine drifts from one run to the next is not in them:
with several runs like BASE the unit is the run, and NEW is held against their spread. A change is called when its 95 %
interval excludes 0, when it stays significant among all figures of all hosts (Holm), and when it is larger than the
figure's threshold.
"""

from __future__ import annotations

import fnmatch
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from scipy import special

from probe_agent.preflight import PARTS

from . import figures, fingerprints, headlines
from .headlines import Headline
from .limits import ALPHA, POWER, REGRESSION
from .loose import mapping, words
from .run_folder import Measurement
from .statistics import holm, percent

MEASURING = "measuring"
ACROSS = (*PARTS, MEASURING)  # what a person may be testing, and so lets differ
EXACT = ("kv_capacity_tokens",)  # worked out by a server from its settings: a count, which has no noise
KEPT = ("allocator",)  # the probe whose samples say what each lever did
SHOWN_TEXT = 80  # characters of one value of a fingerprint


class Outcome(StrEnum):
    WORSE = "worse"
    BETTER = "better"
    NO_DIFFERENCE = "no difference"
    INCONCLUSIVE = "inconclusive"
    MISSING = "missing in NEW"
    ADDED = "only in NEW"
    REFUSED = "not compared"


UNTOLD = (Outcome.MISSING, Outcome.REFUSED)


@dataclass(frozen=True)
class Side:
    """What one host showed in one run; `reason` says why there is no measurement. `more` are other runs like it."""

    host: str
    measurement: Measurement | None
    reason: str = ""
    headlines: tuple[Headline, ...] = ()
    more: tuple[Side, ...] = ()

    @staticmethod
    def of(host: str, measurement: Measurement) -> Side:
        """Return a side with the samples that a comparison needs, so that two fleets fit in memory."""
        probes = measurement.probes.items()
        kept = {name: probe if name in KEPT else replace(probe, samples=()) for name, probe in probes}
        return Side(host, replace(measurement, probes=kept), headlines=tuple(headlines.of(measurement)))


@dataclass(frozen=True)
class Part:
    """A part of the fingerprint in which both sides differ; `words` is what differs in it."""

    name: str
    words: str
    allowed: bool


@dataclass(frozen=True)
class Test:
    """NEW over BASE as a log-ratio of means, its 95 % interval, and how sure that is."""

    mean: float
    low: float
    high: float
    error: float
    freedom: float

    @property
    def p(self) -> float:
        if not self.error:
            return float(self.mean == 0)
        return 2 * float(special.stdtr(self.freedom, -abs(self.mean) / self.error))

    def detectable(self, alpha: float) -> float:
        """Return the smallest log-ratio that another such pair of runs calls with POWER."""
        return (_student(self.freedom, alpha) + float(special.stdtrit(self.freedom, POWER))) * self.error


@dataclass(frozen=True)
class Figure:
    """One figure of both sides, with a value per process or server start; `threshold` is a share.

    With runs like BASE, `base` has one value per run, and `new` one.
    """

    name: str
    title: str
    lower_is_better: bool
    base: tuple[float, ...]
    new: tuple[float, ...]
    threshold: float
    by_run: bool = False
    outcome: Outcome = Outcome.INCONCLUSIVE
    why: str = ""
    test: Test | None = None
    detectable: float | None = None

    @property
    def change(self) -> float | None:
        """The log-ratio of NEW over BASE, as far as there is one."""
        if self.test:
            return self.test.mean
        return _log_mean(self.new) - _log_mean(self.base) if _positive(self.base) and _positive(self.new) else None


@dataclass(frozen=True)
class Pair:
    """A host of BASE and what it is held against. `doubts` say why they do not compare, if so."""

    base: Side
    new: Side
    parts: tuple[Part, ...]
    doubts: tuple[str, ...]
    figures: tuple[Figure, ...]

    @property
    def name(self) -> str:
        return self.base.host if self.base.host == self.new.host else f"{self.base.host} → {self.new.host}"

    def with_outcome(self, *outcomes: Outcome) -> list[Figure]:
        return [figure for figure in self.figures if figure.outcome in outcomes]

    @property
    def told(self) -> bool:
        """Tell whether every figure of BASE was compared, and noise was known of one at least."""
        judged = any(figure.test or figure.name in EXACT for figure in self.figures)
        return not self.doubts and judged and not self.with_outcome(*UNTOLD)


@dataclass(frozen=True)
class Wishes:
    """What a person asked for: parts that may differ, figures to look at, and thresholds in per cent.

    A figure is named by its name or by a pattern, and the last threshold that fits it is its own.
    """

    across: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    thresholds: tuple[tuple[str, float], ...] = ()

    def wants(self, name: str) -> bool:
        return not self.metrics or any(fnmatch.fnmatchcase(name, pattern) for pattern in self.metrics)

    def threshold(self, name: str) -> float:
        """Return a figure's threshold as a share."""
        fitting = [value for pattern, value in self.thresholds if fnmatch.fnmatchcase(name, pattern)]
        return fitting[-1] / 100 if fitting else REGRESSION


def compare(sides: Iterable[tuple[Side, Side]], wishes: Wishes) -> tuple[Pair, ...]:
    """Hold each NEW against its BASE. Raises ValueError, in one sentence, when a wish names no figure there is."""
    pairs = [_pair(base, new, wishes) for base, new in sides]
    known = {figure.name for pair in pairs for figure in pair.figures}
    for pattern in (*wishes.metrics, *(pattern for pattern, _ in wishes.thresholds)):
        if known and not fnmatch.filter(known, pattern):
            raise ValueError(f"{pattern} is no figure of these runs; there are {', '.join(sorted(known))}")
    chosen = [
        replace(pair, figures=tuple(figure for figure in pair.figures if wishes.wants(figure.name))) for pair in pairs
    ]
    return tuple(judge(chosen))


def regressed(pairs: Iterable[Pair]) -> bool:
    return any(pair.with_outcome(Outcome.WORSE) for pair in pairs)


def welch(base: Sequence[float], new: Sequence[float]) -> Test | None:
    """Return Welch's test on the logarithms; None where a side has fewer than two values or one without a logarithm."""
    if min(len(base), len(new)) < 2 or not _positive((*base, *new)):
        return None
    logs = [[math.log(value) for value in values] for values in (base, new)]
    shares = [statistics.variance(values) / len(values) for values in logs]
    mean, error = statistics.fmean(logs[1]) - statistics.fmean(logs[0]), math.sqrt(sum(shares))
    freedom = float(len(base) + len(new) - 2)
    if error:
        freedom = sum(shares) ** 2 / sum(share**2 / (len(of) - 1) for share, of in zip(shares, logs, strict=True))
    half = _student(freedom, ALPHA) * error
    return Test(mean, mean - half, mean + half, error, freedom)


def against_runs(base: Sequence[float], new: float) -> Test | None:
    """Return how one run stands to several like BASE; None with fewer than two, or a value without a logarithm."""
    if len(base) < 2 or not _positive((*base, new)):
        return None
    logs = [math.log(value) for value in base]
    mean, freedom = math.log(new) - statistics.fmean(logs), len(logs) - 1
    error = statistics.stdev(logs) * math.sqrt(1 + 1 / len(logs))
    half = _student(freedom, ALPHA) * error
    return Test(mean, mean - half, mean + half, error, freedom)


def _pair(base: Side, new: Side, wishes: Wishes) -> Pair:
    if base.measurement is None or new.measurement is None:
        lacking = [(name, side) for name, side in (("BASE", base), ("NEW", new)) if side.measurement is None]
        said = (f"{name} has no result of {side.host}: {side.reason}" for name, side in lacking)
        return Pair(base, new, (), tuple(said), ())
    parts = tuple(_parts(base.measurement.fingerprint, new.measurement.fingerprint, wishes.across))
    doubts = tuple(f"they differ in {part.name}: {part.words}" for part in parts if not part.allowed)
    for other in (side.measurement for side in base.more):
        if other and (differing := fingerprints.differences(base.measurement.fingerprint, other.fingerprint)):
            words = figures.listed(differing)
            raise ValueError(f"a run of {base.host} that is to be like BASE differs from it in {words}")
    old, now, *more = ({found.name: found for found in side.headlines} for side in (base, new, *base.more))
    made = (
        _figure(old.get(name), now.get(name), [found[name] for found in more if name in found], wishes.threshold(name))
        for name in {**old, **now}
    )
    return Pair(base, new, parts, doubts, tuple(made))


def _parts(base: Mapping[str, Any], new: Mapping[str, Any], across: Sequence[str]) -> Iterator[Part]:
    for found in fingerprints.differences(base, new):
        name, key = (found, found) if found in PARTS else (MEASURING, "probe")
        yield Part(name, _differing(mapping(base.get(key)), mapping(new.get(key))), name in across)


def _differing(base: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return what differs in a part, as in `torch 2.11.0 → 2.12.0`."""
    names = [name for name in {**base, **new} if base.get(name) != new.get(name)]
    said = [f"{name} {_short(base.get(name))} → {_short(new.get(name))}" for name in names]
    return ", ".join(said) or "its hash"


def _short(value: Any) -> str:
    text = words(value)
    return text if len(text) <= SHOWN_TEXT else f"{text[:SHOWN_TEXT]}…"


def _figure(base: Headline | None, new: Headline | None, more: Sequence[Headline], threshold: float) -> Figure:
    known = base or new
    assert known is not None  # noqa: S101 - one of both has it
    made = Figure(known.name, known.title, known.lower_is_better, (), (), threshold)
    if base and new and more:
        return replace(made, base=tuple(map(_of_run, (base, *more))), new=(_of_run(new),), by_run=True)
    return replace(made, base=base.independent if base else (), new=new.independent if new else ())


def _of_run(found: Headline) -> float:
    """Return a run's one value: the geometric mean of its processes, or their median where there is none."""
    return math.exp(_log_mean(found.independent)) if _positive(found.independent) else found.median


def judge(pairs: Sequence[Pair]) -> Iterator[Pair]:
    """Judge every figure of pairs that compare, with all of them looked at together."""
    tests = {
        (number, figure.name): found
        for number, pair in enumerate(pairs)
        if not pair.doubts
        for figure in pair.figures
        if (found := against_runs(figure.base, *figure.new) if figure.by_run else welch(figure.base, figure.new))
    }
    adjusted = dict(zip(tests, holm([found.p for found in tests.values()]), strict=True))
    for number, pair in enumerate(pairs):
        judged = []
        for figure in pair.figures:
            found = tests.get((number, figure.name))
            least = found.detectable(ALPHA / len(tests)) if found else None
            tested = replace(figure, test=found, detectable=least)
            outcome, why = _outcome(tested, adjusted.get((number, figure.name)), pair.doubts)
            judged.append(replace(tested, outcome=outcome, why=why))
        yield replace(pair, figures=tuple(judged))


def _outcome(figure: Figure, p: float | None, doubts: Sequence[str]) -> tuple[Outcome, str]:
    if not figure.new:
        return Outcome.MISSING, "BASE has this figure, NEW has not"
    if not figure.base:
        return Outcome.ADDED, "BASE has nothing to hold it against"
    if doubts:
        return Outcome.REFUSED, "the two do not compare"
    limit = math.log1p(figure.threshold)
    beyond = f"the threshold of {100 * figure.threshold:g} %"
    if figure.test is None or p is None or figure.detectable is None:
        return _untested(figure, limit, beyond)
    size, seen = abs(figure.test.mean), figure.test.low > 0 or figure.test.high < 0
    if seen and p < ALPHA and size > limit:
        why = f"the interval excludes 0, also among all figures (Holm), and the change exceeds {beyond}"
        return _direction(figure), why
    if -limit <= figure.test.low and figure.test.high <= limit:
        return Outcome.NO_DIFFERENCE, f"the whole interval lies within {beyond}"
    shown = figures.percent(percent(figure.detectable), signed=False)
    units = "runs" if figure.by_run else "values"
    least = f"{len(figure.base)} and {len(figure.new)} {units} show a change reliably from {shown} % on"
    if figure.detectable > limit:
        return Outcome.INCONCLUSIVE, f"{least}, which is above {beyond}"
    if size <= limit:
        return Outcome.NO_DIFFERENCE, f"the change is below {beyond}; {least}"
    return Outcome.INCONCLUSIVE, f"the change is not shown among all figures (Holm); {least}"


def _untested(figure: Figure, limit: float, beyond: str) -> tuple[Outcome, str]:
    if figure.change is None:
        return Outcome.INCONCLUSIVE, "a figure at or below zero has no ratio"
    if figure.name not in EXACT:
        return Outcome.INCONCLUSIVE, "an interval needs two processes or server starts on each side"
    if abs(figure.change) <= limit:
        return Outcome.NO_DIFFERENCE, f"a count, which has no noise; the change is within {beyond}"
    return _direction(figure), f"a count, which has no noise; the change exceeds {beyond}"


def _direction(figure: Figure) -> Outcome:
    return Outcome.BETTER if ((figure.change or 0.0) < 0) == figure.lower_is_better else Outcome.WORSE


def _student(freedom: float, alpha: float) -> float:
    """Return the two-sided critical value."""
    return float(special.stdtrit(freedom, 1 - alpha / 2))


def _log_mean(values: Sequence[float]) -> float:
    return statistics.fmean(map(math.log, values))


def _positive(values: Sequence[float]) -> bool:
    return bool(values) and min(values) > 0
