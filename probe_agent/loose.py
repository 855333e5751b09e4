"""What comes from a file that somebody else wrote, taken for what it should be, or for nothing."""

from __future__ import annotations

import math
from typing import Any


def mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def mappings(value: Any) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def figure(value: Any) -> float | None:
    return value if type(value) in (int, float) and math.isfinite(value) else None
