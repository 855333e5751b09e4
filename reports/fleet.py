"""A run as rows: one for every inventory host, the dead ones with their reason among them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from probe_agent.settings import values

from . import (
    certificate,
    documents,
    figures,
    findings,
    fleet_figures,
    headlines,
    metrics,
    prometheus,
    recommendations,
    recommended_vars,
)
from .headlines import Headline
from .limits import SPREAD_POINTS
from .loose import mapping, words
from .run_folder import Host, Measurement
from .sections import allocators, settings
from .statistics import estimate, percent

STATES = ("ok", "degraded", "failed", "unreachable", "skipped")
SEVERITY = ("skipped", "ok", "degraded", "failed", "unreachable")
HEALTHY = ("ok", "skipped")
NAMED = 10  # hosts that a summary names; the table has all
REASON_LIMIT = 300  # characters in the fleet's table; the host's page and fleet.json have all
PAGE, REPORT = "index.html", "report.md"


@dataclass(frozen=True)
class Row:
    """One host. Paths start at the run folder; `figures` and `found`, all settings, are what others are held to."""

    host: str
    state: str
    phase: str
    reason: str
    fingerprint: str
    model: str
    device: str
    settings: dict[str, dict[str, str | None]]
    headline: dict[str, float]
    verdicts: dict[str, dict[str, dict[str, Any]]]
    advice: list[str]
    files: dict[str, str]
    figures: tuple[Headline, ...] = ()
    found: dict[str, str] = field(default_factory=dict)


def row(host: Host) -> Row:
    """Return a host's row: run.json's state, or a worse one where the results show it."""
    state, reason = judge(host)
    measured = host.measured
    advised = recommendations.of(host)
    return Row(
        host=host.name,
        state=state,
        phase=host.phase,
        reason=reason,
        fingerprint=measured.fingerprint_id if measured else "",
        model=measured.model if measured else "",
        device=_device(measured) if measured else "",
        settings={s.name: {"before": s.before, "after": s.after} for s in settings.both(host) if _shown(s)},
        headline=fleet_figures.of(host.result) if host.result else {},
        verdicts=allocators.verdicts(host.result),
        advice=[each.advice for each in advised if each.changes],
        files=files(host, state, bool(recommendations.variables(advised))),
        figures=tuple(headlines.of(host.result)) if host.result else (),
        found=values(measured.host_memory) if measured else {},
    )


def judge(host: Host) -> tuple[str, str]:
    """Return state and reason. A result can make a host worse than run.json says, never better."""
    shown, reasons = host.state, [host.reason] if host.reason else []
    failed = findings.failures(host)
    if host.broken:
        shown = _worse(shown, "failed")
        reasons += host.broken
    elif host.state == "ok" and host.result is None:
        shown = "failed"
        reasons.append("no result.json came back from this host")
    if host.doubts:
        shown = _worse(shown, "degraded")
        reasons += host.doubts
    if failed:
        statuses = {probe.status for probe in host.result.probes.values()} if host.result else set()
        shown = _worse(shown, "failed" if statuses == {"failed"} else "degraded")
        reasons += failed
    return shown, "; ".join(reasons)


def files(host: Host, state: str, recommends: bool) -> dict[str, str]:
    """Return what is in the host's folder once it is rendered, by what it is."""
    if host.folder is None or host.linked:
        return {}
    names = {"page": PAGE, "report": REPORT}
    names |= {"log": documents.LOG} if host.measured else {}
    names |= {"recommended_vars": recommended_vars.NAME} if recommends else {}
    names |= {"certificate": certificate.NAME} if certificate.earned(host, state) else {}
    names |= {"metrics": prometheus.NAME} if host.result else {}
    names |= {file.what: file.name for file in documents.of(host)}
    names |= {name.removesuffix(".json"): name for name in host.raw}
    return {what: f"{host.folder}/{name}" for what, name in names.items()}


def counts(rows: Sequence[Row]) -> dict[str, int]:
    """Return how many hosts are in each state there is."""
    found = Counter(row.state for row in rows)
    return {state: found[state] for state in STATES if found[state]}


def healthy(rows: Sequence[Row]) -> bool:
    """Tell whether nothing went wrong: every host is ok or was left out on purpose."""
    return all(row.state in HEALTHY for row in rows)


