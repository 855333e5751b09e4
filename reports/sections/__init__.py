"""One file per theme of a host's page. Each has `section(host)`; a theme that was not measured has none to show."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import ModuleType

from ..run_folder import Host
from ..tables import Section
from . import (
    allocators,
    bandwidth,
    batching,
    curves,
    drift,
    environment,
    gpus,
    kv,
    load,
    memory,
    pressure,
    serving,
    settings,
    timing,
)


@dataclass(frozen=True)
class Tier:
    """Themes that are read together, in reading order."""

    anchor: str
    title: str
    themes: tuple[ModuleType, ...]


TIERS = (
    Tier("since", "Since it was certified", (drift,)),
    Tier("tier-1", "Tier 1: memory state and load", (settings, load, memory)),
    Tier("tier-2", "Tier 2: levers and serving", (allocators, serving)),
    Tier("tier-3", "Tier 3: KV cache, batching and limits", (kv, batching, curves)),
    Tier("beside", "Beside: bandwidth and pressure", (bandwidth, gpus, pressure)),
    Tier("measured-on", "Measured on", (timing, environment)),
)
MEASURED = (load, memory, allocators, serving, kv, batching, curves, bandwidth, pressure)


def of(host: Host) -> list[Section]:
    """Return the sections that this host's measurements fill, in reading order."""
    return [section for _, found in by_tier(host) for section in found]


def by_tier(host: Host) -> list[tuple[Tier, list[Section]]]:
    """Return the tiers that have a section, each with its sections."""
    found = [(tier, [section for theme in tier.themes if (section := _section(theme, host))]) for tier in TIERS]
    return [(tier, filled) for tier, filled in found if filled]


def _section(theme: ModuleType, host: Host) -> Section | None:
    """Return a theme's section, what was found first."""
    section = theme.section(host)
    if section is None or theme not in MEASURED:
        return section
    return replace(section, sentences=(*theme.findings(host), *section.sentences))
