"""Did tuning make a node worse? What was measured after, held against what the same run measured before.

Before and after are two moments, so a figure counts as worse only when it is so by more than another hour explains (as
far as a certificate's limits reach), and when no process after was as good as the worst before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from . import figures, headlines, thresholds
from .certificate import Figure
from .headlines import Headline
from .limits import MARGIN_ANOTHER_DAY, MARGIN_MOST, SPREAD_POINTS
from .run_folder import Host
from .thresholds import Baseline, Fit


@dataclass(frozen=True)
class Regression:
    """`worse` is false where it could not be told; `sentence` is empty for a node that is not worse."""

    worse: bool = False
    sentence: str = ""


def of(host: Host) -> Regression:
    """Return what may be said of a node by its two results."""
    if host.broken:
        return Regression(sentence=f"it cannot be told whether tuning made it worse: {'; '.join(host.broken)}")
    before = {found.name: found for found in headlines.of(host.baseline)} if host.baseline else {}
    after = headlines.of(host.result) if host.result else []
    pairs = [(before[found.name], found) for found in after if found.name in before]
    if not pairs or not host.comparable:
        why = "before and after have different fingerprints" if pairs else "no figure was measured before and after"
        return Regression(sentence=f"it cannot be told whether tuning made it worse: {why}")
    said = [_sentence(*pair) for pair in pairs if worse(*pair)]
    return Regression(True, f"worse after tuning: {'; '.join(said)}") if said else Regression()


def document(hosts: Iterable[Host]) -> dict[str, dict[str, object]]:
    """Return of each node that is worse, or of which it cannot be told, what is said of it."""
    found = {host.name: of(host) for host in hosts}
    return {name: asdict(regression) for name, regression in found.items() if regression.sentence}


def worse(before: Headline, after: Headline) -> bool:
    """Tell whether a figure is worse by more than noise explains, with not one process that was as good as before."""
    sign = 1 if before.lower_is_better else -1
    apart = min(sign * value for value in after.values) > max(sign * value for value in before.values)
    return apart and thresholds.judge(before.name, after.median, _against(before, after)).fit is Fit.UNFIT


def _against(before: Headline, after: Headline) -> Baseline:
    known = Figure(before.title, before.lower_is_better, before.median, before.mad, len(before.values))
    found = replace(thresholds.of_node(before.name, known), margin=MARGIN_ANOTHER_DAY)
    if min(len(before.values), len(after.values)) >= SPREAD_POINTS:
        return found
    return replace(found, n=SPREAD_POINTS, margin=MARGIN_MOST)  # so few show nothing of their noise


def _sentence(before: Headline, after: Headline) -> str:
    bound = "at most" if before.lower_is_better else "at least"
    shown = [figures.digits(value) for value in (before.median, after.median, _against(before, after).limit)]
    return f"{before.name} went from {shown[0]} to {shown[1]}, where noise explains {bound} {shown[2]}"
