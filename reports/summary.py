"""A run in three lines, for the terminal it ended in."""

from __future__ import annotations

from pathlib import Path

from . import drift, figures, fleet, preflight
from .fleet import Row
from .run_folder import Run
from .sections import settings

INDEX = "index.html"
MEASURED = "metrics"  # the file that only a host with a result has
NAMED = 3  # hosts; the page names more
REASON_LIMIT = 120  # characters


def lines(run: Run, rows: list[Row] | None = None) -> tuple[list[str], list[Row]]:
    """Return where the report is, three lines of result, and the rows that these are drawn from.

    Without `rows`, the run's hosts are read.
    """
    rows = [fleet.row(host) for host in run.hosts()] if rows is None else rows
    first = next((row for row in rows if MEASURED in row.files), None)
    said = [
        _where(run, run.path / INDEX, rows),
        _fleet(rows),
        *(_host(first) if first else ["No host has a result."]),
        *_preflight(run),
        *drift.sentences(run.drift),
    ]
    return [figures.printable(line) for line in said], rows


def _where(run: Run, index: Path, rows: list[Row]) -> str:
    if index.is_file():
        return f"Report: {index}"
    if rows and all(row.state == "skipped" for row in rows):
        return "No report, since nothing was to be measured."
    return f"No report yet: python -m reports render {run.path}"


def _fleet(rows: list[Row]) -> str:
    others = [f"{row.host} {row.state} ({_short(row.reason)})" for row in rows if row.state != "ok"]
    named = "; ".join(others[:NAMED])
    more = f"; and {len(others) - NAMED:,} more" if len(others) > NAMED else ""
    return f"{fleet.totals(rows)} {named}{more}".rstrip()


def _preflight(run: Run) -> list[str]:
    """Say which nodes are fit, where that was asked."""
    return preflight.sentences(run.preflight) if (run.path / preflight.NAME).exists() else []


def _short(reason: str) -> str:
    return (reason if len(reason) <= REASON_LIMIT else f"{reason[:REASON_LIMIT]}…") or "no reason given"


def _host(row: Row) -> list[str]:
    thp = row.settings.get(settings.THP)
    parts = [f"THP {fleet.before_after(thp)}"] if thp else []
    cold, warm = (row.headline.get(f"{cache}_load_s") for cache in ("cold", "warm"))
    loads = f"model loads in {figures.seconds(cold)} s cold, {figures.seconds(warm)} s warm"
    parts.append(loads if cold is not None or warm is not None else "no load was measured")
    first, following = (row.headline.get(f"warm_{which}_ttft_s") for which in ("first", "next"))
    if first is not None and following is not None:
        shown = f"{figures.digits(1000 * first)} ms on a warm server, then {figures.digits(1000 * following)} ms"
        parts.append(f"its first request has a token after {shown}")
    compared = f"levers against glibc: {fleet.levers(row)}" if row.verdicts else "no lever was compared"
    to_do = f"To do: {fleet.advice(row)}" if row.advice else "Nothing to do by these figures."
    return [f"{row.host}: {', '.join(parts)}.", f"{row.host}: {compared}. {to_do}"]
