"""Generation latency under glibc's malloc and under another allocator: tier 2A of the labs.

Each block runs every arm once in a fresh process, in an order drawn from the seed. The control stands in each block
twice: what the two differ by is this node's noise.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from ..arms import A_A, ARMS, CONTROL
from ..bench import Bench
from . import medians

NEW_TOKENS = 64
GENERATIONS = 2  # the first pays for warm-up as in the labs, the second does not
WANTED = (CONTROL, A_A, "jemalloc")


def rows(bench: Bench) -> Iterator[dict[str, Any]]:
    """Yield a row per process: `gen_latency_s` for the first 64 tokens, `gen_warm_latency_s` for 64 more."""
    arms = [ARMS[name] for name in WANTED if not ARMS[name].lacks()]
    bench.progress.expect(len(arms) * bench.spec.repeats)
    order = random.Random(bench.spec.seed)
    for block in range(bench.spec.repeats):
        for arm in order.sample(arms, len(arms)):
            bench.progress.step(f"{arm.name}, block {block + 1} of {bench.spec.repeats}")
            row, done = bench.process(arm, NEW_TOKENS, GENERATIONS)
            first, warm = done.reply["generation_latencies_s"]
            yield {
                "block": block,
                **row,
                "gen_latency_s": first,
                "gen_warm_latency_s": warm,
                "prompt_tokens": done.reply["prompt_tokens"],
                "new_tokens": done.reply["new_tokens"],
                "engaged": arm.engaged(done.memory),
            }


def evidence(samples: list[dict[str, Any]], _bench: Bench) -> dict[str, Any]:
    """Return, per arm, in how many of its processes the lever was in use and what was mapped, or why it did not run."""
    found: dict[str, Any] = {}
    for row in samples:
        arm = found.setdefault(row["arm"], {"processes": 0, "engaged": 0, "mapped": []})
        arm["processes"] += 1
        arm["engaged"] += row["engaged"]
        arm["mapped"] = sorted({*arm["mapped"], *row["allocators"]})
    return {"arms": found, "skipped_arms": {name: ARMS[name].lacks() for name in WANTED if ARMS[name].lacks()}}


def headline(samples: list[dict[str, Any]]) -> dict[str, float]:
    """Return medians per arm, as `jemalloc_gen_latency_s`."""
    return {
        f"{arm}_{key}": value
        for arm in WANTED
        for key, value in medians(
            [row for row in samples if row["arm"] == arm], "gen_latency_s", "wall_real_s", "rss_mb"
        ).items()
    }
