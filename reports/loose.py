"""What the result's schema leaves open, taken for what it should be, or for nothing."""

from __future__ import annotations

from typing import Any

from probe_agent.loose import mapping, mappings

__all__ = ["mapping", "mappings", "number", "sentences", "words"]

SENTENCES = 20


def sentences(value: Any) -> list[str]:
    """Return the texts of a list, no more than a reader would take."""
    found = [each for each in value if isinstance(each, str) and each] if isinstance(value, list) else []
    more = len(found) - SENTENCES
    return [*found[:SENTENCES], f"{more:,} more in the raw data"] if more > 0 else found


def number(value: Any) -> float | None:
    return value if type(value) in (int, float) else None


def words(value: Any) -> str:
    """Return a nested value as one line."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {words(part)}" for name, part in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(words, value)) or "none"
    return "none" if value is None or value == "" else str(value)
