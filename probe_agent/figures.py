"""The figures by which a node is judged before it gets work: those of a quick run, by the names of a certificate.

`reports/headlines.py` gives a certificate its figures with the statistics of the controller; this needs the standard
library alone, and a test holds the two together.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator
from typing import Any

from .arms import A_A, CONTROL
from .loose import figure, mapping, mappings

GIB = 1 << 30
# What a node must not do worse. First starts fault in libraries, so a cold process is judged by what it reads.
OF_LOADS = {"cold": ("load_s", "weights_s"), "warm": ("load_s", "first_token_s", "rss_mb")}
OF_PROCESSES = ("gen_latency_s", "gen_warm_latency_s", "pin_s", "rss_mb")
MOVEMENTS = (
    "pinned_alloc",
    "h2d_pinned",
    "d2h_pinned",
    "h2d_pageable",
    "d2h_pageable",
    "first_touch",
    "read_cold",
    "read_warm",
)
DRIFT = "generation_rss_drift_mb"
COLD = ("cold_", "read_cold_")  # figures that mean nothing where the page cache was not emptied
TIMELESS = (DRIFT, "_rss_mb")  # figures that a busy node does not make worse
OF_PROBES = {
    "load": tuple(f"{cache}_{key}" for cache, keys in OF_LOADS.items() for key in keys),
    "allocator": tuple(f"{CONTROL}_{key}" for key in OF_PROCESSES),
    "bandwidth": (*(f"{measure}_gib_per_s" for measure in MOVEMENTS), DRIFT),
}
NAMES = tuple(itertools.chain.from_iterable(OF_PROBES.values()))


def of(result: dict[str, Any]) -> dict[str, float]:
    """Return the figures that a result has, medians over its processes."""
    return {name: statistics.median(values) for name, values in _values(result) if values}


def expected(result: dict[str, Any]) -> list[str]:
    """Return the figures of the probes that finished: those of one that did not are no loss of their own."""
    finished = [names for probe, names in OF_PROBES.items() if _part(result, probe).get("status") == "ok"]
    return list(itertools.chain.from_iterable(finished))


def samples(result: dict[str, Any], probe: str) -> list[dict[str, Any]]:
    return mappings(_part(result, probe).get("samples"))


def evidence(result: dict[str, Any], probe: str) -> dict[str, Any]:
    return mapping(_part(result, probe).get("evidence"))


def _part(result: dict[str, Any], probe: str) -> dict[str, Any]:
    return mapping(mapping(result.get("probes")).get(probe))


def _values(result: dict[str, Any]) -> Iterator[tuple[str, list[float]]]:
    loads = samples(result, "load")
    for cache, keys in OF_LOADS.items():
        for key in keys:
            yield f"{cache}_{key}", _known(row.get(key) for row in loads if row.get("cache") == cache)
    controls = [row for row in samples(result, "allocator") if row.get("arm") in (CONTROL, A_A)]
    for key in OF_PROCESSES:
        yield f"{CONTROL}_{key}", _known(row.get(key) for row in controls)
    moved = samples(result, "bandwidth")
    for measure in MOVEMENTS:
        yield f"{measure}_gib_per_s", _rates([row for row in moved if row.get("measure") == measure])
    steady = mapping(evidence(result, "bandwidth").get("generation"))
    yield DRIFT, _known([steady.get("rss_drift_mb")])


def _known(values: Any) -> list[float]:
    return [value for value in map(figure, values) if value is not None]


def _rates(rows: list[dict[str, Any]]) -> list[float]:
    """Return GiB/s of the largest size; of several GPUs, those of the slowest."""
    by_device: dict[tuple[float, str], list[float]] = {}
    for row in rows:
        size, seconds = figure(row.get("bytes")) or 0, figure(row.get("seconds")) or 0
        if size > 0 and seconds > 0 and row.get("advice", "none") in ("", "none"):
            by_device.setdefault((size, str(row.get("gpu", ""))), []).append(size / GIB / seconds)
    largest = max((size for size, _ in by_device), default=0)
    of_largest = [_known(rates) for (size, _), rates in by_device.items() if size == largest]
    return min(filter(None, of_largest), key=statistics.median, default=[])
