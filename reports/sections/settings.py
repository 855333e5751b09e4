"""What host memory was set to before and after, as named values."""

from __future__ import annotations

from dataclasses import dataclass

from probe_agent.host.source import Source
from probe_agent.settings import pool_name, values

from .. import figures, tables
from ..loose import mappings, words
from ..run_folder import Host, Measurement
from ..tables import Column, Section, Table

THP = "THP enabled"
KEY_SETTINGS = (THP, "THP defrag", "THP shmem_enabled", "khugepaged defrag")  # shown also where nothing changed
SENTENCE_LIMIT = 6


@dataclass(frozen=True)
class Setting:
    """None stands for absent, or for a measurement there is not."""

    name: str
    before: str | None
    after: str | None
    changed: bool


def both(host: Host) -> list[Setting]:
    """Return every setting of the two measurements; it changed only where both were taken."""
    before, after = (values(part.host_memory) if part else {} for part in (host.baseline, host.result))
    compared = bool(before and after)
    return [
        Setting(name, before.get(name), after.get(name), compared and before.get(name) != after.get(name))
        for name in dict.fromkeys([*after, *before])
    ]


def pools_mb(measurement: Measurement) -> dict[str, float]:
    """Return the node's pools that hold pages, by name, in MiB; those of single NUMA nodes are parts of them."""
    return {
        pool_name(pool): pool["size_kb"] * pool["total"] / 1024
        for pool in mappings(measurement.host_memory.get("pools"))
        if pool.get("numa_node") is None and type(pool.get("size_kb")) is type(pool.get("total")) is int
        if pool["total"] > 0
    }


def changes(host: Host) -> list[str]:
    """Say what differs between the settings before and after."""
    if not (host.baseline and host.result):
        known = {setting.name: setting.after or setting.before for setting in both(host)}
        state = f"; {THP} was {known[THP]}" if THP in known else ""
        return [f"The node was measured once, so there is no before and after{state}."] if host.measured else []
    if not (host.baseline.host_memory and host.result.host_memory):
        return ["The settings were not read in both measurements, so what changed is not known."]
    changed = [setting for setting in both(host) if setting.changed]
    if not changed:
        return ["No setting of host memory differs between the measurements before and after."]
    said = [f"{s.name}: {_shown(s.before)} → {_shown(s.after)}." for s in changed[:SENTENCE_LIMIT]]
    more = len(changed) - len(said)
    return [*said, f"{figures.plural(more, 'more setting')} changed, see the table."] if more else said


def section(host: Host) -> Section | None:
    found = both(host)
    if not found:
        return None
    shown = [
        *(setting for name in KEY_SETTINGS for setting in found if setting.name == name),
        *(setting for setting in found if setting.name not in KEY_SETTINGS and (setting.changed or _is_pool(setting))),
    ]
    return Section(
        "settings",
        "Host memory settings",
        tables=(_table("Huge pages and mounts", host, shown), *_sources(host)),
        details=(_table("Every setting that was read", host, found),),
    )


def _table(title: str, host: Host, settings: list[Setting]) -> Table:
    columns = [Column("Setting")]
    columns += [Column("Before")] if host.baseline else []
    columns += [Column("After" if host.baseline else "Found")] if host.result else []
    columns += [Column("Changed")] if host.baseline and host.result else []
    rows = []
    for setting in settings:
        row = [tables.text(setting.name)]
        row += [tables.text(_shown(setting.before))] if host.baseline else []
        row += [tables.text(_shown(setting.after), "changed" if setting.changed else "")] if host.result else []
        if host.baseline and host.result:
            row.append(tables.toned("changed") if setting.changed else tables.text("same"))
        rows.append(tuple(row))
    return Table(title, tuple(columns), tuple(rows))


def _sources(host: Host) -> tuple[Table, ...]:
    """Return what sets huge pages at boot, by file; nothing where an agent did not look."""
    found = host.measured.host_memory.get("sources") if host.measured else None
    if not isinstance(found, list):
        return ()
    rows = []
    for each in mappings(found):
        keys = ("setting", "value", "file", "kind", "note")
        setting, value, file, kind, note = (words(each[key]) if each.get(key) else "" for key in keys)
        line = each.get("line")
        rows.append(
            (
                tables.text(Source(setting, value, file, 0, kind).name),
                tables.text(value),
                tables.text(f"{file} line {line}" if type(line) is int and line else file),
                tables.text(kind),
                tables.text("yes" if each.get("ours") is True else "no"),
                tables.text("yes" if each.get("effective") is True else "no"),
                tables.text(note),
            )
        )
    columns = ("Setting", "Value", "File", "Kind", "Ours", "Effective", "Note")
    note = "" if rows else "No file on the node sets huge pages at boot."
    return (
        Table(
            "What sets them at boot", tuple(Column(title, wide=title == "Note") for title in columns), tuple(rows), note
        ),
    )


def _is_pool(setting: Setting) -> bool:
    return setting.name.startswith(("Pool", "hugetlbfs")) and not any(
        part in setting.name for part in ("NUMA", "overcommit")
    )


def _shown(value: str | None) -> str:
    return "absent" if value is None else value
