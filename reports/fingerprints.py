"""In what two measurements differ, by their fingerprints: figures compare where that is nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from probe_agent.preflight import PARTS

from .loose import mapping


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return the parts in which two fingerprints differ. How often the probe repeated makes no figure incomparable."""
    first, second = mapping(one.get("hashes")), mapping(other.get("hashes"))
    parts = [name for name in PARTS if name not in first or first[name] != second.get(name)]
    ways = [{**mapping(found.get("probe")), "profile": None} for found in (one, other)]
    return [*parts, *([] if ways[0] == ways[1] else ["way of measuring"])]
