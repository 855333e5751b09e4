"""Generation latency under glibc's malloc and under every lever of the campaign: tier 2A of the labs.

Where there is a GPU, each process pins a fixed amount of memory when all else is measured, for the levers that speed
that up; it is given back before the process is read, and its time is no part of `wall_real_s`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..arms import ARMS, Arm
from ..bench import Bench, stack
from ..clock import PROCESSES, SETTINGS, SETTLE
from ..host import meminfo, pressure
from ..host.proof import Pinned
from . import campaign, medians

NEW_TOKENS = 64
GENERATIONS = 2  # the first pays for warm-up as in the labs, the second does not
PIN_MB = 1024


def rows(bench: Bench) -> Iterator[dict[str, Any]]:
    """Yield a row per process: `gen_latency_s` for the first 64 tokens, `gen_warm_latency_s` for 64 more."""
    arms = campaign.plan(bench.spec.compared, stack()).arms
    done: list[dict[str, Any]] = []
    with campaign.Loans(Path(bench.spec.state_dir)) as settings:
        for number, drawn in enumerate(campaign.blocks(arms, bench.spec.repeats, bench.spec.seed)):
            block = [arm for arm in drawn if campaign.promising(arm, done)]
            bench.progress.expect(len(done) + len(block) * (bench.spec.repeats - number))
            for position, arm in enumerate(block):
                bench.progress.step(f"{arm.name}, block {number + 1} of {bench.spec.repeats}")
                sample = _sample(bench, arm, settings)
                sample.row.update(block=number, position=position)
                campaign.judge(sample)
                done.append(sample.row)
                yield sample.row


def _sample(bench: Bench, arm: Arm, settings: campaign.Loans) -> campaign.Sample:
    spent_s = bench.clock.read()
    with bench.clock.of(SETTLE):
        calm = campaign.settle(campaign.patience(spent_s[PROCESSES], spent_s[SETTLE]))
    before, free_before = pressure.read(), _pool_free()
    with bench.clock.of(SETTINGS), settings.of(arm) as left:
        row, done = bench.process(arm, NEW_TOKENS, GENERATIONS, PIN_MB)
    reply = done.reply
    pinned = Pinned(**reply["pinned"]) if reply["pinned"] else None
    share = reply["modules_uncompiled"] / reply["modules"] if reply["modules"] else None
    proof = replace(done.proof, pinned=pinned, uncompiled_share=share)
    first, warm = reply["generation_latencies_s"]
    row = {
        **row,
        "wall_real_s": row["wall_real_s"] - (pinned.took_s if pinned else 0),
        "gen_latency_s": first,
        "gen_warm_latency_s": warm,
        "prompt_tokens": reply["prompt_tokens"],
        "new_tokens": reply["new_tokens"],
        "pin_s": pinned.seconds if pinned else None,
        "pinned": reply["pinned"],
        "modules": reply["modules"],
        "modules_uncompiled": reply["modules_uncompiled"],
        "numa_policy": proof.numa_policy,
        "hugepages_free": None
        if free_before is None
        else {"before": free_before, "during": proof.pool_free, "after": _pool_free()},
        "node": {**pressure.during(before, pressure.read()), "thp_enabled": proof.thp_mode or None, "calm": calm},
        "left": left,
        "engaged": None,
    }
    return campaign.Sample(arm, row, proof)


def _pool_free() -> int | None:
    """Return the free pages of the default pool, or None where there is none."""
    memory = meminfo.read()
    return memory["HugePages_Free"] if memory.get("HugePages_Total") else None


def evidence(samples: list[dict[str, Any]], bench: Bench) -> dict[str, Any]:
    """Return, per arm, how many processes used the lever and how that is told, or why it did not run."""
    found: dict[str, Any] = {}
    for row in samples:
        arm = ARMS[row["arm"]]
        entry = found.setdefault(
            arm.name,
            {
                "what": arm.what,
                "needs": arm.needed,
                "proof": arm.proof,
                "undone": arm.undone,
                "processes": 0,
                "engaged": 0,
                "mapped": [],
            },
        )
        entry["processes"] += 1
        entry["engaged"] += row["engaged"] is True
        entry["mapped"] = sorted({*entry["mapped"], *row["allocators"]})
    return {
        "arms": found,
        "skipped_arms": campaign.plan(bench.spec.compared, stack()).skipped,
        "seed": bench.spec.seed,
        "order": orders(samples),
        "left": [sentence for row in samples for sentence in row["left"]],
    }


def orders(samples: list[dict[str, Any]]) -> list[list[str]]:
    """Return the arms of each block in the order in which they ran."""
    return [
        [row["arm"] for row in sorted(samples, key=lambda row: row["position"]) if row["block"] == block]
        for block in sorted({row["block"] for row in samples})
    ]


def headline(samples: list[dict[str, Any]]) -> dict[str, float]:
    """Return medians per arm, as `jemalloc_gen_latency_s`."""
    return {
        f"{arm}_{key}": value
        for arm in dict.fromkeys(row["arm"] for row in samples)
        for key, value in medians(
            [row for row in samples if row["arm"] == arm], "gen_latency_s", "wall_real_s", "rss_mb"
        ).items()
    }
