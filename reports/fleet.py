"""A run as rows: one for every inventory host, the dead ones with their reason among them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from . import certificate, documents, figures, findings, metrics, prometheus, recommendations, recommended_vars, tables
from .limits import SPREAD_POINTS
from .loose import mapping, words
from .run_folder import Host, Measurement, Run
from .sections import allocators, bandwidth, batching, kv, load, serving, settings
from .statistics import estimate, median, percent
from .tables import Cell, Column, Table

STATES = ("ok", "degraded", "failed", "unreachable", "skipped")
SEVERITY = ("skipped", "ok", "degraded", "failed", "unreachable")
HEALTHY = ("ok", "skipped")
NAMED = 10  # hosts that a summary names; the table has all
REASON_LIMIT = 300  # characters in the fleet's table; the host's page and fleet.json have all
PAGE, REPORT = "index.html", "report.md"


@dataclass(frozen=True)
class Row:
    """One host. `headline`, `verdicts` and `settings` go into fleet.json as they are; paths start at the run folder."""

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
        headline=_headline(host.result) if host.result else {},
        verdicts=allocators.verdicts(host.result),
        advice=[each.advice for each in advised if each.changes],
        files=files(host, state, bool(recommendations.variables(advised))),
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
    said = [totals(rows), *(f"{row.host}: {row.state}, {_reason(row) or 'no reason given'}." for row in unwell[:NAMED])]
    if len(unwell) > NAMED:
        said.append(f"{figures.plural(len(unwell) - NAMED, 'more host')} not well, see the table.")
    tally = Counter((arm, found["verdict"]) for row in rows for arm, found in _headlines(row).items())
    for arm in dict.fromkeys(arm for arm, _ in tally):
        parts = ", ".join(
            f"{verdict} on {figures.plural(n, 'host')}" for (name, verdict), n in tally.items() if name == arm
        )
        said.append(f"{arm}, {metrics.headline(arm).title}: {parts}.{_over_nodes(rows, arm)}")
    return said


def document(run: Run, rows: Sequence[Row]) -> dict[str, Any]:
    """Return fleet.json."""
    return {
        "schema_version": 1,
        "run_id": run.run_id,
        "started": run.started,
        "finished": run.finished,
        "states": counts(rows),
        "hosts": [asdict(row) for row in rows],
    }


def table(rows: Sequence[Row]) -> Table:
    """Return the fleet's table, its hosts linked to their pages; a server's figures only where one was measured."""
    served = [part for part in SERVED_SHOWN if any(part[0] in row.headline for row in rows)]
    return Table(
        "Every inventory host",
        (
            Column("Host"),
            Column("State"),
            Column("Reason", wide=True),
            Column("THP"),
            Column("Cold load", "s", numeric=True),
            Column("Warm load", "s", numeric=True),
            Column("First token, warm", "s", numeric=True),
            Column("Generation, glibc", "s", numeric=True),
            *(column for _, column, _ in served),
            Column("Levers"),
            Column("What to do", wide=True),
        ),
        tuple(
            (
                Cell(row.host, link=row.files.get("page", "")),
                tables.toned(row.state),
                tables.text(_reason(row)),
                tables.text(before_after(row.settings.get(settings.THP))),
                *(tables.seconds(row.headline.get(key)) for key in HEADLINE_SHOWN),
                *(show(row.headline.get(key)) for key, _, show in served),
                tables.text(levers(row)),
                tables.text(advice(row)),
            )
            for row in rows
        ),
        "Loads and generation are medians over the processes of result.json. A dash stands for what was not measured.",
        limit=len(rows),
    )


HEADLINE_SHOWN = ("cold_load_s", "warm_load_s", "warm_first_token_s", "glibc_gen_latency_s")
SERVED_SHOWN = (
    ("warm_ready_s", Column("Server ready, warm", "s", numeric=True), tables.seconds),
    ("cold_first_ttft_s", Column("First request, cold", "ms", numeric=True), tables.milliseconds),
    ("warm_first_ttft_s", Column("First request, warm", "ms", numeric=True), tables.milliseconds),
    ("warm_next_ttft_s", Column("Next requests, warm", "ms", numeric=True), tables.milliseconds),
    ("concurrent_tokens_per_s", Column("All at once", "tokens/s", numeric=True), tables.rate),
    ("saturation_concurrency", Column("Saturates at", "requests", numeric=True), tables.count),
)
SERVING_KEYS = ("ready_s", "first_ttft_s", "next_ttft_s")
LOAD_KEYS = ("load_s", "first_token_s", "wall_real_s", "rss_mb", "anon_huge_mb")
ARM_KEYS = ("gen_latency_s", "wall_real_s", "rss_mb", "anon_huge_mb")


def _headline(measurement: Measurement) -> dict[str, float]:
    groups = [(cache, load.of_cache(measurement, cache), LOAD_KEYS) for cache in load.CACHES]
    groups += [(arm, allocators.of_arm(measurement, arm), ARM_KEYS) for arm in allocators.arms(measurement)]
    started = serving.starts(measurement)
    groups += [(cache, [row for row in started if row["cache"] == cache], SERVING_KEYS) for cache in load.CACHES]
    found = {f"{name}_{key}": median(rows, key) for name, rows, keys in groups for key in keys}
    found |= {**_batching(measurement), **_kv(measurement), **_bandwidth(measurement)}
    return {name: round(value, 4) for name, value in found.items() if value is not None and math.isfinite(value)}


def _batching(measurement: Measurement) -> dict[str, float | None]:
    found = batching.loads(measurement) if measurement.samples("batching") else []
    where = batching.saturates(found)
    return {
        **{f"{mode}_tokens_per_s": batching.rate(batching.of_mode(found, mode)) for mode in batching.MODES},
        "batching_gain": batching.gain(found),
        "saturation_concurrency": where and where.concurrency,
    }


def _kv(measurement: Measurement) -> dict[str, float | None]:
    line = kv.line(measurement)
    return {
        "kv_capacity_tokens": kv.capacity_tokens(measurement),
        "kv_bytes_per_token": line and line.bytes_per_token,
    }


def _bandwidth(measurement: Measurement) -> dict[str, float | None]:
    return {f"{measure}_gib_per_s": bandwidth.slowest(measurement, measure) for measure in bandwidth.HEADLINES}


def _over_nodes(rows: Sequence[Row], arm: str) -> str:
    """Say what nodes of one kind show together, each as one value: more than any of them alone can tell."""
    by_kind: dict[str, list[float]] = {}
    for row in rows:
        found = _headlines(row).get(arm, {}).get("effect_percent")
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


def _headlines(row: Row) -> dict[str, dict[str, Any]]:
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


def _reason(row: Row) -> str:
    phase = f" (in {row.phase})" if row.phase and row.state not in HEALTHY else ""
    reason = row.reason if len(row.reason) <= REASON_LIMIT else f"{row.reason[:REASON_LIMIT]}…"
    return f"{reason}{phase}" if reason else ""


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
    said = []
    for arm, verdict in _headlines(row).items():
        effect = "" if verdict["effect_percent"] is None else f" {figures.percent(verdict['effect_percent'])} %"
        said.append(f"{arm}{effect}, {verdict['verdict']}")
    return "; ".join(said)
