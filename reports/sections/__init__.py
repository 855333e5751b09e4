"""One file per theme of a host's page. Each has `section(host)`; a theme that was not measured has none to show."""

from __future__ import annotations

from ..run_folder import Host
from ..tables import Section
from . import (
    allocators,
    bandwidth,
    batching,
    curves,
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

THEMES = (
    settings,
    load,
    memory,
    allocators,
    bandwidth,
    gpus,
    pressure,
    serving,
    batching,
    curves,
    kv,
    timing,
    environment,
)


def of(host: Host) -> list[Section]:
    """Return the sections that this host's measurements fill, in reading order."""
    return [section for theme in THEMES if (section := theme.section(host)) is not None]
