"""Requests to a server as rows: how their times spread, and which of them failed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .. import figures, tables
from ..statistics import median, numbers, percentile
from ..tables import Cell, Column

TAILS = (95, 99)
NEEDED = f"A dash for too few requests: {', '.join(f'p{tail} needs {100 // (100 - tail)}' for tail in TAILS)}."


def ended(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the requests that ended as asked: the times of the others are left out everywhere."""
    return [row for row in rows if not row.get("error")]


def failures(rows: Sequence[dict[str, Any]], where: str) -> list[str]:
    """Say how many requests failed, and what was wrong with the first."""
    errors = [row["error"] for row in rows if row.get("error")]
    asked = figures.plural(len(rows), "request")
    return [f"{len(errors):,} of {asked} {where} failed, the first with: {errors[0]}"] if errors else []


def spread_columns(title: str) -> tuple[Column, ...]:
    return tuple(Column(f"{title} {name}", "ms", numeric=True) for name in ("p50", *(f"p{tail}" for tail in TAILS)))


def spread(rows: Sequence[dict[str, Any]], key: str) -> tuple[Cell, ...]:
    """Return median and tails of a time as cells."""
    values = numbers(rows, key)
    return (
        tables.milliseconds(median(rows, key)),
        *(tables.milliseconds(percentile(values, tail)) for tail in TAILS),
    )
