"""What a finding of drift is, and what a run has of a node to find it in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..loose import mapping, mappings

VERSION, CONFIGURATION, PERFORMANCE, RUN = "version", "configuration", "performance", "run"
DRIFTED, UNKNOWN = "drifted", "unknown"
WORDS = ("no drift", "could not tell", "drifted")


@dataclass(frozen=True)
class Setter:
    """A file that sets a value at boot, or holds it; `line` is 0 where it has none."""

    file: str
    line: int = 0
    value: str = ""
    modified: str = ""
    package: str = ""


@dataclass(frozen=True)
class Finding:
    """One thing that is not as certified, or as the inventory has it; with the word unknown, one that was not told.

    `wanted` is the inventory's value, `after` what this same run made of it. `since` is the first run that saw it,
    `until` the last one before that.
    """

    kind: str
    word: str
    what: str
    sentence: str
    certified: str | None = None
    wanted: str | None = None
    now: str | None = None
    after: str | None = None
    set_by: tuple[Setter, ...] = ()
    since: str = ""
    until: str = ""


@dataclass(frozen=True)
class Node:
    """What state.json says of a node, or less where only a result is there. All of it is the node's word."""

    host_memory: dict[str, Any]
    origins: dict[str, Any] = field(default_factory=dict)
    written: dict[str, Any] = field(default_factory=dict)
    inventory: tuple[dict[str, Any], ...] = ()
    services: tuple[str, ...] = ()
    not_verified: tuple[str, ...] = ()

    @property
    def release(self) -> str:
        return str(mapping(self.host_memory.get("kernel")).get("release") or "")

    def setter(self, file: str, line: int = 0, value: str = "") -> Setter:
        origin = mapping(self.origins.get(file))
        return Setter(file, line, value, str(origin.get("modified") or ""), str(origin.get("package") or ""))


def node(document: Any) -> Node:
    """Return what is in state.json, taken for what it should be, or for nothing."""
    found = mapping(document)
    doubts = [found.get("not_verified"), found.get("services_not_verified")]
    services = found.get("services")
    return Node(
        host_memory=mapping(found.get("host_memory")),
        origins=mapping(found.get("origins")),
        written=mapping(found.get("written")),
        inventory=tuple(mappings(found.get("inventory"))),
        services=tuple(each for each in services if isinstance(each, str)) if isinstance(services, list) else (),
        not_verified=tuple(each for each in doubts if isinstance(each, str) and each),
    )


def code(findings: Iterable[Finding]) -> int:
    """Return 0 for no drift, 1 where that could not be told, 2 for drift."""
    words = {finding.word for finding in findings}
    return 2 if DRIFTED in words else 1 if UNKNOWN in words else 0


def word(host: Mapping[str, Any]) -> str:
    """Return the verdict of a host in drift.json, whatever stands there."""
    found = host.get("code")
    return WORDS[found if found in (0, 1, 2) else 1]
