"""One file per measurement. A probe has `rows(bench)`, `evidence(rows)` and `headline(rows)`."""

from __future__ import annotations

import statistics
from typing import Any


def medians(rows: list[dict[str, Any]], *keys: str) -> dict[str, float]:
    """Return the median of each key over the rows that have it."""
    found = {key: [row[key] for row in rows if row.get(key) is not None] for key in keys}
    return {key: round(statistics.median(values), 4) for key, values in found.items() if values}
