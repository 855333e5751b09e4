"""What a reader sees first of a host: what changed, what it did, what is missing and why, drawn from its figures."""

from __future__ import annotations

from dataclasses import dataclass

from . import figures
from .run_folder import Host, Probe
from .sections import (
    allocators,
    bandwidth,
    batching,
    curves,
    environment,
    kv,
    load,
    memory,
    pressure,
    serving,
    settings,
)

PROBES = ("load", "allocator", "bandwidth", "pressure", "serving", "batching", "curves", "kv")
BEFORE_TOO = ("load",)  # the others describe the node as it is left, and are measured once
DID = (memory, load, allocators, bandwidth, pressure, serving, batching, curves, kv)


@dataclass(frozen=True)
class Findings:
    changed: tuple[str, ...]
    did: tuple[str, ...]
    missing: tuple[str, ...]


def of(host: Host) -> Findings:
    return Findings(
        changed=(*settings.changes(host), *environment.findings(host)),
        did=tuple(sentence for theme in DID for sentence in theme.findings(host)),
        missing=(*host.broken, *host.doubts, *missing(host)),
    )


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
    return said


def failures(host: Host) -> list[str]:
    """Return the probes that failed, each with why, those before tuning named as such."""
    return [
        f"probe {probe.name} failed{'' if part is host.result else ' before tuning'}: {probe.reason}"
        for _, part in reversed(host.moments)
        for probe in part.probes.values()
        if probe.status == "failed"
    ]


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