def totals(rows: Sequence[Row]) -> str:
    """Return the fleet in one line, as in `3 hosts: 2 ok, 1 unreachable.`"""
    if not rows:
        return "The inventory of this run has no hosts."
    parts = ", ".join(f"{number:,} {state}" for state, number in counts(rows).items())
    return f"{figures.plural(len(rows), 'host')}: {parts}."


def sentences(rows: Sequence[Row]) -> list[str]:
    """Say how many hosts are in which state, which are not well and why, and what each arm did across the fleet."""
    unwell = [row for row in rows if row.state not in HEALTHY]
    said = [totals(rows), *(f"{row.host}: {row.state}, {why(row) or 'no reason given'}." for row in unwell[:NAMED])]
    if len(unwell) > NAMED:
        said.append(f"{figures.plural(len(unwell) - NAMED, 'more host')} not well, see the table.")
    tally = Counter((arm, found["verdict"]) for row in rows for arm, found in first_verdicts(row).items())
    for arm in dict.fromkeys(arm for arm, _ in tally):
        parts = ", ".join(
            f"{verdict} on {figures.plural(n, 'host')}" for (name, verdict), n in tally.items() if name == arm
        )
        said.append(f"{arm}, {metrics.headline(arm).title}: {parts}.{_over_nodes(rows, arm)}")
    return said


def _over_nodes(rows: Sequence[Row], arm: str) -> str:
    """Say what nodes of one kind show together, each as one value: more than any of them alone can tell."""
    by_kind: dict[str, list[float]] = {}
    for row in rows:
        found = first_verdicts(row).get(arm, {}).get("effect_percent")
        if row.fingerprint and found is not None and found > -100:
            by_kind.setdefault(row.fingerprint, []).append(math.log1p(found / 100))
    said = ""
    for kind, effects in by_kind.items():
        together = estimate(effects)
        if len(effects) >= SPREAD_POINTS and together.low is not None:
            ends = figures.interval(percent(together.low), percent(together.high))
            middle = figures.percent(percent(together.mean))
            said += f" Over the {len(effects)} nodes with fingerprint {kind}: {middle} % (95 % interval {ends} %)."
    return said


def first_verdicts(row: Row) -> dict[str, dict[str, Any]]:
    """Return of each arm the verdict on what its lever is pulled for, or the first one where that is not known."""
    return {
        arm: found.get(metrics.headline(arm).key) or next(iter(found.values())) for arm, found in row.verdicts.items()
    }


def _device(measurement: Measurement) -> str:
    """Return where the model ran, by the processes' word, or else the node's GPUs."""
    rows = (row for probe in measurement.probes.values() for row in probe.samples)
    found = {row["device"] for row in rows if isinstance(row.get("device"), str)}
    gpus = mapping(measurement.fingerprint.get("hardware")).get("gpus")
    return ", ".join(sorted(found)) or (words(gpus) if gpus else "")


def _shown(setting: settings.Setting) -> bool:
    return setting.changed or setting.name == settings.THP


def _worse(one: str, other: str) -> str:
    return max(one, other, key=SEVERITY.index)


def why(row: Row) -> str:
    """Return why a host is not ok, no longer than a table takes, and where it happened."""
    phase = f" (in {row.phase})" if row.phase and row.state not in HEALTHY else ""
    said = row.reason if len(row.reason) <= REASON_LIMIT else f"{row.reason[:REASON_LIMIT]}…"
    return f"{said}{phase}" if said else ""


def before_after(setting: dict[str, str | None] | None) -> str:
    if setting is None:
        return ""
    before, after = setting["before"], setting["after"]
    if before is None or after is None or before == after:
        return after or before or ""
    return f"{before} → {after}"


def advice(row: Row) -> str:
    """Return what to do first, and how much more there is."""
    more = len(row.advice) - 1
    return f"{row.advice[0]} ({more} more)" if more > 0 else "".join(row.advice)


def levers(row: Row) -> str:
    """Return each arm's effect on its headline metric in a few words."""
    return "; ".join(lever(arm, verdict) for arm, verdict in first_verdicts(row).items())


def lever(arm: str, verdict: Mapping[str, Any]) -> str:
    """Return an arm's effect and verdict; on what, where that is not the first generation."""
    metric = metrics.headline(arm)
    on = "" if metric == metrics.FIRST_GENERATION else f" ({metric.title})"
    effect = "" if verdict["effect_percent"] is None else f" {figures.percent(verdict['effect_percent'])} %{on}"
    return f"{arm}{effect}, {verdict['verdict']}"
