"""Every figure that is judged, with its unit in the key and the direction that is good."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """`key` names a sample's field, and its unit."""

    key: str
    title: str
    lower_is_better: bool = True


FIRST_GENERATION = Metric("gen_latency_s", "first generation")
IMPORTS = Metric("imports_s", "imports")
PINNING = Metric("pin_s", "pinning memory")
RESIDENT = Metric("rss_mb", "resident memory")

# Of one process of the allocator probe. A metric that a node does not have is not judged there.
ALLOCATOR_METRICS = (
    FIRST_GENERATION,
    Metric("gen_warm_latency_s", "second generation"),
    Metric("first_token_s", "first token"),
    Metric("weights_s", "weights"),
    IMPORTS,
    Metric("wall_real_s", "whole process"),
    PINNING,
    RESIDENT,
)

# What a certificate keeps of the other probes, for the next measurement to be held against.
LOAD_METRICS = (
    Metric("load_s", "load"),
    Metric("weights_s", "weights"),
    Metric("first_token_s", "first token"),
    Metric("wall_real_s", "whole process"),
    RESIDENT,
)
SERVING_METRICS = (
    Metric("ready_s", "server ready"),
    Metric("first_ttft_s", "first request"),
    Metric("next_ttft_s", "next requests"),
)
THROUGHPUT = Metric("tokens_per_s", "throughput", lower_is_better=False)
CAPACITY = Metric("capacity_tokens", "KV cache", lower_is_better=False)
RATE = Metric("gib_per_s", "rate", lower_is_better=False)
DRIFT = Metric("rss_drift_mb", "growth per repetition")


def headline(arm: str) -> Metric:
    """Return what a lever is pulled for: a page says of it first, and an advice rests on it first."""
    if arm.startswith("pinned-"):
        return PINNING
    return IMPORTS if arm.startswith("bytecode") else FIRST_GENERATION
