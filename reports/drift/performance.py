"""Which figures are worse than certified, or than the runs before with the same fingerprint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from probe_agent import figures as quick
from probe_agent import preflight
from probe_agent.preflight import UNFIT

from .. import headlines, trend
from ..certificate import Certificate
from ..loose import mapping
from ..run_folder import Measurement, Run
from ..trend import Point, Trend, Verdict
from .kinds import DRIFTED, PERFORMANCE, UNKNOWN, Finding

Past = Callable[[str], Sequence[Point]]  # of a figure, oldest first


@dataclass(frozen=True)
class Figure:
    """A figure of this run beside its certificate and its past; `points` are for a timeline, this run's is the last."""

    name: str
    title: str
    lower_is_better: bool
    value: float
    certified: float | None
    limit: float | None
    trend: Trend
    points: tuple[Point, ...]

    def document(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "lower_is_better": self.lower_is_better,
            "value": self.value,
            "certified": self.certified,
            "limit": self.limit,
            "trend": self.trend.verdict.value,
            "since": self.trend.since,
            "change_percent": self.trend.change_percent,
            "points": [asdict(point) for point in self.points],
        }


def figures(
    run: Run, measured: Measurement, again: Measurement | None, certified: Certificate, past: Past
) -> list[Figure]:
    """Return the figures by which a node is judged, those that this measurement has; of two runs the better ones."""
    limits, found = mapping(certified.document.get("limits")), []
    second = {each.name: each.median for each in headlines.of(again)} if again else {}
    for each in (each for each in headlines.of(measured) if each.name in quick.NAMES):
        before = [point for point in past(each.name) if point.run_id != run.run_id]
        better = min if each.lower_is_better else max
        now = Point(run.run_id, run.started, better(each.median, second.get(each.name, each.median)))
        known = mapping(limits.get(each.name))
        found.append(
            Figure(
                each.name,
                each.title,
                each.lower_is_better,
                now.value,
                known.get("centre"),
                known.get("limit"),
                trend.judge(each.name, before, now, each.lower_is_better),
                (*before, now),
            )
        )
    return found


def findings(
    raw: dict[str, Any], again: dict[str, Any] | None, certified: Certificate, known: Sequence[Figure]
) -> list[Finding]:
    """Return what is worse. `raw` and `again` are results as the node wrote them, the second there in case of doubt."""
    busy, titles = preflight.busy_with(raw), {figure.name: figure for figure in known}
    found = {
        each.subject: _finding(each, titles.get(each.subject))
        for each in preflight.figures_against(raw, dict(certified.document), again)
        if each.word != preflight.FIT
    }
    for figure in known:
        if figure.trend.verdict is not Verdict.WORSE:
            continue
        beyond = found.get(figure.name)
        if beyond:
            found[figure.name] = replace(beyond, since=figure.trend.since or "")
            continue
        excused = bool(busy) and not figure.name.endswith(quick.TIMELESS)
        said = f"{figure.trend.sentence} {busy}." if excused else figure.trend.sentence
        found[figure.name] = Finding(
            PERFORMANCE,
            UNKNOWN if excused else DRIFTED,
            figure.name,
            said.removeprefix(f"{figure.name} ").rstrip("."),
            *_shown(figure),
            since=figure.trend.since or "",
        )
    return [*(_finding(each) for each in preflight.failures(raw, again)), *found.values()]


def _finding(judged: preflight.Finding, figure: Figure | None = None) -> Finding:
    """Return what the agent's judgement found, as a finding of drift."""
    word = DRIFTED if judged.word == UNFIT else UNKNOWN
    return Finding(PERFORMANCE, word, judged.subject, judged.sentence, *_shown(figure))


def _shown(figure: Figure | None) -> tuple[str | None, str | None, str | None]:
    """Return what was certified, what is wanted (nothing) and what is now."""
    if figure is None:
        return None, None, None
    return (None if figure.certified is None else f"{figure.certified:.4g}"), None, f"{figure.value:.4g}"
