"""What a pre-flight wants to know without a server: how fast memory, files and links are, and where they sit.

The model generates on one GPU, and on every other one that the spec names, each in a process of its own: what one of
them does worse than its neighbours is its own. Each repeat of first_touch and read is a fresh process. Copies follow
each other in one process, since what they measure is the link; so do generations, whose drift and jitter are those of a
process that goes on living.
"""

from __future__ import annotations

import itertools
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import gpu, models, placement
from ..arms import ARMS, CONTROL
from ..bench import Bench
from ..engines import fresh
from ..host import topology
from . import cold, medians

CHILD = "probe_agent.engines.bandwidth_child"
ADVICE = ("none", "hugepage", "nohugepage")  # of madvise(2); none is what processes get without asking
NEW_TOKENS = 8
GENERATIONS = 12
WARM_UP = 3  # generations that still fill caches, left out of drift and jitter
COPIES = ("h2d_pinned", "d2h_pinned", "h2d_pageable", "d2h_pageable")
PINNED_BYTES = 1 << 30  # the allocation that the headline gives
COLD_MEANS = "model files evicted from this node's page cache; caches below it (hypervisor, disk, file server) stay"

Row = dict[str, Any]


def rows(bench: Bench) -> Iterator[Row]:
    """Yield a row per measured movement and per generation; one that failed has its `error` and no bytes."""
    repeats = bench.spec.repeats
    bench.progress.expect(1 + 2 * repeats)
    bench.progress.step(f"{GENERATIONS} generations in one process")
    generations = _generations(bench)
    yield from generations
    on_gpu = generations[0]["device"] != "cpu"
    others = gpu.chosen()[1:] if bench.spec.gpus else []
    bench.progress.expect(1 + len(others) + 2 * repeats + on_gpu)
    for device in others:
        bench.progress.step(f"{GENERATIONS} generations on {device}")
        yield from _on_another(bench, device)
    order = random.Random(bench.spec.seed)
    files = [str(path) for path in models.files(bench.model)]
    for repeat in range(repeats):
        bench.progress.step(f"first touch of fresh memory {repeat + 1} of {repeats}")
        advice = order.sample(ADVICE, len(ADVICE))
        yield from _child(bench, {"measure": "first_touch", "repeat": repeat, "advice": advice})
        bench.progress.step(f"cold and warm read of the model's files {repeat + 1} of {repeats}")
        yield from _child(bench, {"measure": "read", "repeat": repeat, "files": files})
    if on_gpu:
        bench.progress.step("pinned memory, copies to each GPU and back")
        yield from _transfers(bench)


def _on_another(bench: Bench, device: str) -> list[Row]:
    """Return the generations on another GPU; should its process break, one row that says so."""
    began = time.perf_counter()
    try:
        return _generations(bench, "gpu_generation", device)
    except fresh.ProcessFailed as error:
        if time.monotonic() >= bench.deadline:
            raise
        return [_failed("gpu_generation", device, began, str(error))]


def _failed(measure: str, device: str, began: float, said: str) -> Row:
    seconds = time.perf_counter() - began
    return {
        "measure": measure,
        "repeat": 0,
        "bytes": None,
        "seconds": seconds,
        "error": said,
        **({"gpu": device} if device else {}),
    }


def _generations(bench: Bench, measure: str = "generation", device: str = "") -> list[Row]:
    process, done = bench.process(ARMS[CONTROL], NEW_TOKENS, GENERATIONS, device=device)
    taken = zip(done.reply["generation_latencies_s"], done.reply["rss_after_mb"], strict=True)
    ran_on = {"gpu": process["gpu"]} if "gpu" in process else {}
    return [
        {
            "measure": measure,
            "repeat": number,
            "bytes": None,
            "seconds": seconds,
            "rss_mb": rss_mb,
            "device": done.reply["device"],
            **ran_on,
        }
        for number, (seconds, rss_mb) in enumerate(taken)
    ]


def _transfers(bench: Bench) -> list[Row]:
    """Return the rows of the GPUs; should their process break, one row that says so: the rest stands without it."""
    began = time.perf_counter()
    try:
        return _child(bench, {"measure": "transfers", "repeats": bench.spec.repeats})
    except fresh.ProcessFailed as error:
        if time.monotonic() >= bench.deadline:
            raise
        return [_failed(COPIES[0], "", began, f"nothing was measured on any GPU: {error}")]


def _child(bench: Bench, job: dict[str, Any]) -> list[Row]:
    return bench.child(CHILD, job, ARMS[CONTROL].environment()).reply["rows"]


def evidence(samples: list[Row], bench: Bench, root: Path = Path("/")) -> dict[str, Any]:
    """Return where things sit, what the figures rest on, and in `unread` a sentence for each thing not known."""
    nodes, process, links = topology.nodes(root), topology.allowed(root), gpu.links()
    listed = gpu.listed()
    lost = [
        f"GPU {each.index} of {len(listed)} does not answer the driver: {each.lost}" for each in listed if each.lost
    ]
    divided = [each.uuid for each in listed if each.mig]
    gpus = [placement.describe(link, _copies(samples, link["uuid"]), root) for link in links]
    reads = [row for row in samples if row["measure"] == "read_cold"]
    evicted = cold.worked(reads)
    return {
        "gpus": gpus,
        "gpus_lost": lost,
        "measured_gpus": gpu.chosen(),
        "gpu_memory": gpu.occupied(),  # our own processes have ended
        "numa": {
            "nodes": [{**asdict(node), "cpus": topology.format_list(node.cpus)} for node in nodes],
            "allowed_cpus": topology.format_list(process.cpus),
            "allowed_memory_nodes": topology.format_list(process.memory_nodes),
        },
        "iommu": asdict(topology.iommu(root)),
        "first_touch": first_touch(samples),
        "cold_means": COLD_MEANS,
        "eviction_worked": evicted,
        "read_mb": round(max((row["bytes"] for row in reads), default=0) / 2**20, 1),
        "generation": steadiness(samples),
        "unread": [
            *_failures(samples),
            *lost,
            *(f"{uuid} is divided by MIG: figures of a GPU are those of a slice" for uuid in divided),
            *_silent(samples, links, nodes, divided),
            *([] if evicted else [_not_evicted(reads)]),
            *(sentence for pair in zip(links, gpus, strict=True) for sentence in placement.unread(*pair)),
        ],
    }


