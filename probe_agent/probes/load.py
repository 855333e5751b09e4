"""Cold and warm load of the model: tier 1 of the labs.

*Cold* means that the model's files are out of the page cache; Python and its libraries stay warm, unless the operator
allowed the whole cache to be dropped. What was resident before and after is in every row. A cold and a warm process
make a pair, and pairs follow each other, so that a machine which slows down slows both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import models
from ..arms import ARMS, CONTROL
from ..bench import Bench
from ..clock import PAGE_CACHE
from ..host import pagecache
from . import cold, medians

LOAD_STAGES = ("tokenizer_s", "weights_s", "to_device_s", "first_token_s")


def rows(bench: Bench) -> Iterator[dict[str, Any]]:
    """Yield a row per process: `cache` is cold or warm, `load_s` runs from imported libraries to the first token."""
    files = models.files(bench.model)
    bench.progress.expect(2 * bench.spec.repeats)
    for pair in range(bench.spec.repeats):
        for cache in ("cold", "warm"):
            bench.progress.step(f"{cache} load {pair + 1} of {bench.spec.repeats}")
            with bench.clock.of(PAGE_CACHE):
                before = pagecache.residency(files)
                cold.prepare(cache, files, bench.spec)
                after = pagecache.residency(files)
            row, _ = bench.process(ARMS[CONTROL], new_tokens=1, generations=0)
            yield {
                "pair": pair,
                "cache": cache,
                **row,
                "load_s": sum(row[stage] for stage in LOAD_STAGES),
                "pages": after.pages,
                "resident_pages_before": before.resident_pages,
                "resident_pages_at_start": after.resident_pages,
            }


def evidence(samples: list[dict[str, Any]], bench: Bench) -> dict[str, Any]:
    """Return whether every cold load really started with the model's files out of the page cache."""
    return {
        **cold.evidence(samples, bench.spec),
        "model_mb": round(sum(path.stat().st_size for path in models.files(bench.model)) / 2**20, 1),
    }


def headline(samples: list[dict[str, Any]]) -> dict[str, float]:
    """Return medians per cache state, as `cold_load_s`."""
    keys = ("load_s", "wall_real_s", "first_token_s", "rss_mb", "vsz_mb", "pss_mb", "anon_huge_mb", "minor_faults")
    return {
        f"{cache}_{key}": value
        for cache in ("cold", "warm")
        for key, value in medians([row for row in samples if row["cache"] == cache], *keys).items()
    }
