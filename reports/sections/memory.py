"""What the loading process took of the node's memory, and whether huge pages were really in use."""

from __future__ import annotations

from .. import figures, tables
from ..loose import mapping, number
from ..run_folder import Host, Measurement
from ..statistics import median, numbers
from ..tables import Column, Section, Table
from . import settings
from .load import CACHES, DRIFT, group, of_cache

PROCESS = (
    ("rss_mb", "resident (RSS), MiB", tables.mib),
    ("rss_peak_mb", "peak resident, MiB", tables.mib),
    ("pss_mb", "proportional (PSS), MiB", tables.mib),
    ("vsz_mb", "virtual (VSZ), MiB", tables.mib),
    ("anon_huge_mb", "in transparent huge pages, MiB", tables.mib),
    ("file_huge_mb", "in huge pages of files, MiB", tables.mib),
    ("private_hugetlb_mb", "in hugetlb pages, MiB", tables.mib),
    ("minor_faults", "minor page faults", tables.count),
    ("major_faults", "major page faults", tables.count),
)
# Name, title, and what makes MiB of its unit; None for pages. /proc/meminfo has kB.
NODE = (
    ("memory_total_mb", "memory, MiB", 1),
    ("memory_available_mb", "available, MiB", 1),
    ("AnonHugePages", "in transparent huge pages, MiB", 1024),
    ("Hugetlb", "in hugetlb pools of any size, MiB", 1024),
    ("HugePages_Total", "default pool, pages", None),
    ("HugePages_Free", "default pool, free pages", None),
)


def findings(host: Host) -> list[str]:
    """Say where the measured processes used huge pages, and where a pool lies idle."""
    said = []
    used = [(when, _median_anon_huge(part)) for when, part in host.moments]
    known = [f"{figures.mib(value)} MiB {when}".rstrip() for when, value in used if value is not None]
    if known:
        said.append(f"A loading process had {' and '.join(known)} in transparent huge pages (median).")
    if host.result:
        rows = [row for probe in host.result.probes.values() for row in probe.samples]
        hugetlb = max(numbers(rows, "private_hugetlb_mb"), default=None)
        for pool, size in settings.pools_mb(host.result).items():
            if hugetlb == 0:
                said.append(f"{pool}: {figures.mib(size)} MiB are reserved, and no measured process used any of it.")
    return said


def section(host: Host) -> Section | None:
    measured = host.moments_of("load")
    node = _node_table(host)
    if not measured:
        return Section("memory", "Memory", tables=(node,)) if node else None
    groups = [(group(cache, when), of_cache(part, cache)) for cache in CACHES for when, part in measured]
    process = Table(
        "The loading process, medians",
        (Column("Memory"), *(Column(label, numeric=True) for label, _ in groups)),
        tuple((tables.text(title), *(show(median(rows, key)) for _, rows in groups)) for key, title, show in PROCESS),
        DRIFT if len(measured) == 2 else "",
    )
    return Section("memory", "Memory", tables=(process, node) if node else (process,))


def _node_table(host: Host) -> Table | None:
    parts = [(when, part.host_memory) for when, part in host.moments if part.host_memory]
    if not parts:
        return None
    rows = []
    for key, title, kb in NODE:
        found = [number(mapping(memory.get("meminfo_huge")).get(key, memory.get(key))) for _, memory in parts]
        cells = [tables.count(value) if kb is None else tables.mib(value and value / kb) for value in found]
        rows.append((tables.text(title), *cells))
    columns = (Column("On the whole node"), *(Column(when or "found", numeric=True) for when, _ in parts))
    return Table("The node when each measurement began", columns, tuple(rows))


def _median_anon_huge(measurement: Measurement) -> float | None:
    return median(measurement.samples("load"), "anon_huge_mb")
