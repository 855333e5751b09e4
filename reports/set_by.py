"""What sets a node's memory at boot, by the names that settings have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any

from probe_agent.host.source import Source
from probe_agent.host.sources import pool_setting
from probe_agent.settings import name_of

from .loose import mappings

NUMA = " on NUMA node "
FIELDS = {field.name: type(getattr(Source("", "", "", 0, ""), field.name)) for field in fields(Source)}


def rows(found: Any) -> list[Source]:
    """Return the sources that take hold, leaving out what is no source."""
    known = ({name: row.get(name) for name in FIELDS} for row in mappings(found))
    whole = (row for row in known if all(type(row[name]) is kind for name, kind in FIELDS.items()))
    return [Source(**row) for row in whole if row["effective"] and row["setting"]]


def document(host_memory: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the sources as a certificate keeps them; nothing of a node whose agent did not read them."""
    if "sources" not in host_memory:
        return {}
    return {"sources": [asdict(source) for source in rows(host_memory["sources"])]}


def by_name(found: Iterable[Source], default_kb: Any) -> dict[str, list[Source]]:
    """Return the sources of each setting; `default_kb` is the node's default page size."""
    named: dict[str, list[Source]] = {}
    for source in found:
        path = pool_setting(source.setting, default_kb if type(default_kb) is int else None)
        named.setdefault(name_of(path), []).append(source)
    return named


def movers(name: str, named: Mapping[str, list[Source]]) -> list[Source]:
    """Return what sets `name`: a pool and its share on one NUMA node move each other."""
    pool = name.partition(NUMA)[0]
    others = [pool] if NUMA in name else [other for other in named if other.startswith(f"{name}{NUMA}")]
    return [source for each in (name, *others) for source in named.get(each, [])]
