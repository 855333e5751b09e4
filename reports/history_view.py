"""The history of one host, as a person or a program reads it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from . import figures
from .history import Entry, History
from .trend import Point, Trend, Verdict

SHOWN = 10  # the newest runs, and values of a figure
ORDER = (Verdict.WORSE, Verdict.BETTER, Verdict.STEADY, Verdict.UNKNOWN)


def document(history: History, host: str) -> dict[str, Any]:
    """Return all that is known of a host, for programs."""
    judged = {found.metric: asdict(found) for found in history.trends(host)}
    return {
        "schema_version": 1,
        "host": host,
        "runs": [asdict(entry) for entry in history.runs(host)],
        "figures": {
            metric.key: {
                "title": metric.title,
                "lower_is_better": metric.lower_is_better,
                "points": {
                    kind: list(map(asdict, points)) for kind, points in _points(history, host, metric.key).items()
                },
                "trend": judged.get(metric.key),
            }
            for metric in history.metrics(host)
        },
    }


def lines(history: History, host: str) -> Iterator[str]:
    """Yield the newest runs of a host, its figures over those like the newest, and what became of each."""
    runs = history.runs(host)
    certified = sum(entry.certificate is not None for entry in runs)
    yield f"{host}: {figures.plural(len(runs), 'run')}, {figures.plural(certified, 'certificate')}."
    yield from (_run(entry) for entry in runs[-SHOWN:])
    judged = sorted(history.trends(host), key=lambda found: ORDER.index(found.verdict))
    newest = history.newest(host)
    if newest:
        yield f"Figures with fingerprint {newest.fingerprint_id}, oldest first:"
    for found in judged:
        points = history.points(host, found.metric, newest.fingerprint_id)
        yield f"  {found.metric}: {_values(points)}. {_verdict(found)}"


def _points(history: History, host: str, metric: str) -> dict[str, list[Point]]:
    """Return a figure over time, by fingerprint."""
    kinds = dict.fromkeys(entry.fingerprint_id for entry in history.runs(host))
    found = {kind: history.points(host, metric, kind) for kind in kinds}
    return {kind: points for kind, points in found.items() if points}


def _run(entry: Entry) -> str:
    kind = f", {entry.profile}, {entry.model}, fingerprint {entry.fingerprint_id}" if entry.fingerprint_id else ""
    reason = f" ({entry.reason})" if entry.reason else ""
    return f"  {entry.run_id}  {entry.state}{reason}{kind}"


def _values(points: list[Point]) -> str:
    left_out = "… " if len(points) > SHOWN else ""
    return left_out + " ".join(figures.digits(point.value) for point in points[-SHOWN:])


def _verdict(found: Trend) -> str:
    if found.since is None:
        return str(found.verdict).capitalize()
    return f"{str(found.verdict).capitalize()} since {found.since}, by {figures.percent(found.change_percent)} %"
