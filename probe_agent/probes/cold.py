"""Cold and warm page cache: how a node is put into either, and whether it was."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..host import pagecache
from ..spec import Spec

EVICTED_SHARE = 0.01  # of the pages may stay resident before a load is no longer called cold


def prepare(cache: str, files: list[Path], spec: Spec) -> None:
    """Bring the model's files into the page cache (`warm`) or out of it (`cold`), all files where `spec` allows."""
    if cache == "warm":
        pagecache.warm(files)
    elif spec.drop_caches:
        pagecache.drop_all()
    else:
        pagecache.evict(files)


def evidence(samples: list[dict[str, Any]], spec: Spec) -> dict[str, Any]:
    """Return what cold meant, and whether everything that `cache` calls cold began so."""
    return {
        "cold_means": "whole page cache dropped" if spec.drop_caches else "model files evicted, libraries warm",
        "eviction_worked": worked(row for row in samples if row["cache"] == "cold"),
    }


def worked(rows: Iterable[dict[str, Any]]) -> bool:
    """Tell whether each of these began with the model's files out of the page cache."""
    return all(row["resident_pages_at_start"] <= EVICTED_SHARE * row["pages"] for row in rows)
