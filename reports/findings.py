"""What a reader sees first of a host: is it fit, what changed, what it did, what is missing, drawn from its figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

from . import figures, tables
from .run_folder import Host, Probe
from .sections import MEASURED, allocators, bandwidth, environment, settings
from .tables import Cell

PROBES = ("load", "allocator", "bandwidth", "pressure", "serving", "batching", "curves", "kv")
BEFORE_TOO = ("load",)  # the others describe the node as it is left, and are measured once
FIT = {
    "ok": "Yes, by this run: no setting and no probe failed.",
    "degraded": "In part: {}.",
    "failed": "Not known to be, it failed: {}.",
    "unreachable": "Not known to be, it could not be reached: {}.",
    "skipped": "Nobody asked, it was left out: {}.",
}
# Name in fleet.json, title, unit, and how it is shown.
KEY_FIGURES = (
    ("cold_load_s", "Model load, cold", "s", tables.seconds),
    ("warm_load_s", "Model load, warm", "s", tables.seconds),
    ("glibc_gen_latency_s", "First generation, no lever", "s", tables.seconds),
    ("warm_ready_s", "Server ready, warm", "s", tables.seconds),
    ("warm_first_ttft_s", "First request, warm", "ms", tables.milliseconds),
    ("warm_next_ttft_s", "Next requests, warm", "ms", tables.milliseconds),
    ("concurrent_tokens_per_s", "All at once", "tokens/s", tables.rate),
    ("kv_capacity_tokens", "KV cache", "tokens", tables.count),
    ("h2d_pinned_gib_per_s", "Host to GPU, pinned", "GiB/s", tables.rate),
)


@dataclass(frozen=True)
class Findings:
    """`did` has one sentence per theme; the theme's section has all."""

    changed: tuple[str, ...]
    did: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class KeyFigure:
    title: str
    unit: str
    cell: Cell


def of(host: Host) -> Findings:
    return Findings(
        changed=(*settings.changes(host), *environment.findings(host)),
        did=tuple(sentence for theme in MEASURED for sentence in _in_short(theme, host)),
        missing=(*host.broken, *host.doubts, *missing(host)),
    )


def fit(host: Host, state: str, reason: str) -> list[str]:
    """Say whether the host is fit for work by its state, and what of its hardware stands in the way."""
    where = f" (phase {host.phase})" if reason and host.phase else ""
    return [FIT[state].format(f"{reason or 'no reason given'}{where}"), *bandwidth.slow_links(host)]


def key_figures(headline: Mapping[str, float]) -> list[KeyFigure]:
    """Return the few figures that a node is known by, of those it has."""
    return [KeyFigure(title, unit, show(headline[name])) for name, title, unit, show in KEY_FIGURES if name in headline]


def missing(host: Host) -> list[str]:
    """Say which measurements and probes are not there, or ended early, and why."""
    if host.measured is None:
        return [] if host.broken else ["Nothing was measured on this host."]
    said = []
    if "result.json" not in host.raw:
        said.append("There is no measurement from after tuning.")
    for when, part in host.moments:
        expected = BEFORE_TOO if part is host.baseline else PROBES
        said += _not_asked([name for name in expected if name not in part.probes], when)
        said += [f"{_ended(probe)}{_at(when)}." for probe in part.probes.values() if probe.status != "ok"]
    return said + [f"Arm {arm} was skipped: {reason}." for arm, reason in allocators.skipped(host.result).items()]


def failures(host: Host) -> list[str]:
    """Return the probes that failed, each with why, those before tuning named as such."""
    return [
        f"probe {probe.name} failed{'' if part is host.result else ' before tuning'}: {probe.reason}"
        for _, part in reversed(host.moments)
        for probe in part.probes.values()
        if probe.status == "failed"
    ]


def _in_short(theme: ModuleType, host: Host) -> list[str]:
    return allocators.in_short(host) if theme is allocators else theme.findings(host)[:1]


def _not_asked(names: list[str], when: str) -> list[str]:
    if not names:
        return []
    probes, were = ("Probe", "was") if len(names) == 1 else ("Probes", "were")
    return [f"{probes} {figures.listed(names)} {were} not asked for{_at(when)}."]


def _at(when: str) -> str:
    return f" {when} tuning" if when else ""


def _ended(probe: Probe) -> str:
    kept = f", keeping {figures.plural(len(probe.samples), 'sample')}" if probe.samples else ""
    return f"Probe {probe.name} {probe.status} ({probe.reason or 'no reason given'}){kept}"
