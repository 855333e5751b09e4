"""The figures that a host's row in fleet.json has: medians over the processes, starts or loads of its result."""

from __future__ import annotations

import math
from typing import Any

from probe_agent.arms import A_A, CONTROL

from .run_folder import Measurement
from .sections import allocators, bandwidth, batching, kv, load, serving
from .statistics import median

SERVING_KEYS = ("ready_s", "first_ttft_s", "next_ttft_s")
LOAD_KEYS = ("load_s", "first_token_s", "wall_real_s", "rss_mb", "anon_huge_mb")
ARM_KEYS = ("gen_latency_s", "wall_real_s", "rss_mb", "anon_huge_mb")


def of(measurement: Measurement) -> dict[str, float]:
    """Return the figures by name, without those that were not measured."""
    groups = [(cache, load.of_cache(measurement, cache), LOAD_KEYS) for cache in load.CACHES]
    groups += [(arm, _rows(measurement, arm), ARM_KEYS) for arm in allocators.arms(measurement)]
    started = serving.starts(measurement)
    groups += [(cache, [row for row in started if row["cache"] == cache], SERVING_KEYS) for cache in load.CACHES]
    found = {f"{name}_{key}": median(rows, key) for name, rows, keys in groups for key in keys}
    found |= {**_batching(measurement), **_kv(measurement), **_bandwidth(measurement)}
    return {name: round(value, 4) for name, value in found.items() if value is not None and math.isfinite(value)}


def _rows(measurement: Measurement, arm: str) -> list[dict[str, Any]]:
    """Return an arm's processes; the control's are those of both its names, as in a certificate."""
    names = (CONTROL, A_A) if arm == CONTROL else (arm,)
    return [row for name in names for row in allocators.of_arm(measurement, name)]


def _batching(measurement: Measurement) -> dict[str, float | None]:
    found = batching.loads(measurement) if measurement.samples("batching") else []
    where = batching.saturates(found)
    return {
        **{f"{mode}_tokens_per_s": batching.rate(batching.of_mode(found, mode)) for mode in batching.MODES},
        "batching_gain": batching.gain(found),
        "saturation_concurrency": where and where.concurrency,
    }


def _kv(measurement: Measurement) -> dict[str, float | None]:
    line = kv.line(measurement)
    return {
        "kv_capacity_tokens": kv.capacity_tokens(measurement),
        "kv_bytes_per_token": line and line.bytes_per_token,
    }


def _bandwidth(measurement: Measurement) -> dict[str, float | None]:
    return {f"{measure}_gib_per_s": bandwidth.slowest(measurement, measure) for measure in bandwidth.HEADLINES}
