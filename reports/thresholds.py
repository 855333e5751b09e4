"""Is a figure what this node, or its kind, has shown before? Held against certificates, never a vendor's table.

A node's own certificate comes first, its twins (nodes with the same fingerprint) stand in where it has none. What is
better than the baseline is always fit; what is worse must be so by more than the baseline's own spread explains.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from scipy import special

from . import figures
from .limits import CONFIDENCE, MARGIN, MARGIN_ANOTHER_DAY, MARGIN_MOST, MARGIN_UNKNOWN, SPREAD_POINTS, TOLERATED

if TYPE_CHECKING:
    from .certificate import Certificate, Figure

DIGITS = 6  # after the point, in files
MAD_TO_SIGMA = 1.4826  # for normal noise
# Few points make the MAD too small on average (Croux and Rousseeuw 1992).
SMALL_SAMPLE = {2: 1.196, 3: 1.495, 4: 1.363, 5: 1.206, 6: 1.200, 7: 1.140, 8: 1.129, 9: 1.107}


class Source(StrEnum):
    CERTIFICATE = "certificate"
    TWINS = "twins"
    NONE = "none"


class Fit(StrEnum):
    FIT = "fit"
    UNFIT = "unfit"
    NO_BASELINE = "no baseline"


@dataclass(frozen=True)
class Baseline:
    """`centre` is a median and `spread` the MAD of `n` processes of this node, or of the medians of `n` twins.

    A figure up to `tolerated` is fit whatever the centre.
    """

    centre: float = 0.0
    spread: float = 0.0
    source: Source = Source.NONE
    n: int = 0
    lower_is_better: bool = True
    margin: float = MARGIN
    tolerated: float = 0.0

    @property
    def allowed(self) -> float:
        """How much worse a figure may be, as a share of the centre."""
        if self.n < SPREAD_POINTS or self.centre <= 0:
            return MARGIN_UNKNOWN
        share = sigma(self.spread, self.n) / self.centre
        reach = float(special.stdtrit(self.n - 1, CONFIDENCE)) * share * math.sqrt(1 + 1 / self.n)
        return min(MARGIN_MOST, max(self.margin, reach))

    @property
    def limit(self) -> float:
        """The worst figure that is still fit."""
        if self.lower_is_better:
            return max(self.centre * (1 + self.allowed), self.tolerated)
        return self.centre / (1 + self.allowed)


@dataclass(frozen=True)
class Judgement:
    fit: Fit
    sentence: str


def sigma(mad: float, n: int) -> float:
    """Return the standard deviation that the MAD of `n` points stands for, if their noise is normal."""
    return MAD_TO_SIGMA * SMALL_SAMPLE.get(n, n / (n - 0.8)) * mad


def of_node(metric: str, figure: Figure | None) -> Baseline:
    """Return what a node's own figure makes a baseline; none where there is no share of it to be worse by."""
    tolerated = TOLERATED.get(metric, 0.0)
    if figure is None or (figure.median <= 0 and not tolerated):
        return Baseline()
    return Baseline(
        figure.median, figure.mad, Source.CERTIFICATE, figure.n, figure.lower_is_better, tolerated=tolerated
    )


def baseline(metric: str, certificate: Certificate | None, twins: Sequence[Certificate] = ()) -> Baseline:
    """Return what a figure is held against. `certificate` and `twins` must be of the fingerprint that was measured."""
    own = of_node(metric, certificate.figures.get(metric)) if certificate else Baseline()
    if own.source is not Source.NONE:
        return own
    tolerated = TOLERATED.get(metric, 0.0)
    found = [twin.figures[metric] for twin in twins if metric in twin.figures]
    theirs = [figure for figure in found if figure.median > 0 or tolerated]
    if not theirs:
        return Baseline()
    medians = [figure.median for figure in theirs]
    centre = statistics.median(medians)
    spread = statistics.median(abs(value - centre) for value in medians)
    return Baseline(centre, spread, Source.TWINS, len(medians), theirs[0].lower_is_better, tolerated=tolerated)


def limits(known: Mapping[str, Baseline]) -> dict[str, dict[str, Any]]:
    """Return the baselines as a certificate has them, each with the worst figure of another day that is still fit."""
    return {name: _limit(against) for name, against in known.items() if against.source is not Source.NONE}


def _limit(against: Baseline) -> dict[str, Any]:
    if against.source is Source.CERTIFICATE:
        against = replace(against, margin=MARGIN_ANOTHER_DAY)
    return {
        "limit": round(against.limit, DIGITS),
        "lower_is_better": against.lower_is_better,
        "centre": round(against.centre, DIGITS),
        "spread": round(against.spread, DIGITS),
        "n": against.n,
        "source": against.source.value,
    }


def judge(metric: str, value: float, against: Baseline) -> Judgement:
    """Hold one figure against its baseline."""
    shown = figures.digits(value)
    if against.source is Source.NONE:
        words = "nothing like it was certified here or on a node with the same fingerprint"
        return Judgement(Fit.NO_BASELINE, f"{metric} is {shown}: no baseline, for {words}.")
    whose = (
        f"this node's certificate ({figures.plural(against.n, 'process', 'processes')})"
        if against.source is Source.CERTIFICATE
        else f"{figures.plural(against.n, 'node')} with the same fingerprint"
    )
    known = f"the median of {whose} is {figures.digits(against.centre)}"
    bound = f"at {'most' if against.lower_is_better else 'least'} {figures.digits(against.limit)}"
    good = value <= against.limit if against.lower_is_better else value >= against.limit
    if math.isfinite(value) and good:
        return Judgement(Fit.FIT, f"{metric} is {shown}; {known}, and {bound} is fit.")
    return Judgement(Fit.UNFIT, f"{metric} is {shown}, and must be {bound}: {known}.")
