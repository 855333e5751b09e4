"""Which settings differ across the fleet: for each the usual value, and every other with the hosts that have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .fleet import Row

SETTINGS_LIMIT = 1000  # of one node; a node that sends more shows no more of them


@dataclass(frozen=True)
class Differing:
    """A value is None where the setting is absent. `others` holds the hosts by value, the rarest last."""

    setting: str
    usual: str | None
    usual_hosts: int
    others: tuple[tuple[str | None, tuple[str, ...]], ...]


def differing(rows: Sequence[Row]) -> list[Differing]:
    """Return the settings that are not the same on all nodes that were read, by name."""
    nodes = [(row.host, dict(list(row.found.items())[:SETTINGS_LIMIT])) for row in rows if row.found]
    holders: dict[str, dict[str | None, list[str]]] = {}
    for host, found in nodes:
        for name, value in found.items():
            holders.setdefault(name, {}).setdefault(value, []).append(host)
    found = []
    for name, hosts in sorted(holders.items()):
        absent = len(nodes) - sum(map(len, hosts.values()))
        if absent or len(hosts) > 1:
            found.append(_of_setting(name, hosts, absent, nodes))
    return found


def _of_setting(
    name: str, hosts: dict[str | None, list[str]], absent: int, nodes: Sequence[tuple[str, dict[str, str]]]
) -> Differing:
    usual = max(hosts, key=lambda value: len(hosts[value]))
    if absent > len(hosts[usual]):
        return Differing(name, None, absent, _rarest_last(hosts))
    lacking = {None: [host for host, found in nodes if name not in found]} if absent else {}
    others = {value: some for value, some in {**hosts, **lacking}.items() if value != usual}
    return Differing(name, usual, len(hosts[usual]), _rarest_last(others))


def _rarest_last(hosts: dict[str | None, list[str]]) -> tuple[tuple[str | None, tuple[str, ...]], ...]:
    return tuple((value, tuple(some)) for value, some in sorted(hosts.items(), key=lambda each: -len(each[1])))
