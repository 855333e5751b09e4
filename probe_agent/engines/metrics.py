"""What vLLM says of itself on /metrics, in Prometheus' text format."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

SAMPLE = re.compile(r"([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?\s*")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
ESCAPED = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


@dataclass(frozen=True)
class Sample:
    name: str
    labels: dict[str, str]
    value: float


@dataclass(frozen=True)
class Cache:
    """The KV cache that a server has; `max_concurrency` is how many sequences of the longest length fit."""

    blocks: int
    block_size: int
    tokens: int
    max_concurrency: float


def parse(text: str) -> list[Sample]:
    """Return the samples. Comments, and lines that are none, are left out."""
    matches = (SAMPLE.fullmatch(line) for line in text.splitlines() if not line.startswith("#"))
    return [Sample(m[1], _labels(m[2] or ""), float(m[3])) for m in matches if m and _is_number(m[3])]


def totals(samples: Iterable[Sample]) -> dict[str, float]:
    """Return the value of each name, summed over labels. Buckets are left out: summed they mean nothing."""
    found: dict[str, float] = {}
    for sample in samples:
        if not sample.name.endswith("_bucket"):
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def cache(samples: Iterable[Sample], max_model_len: int) -> Cache:
    """Return the KV cache by vLLM's own account; what older versions do not say follows from blocks and their size.

    Raises ValueError when there is no account of it.
    """
    labels = next((sample.labels for sample in samples if sample.name == "vllm:cache_config_info"), {})
    try:
        blocks, block_size = int(labels["num_gpu_blocks"]), int(labels["block_size"])
    except (KeyError, ValueError):
        raise ValueError("the server's /metrics does not tell its KV cache (vllm:cache_config_info)") from None
    tokens, concurrency = labels.get("kv_cache_size_tokens", ""), labels.get("kv_cache_max_concurrency", "")
    return Cache(
        blocks,
        block_size,
        tokens=int(tokens) if tokens.isdecimal() else blocks * block_size,
        max_concurrency=float(concurrency) if _is_number(concurrency) else blocks / -(-max_model_len // block_size),
    )


def _labels(text: str) -> dict[str, str]:
    return {
        name: re.sub(r"\\.", lambda each: ESCAPED.get(each[0], each[0]), value) for name, value in LABEL.findall(text)
    }


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