def _failures(samples: list[Row]) -> list[str]:
    failed = (row for row in samples if "error" in row)
    return [f"{row['measure']}{' on ' + row['gpu'] if 'gpu' in row else ''} failed: {row['error']}" for row in failed]


def _silent(
    samples: list[Row], links: list[dict[str, Any]], nodes: list[topology.Node], divided: list[str]
) -> list[str]:
    """Say of what there are no rows, although nothing failed."""
    device = next((row["device"] for row in samples if row["measure"] == "generation"), "cpu")
    sentences = []
    if not links and device == "cpu":
        sentences.append("NVML and torch see no GPU: pinned memory, copies and PCIe links were not measured")
    elif not links:
        sentences.append("NVML sees no GPU although torch uses one: its NUMA node and PCIe link are not known")
    elif device == "cpu":
        sentences.append("torch uses no GPU although NVML sees one: pinned memory and copies were not measured")
    else:
        reached = {row["gpu"] for row in samples if "gpu" in row and row["measure"] in COPIES}
        hidden = [link["uuid"] for link in links if reached and link["uuid"] not in {*reached, *divided}]
        sentences += [f"nothing was copied to {uuid}: probe_gpus or {gpu.VISIBLE} hides it" for uuid in hidden]
    if not nodes:
        sentences.append(f"this kernel has no /{topology.NODES}: its NUMA nodes are not known")
    return sentences


def _not_evicted(cold: list[Row]) -> str:
    worst = max(row["resident_pages_at_start"] / row["pages"] for row in cold)
    return f"the cold read rate is not cold: {100 * worst:.0f} % of the model's pages stayed in the page cache"


def first_touch(samples: list[Row]) -> dict[str, Row]:
    """Return, per advice, medians of what fresh memory cost and of the huge pages that came."""
    by_advice = {
        advice: [row for row in _good(samples) if row["measure"] == "first_touch" and row["advice"] == advice]
        for advice in ADVICE
    }
    return {
        advice: {"gib_per_s": _rate(chosen, 2**30), **medians(chosen, "page_faults", "anon_huge_mb")}
        for advice, chosen in by_advice.items()
        if chosen
    }


def steadiness(samples: list[Row]) -> Row:
    """Return drift and jitter over the generations after the warm-up."""
    counted = [row for row in samples if row["measure"] == "generation"][WARM_UP:]
    return {
        "warm_up": WARM_UP,
        "generations": len(counted),
        "drift_estimator": "Theil-Sen: median slope over all pairs, MiB per generation",
        "rss_drift_mb": theil_sen([row["rss_mb"] for row in counted]),
        "jitter_estimator": "interquartile range / median of the seconds",
        "jitter": spread([row["seconds"] for row in counted]),
    }


def theil_sen(values: list[float]) -> float | None:
    """Return the median slope per step over all pairs: one jump or outlier does not move it. None below two values."""
    pairs = itertools.combinations(enumerate(values), 2)
    slopes = [(later - earlier) / (end - start) for (start, earlier), (end, later) in pairs]
    return round(statistics.median(slopes), 4) if slopes else None


def spread(values: list[float]) -> float | None:
    """Return the interquartile range over the median. None below two values."""
    if len(values) < 2:
        return None
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return round((high - low) / middle, 4)


def headline(samples: list[Row]) -> dict[str, float]:
    """Return medians; of several GPUs, that of the slowest. First touch is that without advice."""
    good = _good(samples)

    def of(measure: str) -> list[Row]:
        return [row for row in good if row["measure"] == measure]

    pinned = [row for row in of("pinned_alloc") if row["bytes"] == PINNED_BYTES]
    touched = [row for row in of("first_touch") if row["advice"] == "none"]
    faults = [row["page_faults"] / row["seconds"] for row in touched]
    steady = steadiness(good)
    figures = {
        **{f"{measure}_gib_per_s": _slowest(of(measure)) for measure in COPIES},
        "pinned_alloc_s": medians(pinned, "seconds").get("seconds"),
        "first_touch_gib_per_s": _rate(touched, 2**30),
        "first_touch_faults_per_s": round(statistics.median(faults)) if faults else None,
        "read_cold_mib_per_s": _rate(of("read_cold"), 2**20),
        "read_warm_mib_per_s": _rate(of("read_warm"), 2**20),
        "generation_jitter": steady["jitter"],
        "rss_drift_mb": steady["rss_drift_mb"],
    }
    return {name: value for name, value in figures.items() if value is not None}


def _slowest(chosen: list[Row]) -> float | None:
    rates = [_rate([row for row in chosen if row["gpu"] == one], 2**30) for one in {row["gpu"] for row in chosen}]
    return min(rates, default=None)


def _copies(samples: list[Row], uuid: str) -> list[Row]:
    return [row for row in _good(samples) if row["measure"] in COPIES and row["gpu"] == uuid]


def _good(samples: list[Row]) -> list[Row]:
    return [row for row in samples if "error" not in row]


def _rate(chosen: list[Row], unit: int) -> float | None:
    rates = [row["bytes"] / unit / row["seconds"] for row in chosen]
    return round(statistics.median(rates), 3) if rates else None
