"""What a reader sees first of a host: what changed, what it did, what is missing and why, drawn from its figures."""

from __future__ import annotations

from dataclasses import dataclass

from . import figures
from .run_folder import Host, Probe
from .sections import allocators, environment, load, memory, settings

PROBES = ("load", "allocator")


@dataclass(frozen=True)
class Findings:
    changed: tuple[str, ...]
    did: tuple[str, ...]
    missing: tuple[str, ...]


def of(host: Host) -> Findings:
    return Findings(
        changed=(*settings.changes(host), *environment.findings(host)),
        did=(*memory.findings(host), *load.findings(host), *allocators.findings(host)),
        missing=(*host.broken, *missing(host)),
    )


def missing(host: Host) -> list[str]:
    """Say which measurements and probes are not there, or ended early, and why."""
    if host.measured is None:
        return [] if host.broken else ["Nothing was measured on this host."]
    said = []
    if "result.json" not in host.raw:
        said.append("There is no measurement from after tuning.")
    for when, part in host.moments:
        said += [f"Probe {name} was not asked for{_at(when)}." for name in PROBES if name not in part.probes]
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


def _at(when: str) -> str:
    return f" {when} tuning" if when else ""


def _ended(probe: Probe) -> str:
    kept = f", keeping {figures.plural(len(probe.samples), 'sample')}" if probe.samples else ""
    return f"Probe {probe.name} {probe.status} ({probe.reason or 'no reason given'}){kept}"
