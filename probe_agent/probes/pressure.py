"""What a squeezed page cache costs: warm loads that find a part of the model's files resident, and no more.

A process in a cgroup of its own reads the files, so that their pages are charged there, and then squeezes them by a
balloon down to the room that the level leaves. The load itself runs outside of the cgroup, where the limit can neither
slow nor kill it: what it reads anew is charged elsewhere, and it pays for just what it did not find. Cache and balloon
together stand under one hard limit, at most a quarter of what the node has available. Libraries stay warm.

A cold load of the load probe has found nothing of the model, a warm one all of it: where that was measured in the same
run, only the levels between are run here.
"""

from __future__ import annotations

import math
import mmap
import os
import random
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import models
from ..arms import ARMS, CONTROL
from ..bench import Bench, Skipped
from ..clock import PAGE_CACHE, SQUEEZE
from ..engines import balloon
from ..engines.balloon import Balloon
from ..host import cgroup, meminfo, pagecache
from . import medians
from .load import LOAD_STAGES

FULL, HALF, NONE = 1.0, 0.5, 0.0
LEVELS = FULL, HALF, NONE  # the room left for the model's files, as a share of them; full is the control of every block
BETWEEN = 3  # blocks of the level between ends that load has measured: they draw a line, it tells if that is straight
OF_LOAD = {"warm": FULL, "cold": NONE}  # which level each cache state of the load probe is
BOUND_SHARE = 0.25  # of MemAvailable, for the page cache and the balloon together
FLOOR_SHARE = 0.25  # of MemAvailable at the start: the balloon lets go below
LEAST_PRESSED = 0.25  # of the model; less of it would show nothing
LEAST_SPREAD = 0.25  # of the resident shares in a block: a line through points closer than that tells nothing
FOLLOWS_WITHIN = 0.1  # of the model: what a level leaves resident may exceed its room by that much
MIB = 1 << 20

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """`pressed_bytes` of the model stand in the cgroup; on a node with little memory that is a part of it."""

    pressed_bytes: int
    floor_kb: int


def plan(model_bytes: int, available_kb: int) -> Plan:
    """Return how much of the model can be squeezed. Raises Skipped where that is too little to show anything."""
    pressed = min(model_bytes, balloon.fitting(int(BOUND_SHARE * available_kb) << 10))
    if pressed < LEAST_PRESSED * model_bytes:
        raise Skipped(
            f"the model has {model_bytes // MIB} MiB, and a quarter of the {available_kb >> 10} MiB available on this "
            "node is too little to squeeze enough of it"
        )
    return Plan(pressed, int(FLOOR_SHARE * available_kb))


def rows(bench: Bench) -> Iterator[Row]:
    """Yield a row per process: `level` is the room left, `resident_share_at_start` what that left of the files."""
    if bench.spec.profile == "quick":
        raise Skipped("profile quick squeezes no page cache")
    try:
        hierarchy = cgroup.find()
    except ValueError as reason:
        raise Skipped(str(reason)) from None
    files = models.files(bench.model)
    model_bytes = sum(file.stat().st_size for file in files)
    planned = plan(model_bytes, meminfo.read()["MemAvailable"])
    order = random.Random(bench.spec.seed)
    # Cold may have been more than the model's files, and what cannot be squeezed in whole has other ends.
    known = [] if bench.spec.drop_caches or planned.pressed_bytes < model_bytes else ends(bench, planned)
    levels = tuple(level for level in LEVELS if level not in {row["level"] for row in known})
    blocks = min(bench.spec.repeats, BETWEEN) if known else bench.spec.repeats
    bench.progress.expect(blocks * len(levels))
    with cgroup.limited(balloon.limit(planned.pressed_bytes), hierarchy) as group:
        try:
            for block in range(blocks):
                for position, level in enumerate(order.sample(levels, len(levels))):
                    bench.progress.step(f"room for {100 * level:.0f} % of the model, block {block + 1} of {blocks}")
                    job = balloon.Job(
                        group=str(group),
                        version=hierarchy.version,
                        files=tuple(map(str, files)),
                        pressed_bytes=planned.pressed_bytes,
                        room_bytes=int(level * planned.pressed_bytes),
                        floor_kb=planned.floor_kb,
                    )
                    yield {
                        "level": level,
                        "block": block,
                        "position": position,
                        "taken_from": "",
                        **_sample(bench, files, job),
                    }
        finally:
            pagecache.evict(files)  # or their pages would keep the removed cgroup in the kernel's memory
    yield from known


def ends(bench: Bench, planned: Plan) -> list[Row]:
    """Return the processes of the load probe as rows at both ends, none where it did not measure every pair."""
    taken = bench.measured("load")
    if len(taken) < bench.spec.repeats * len(OF_LOAD):
        return []
    pressed_mb = _mb(planned.pressed_bytes)
    unknown = dict.fromkeys(("position", "balloon_mb", "limit_mb", "available_before_mb", "available_lowest_mb"))
    return [
        {
            **row,
            **unknown,
            "level": OF_LOAD[row["cache"]],
            "block": row["pair"],
            "resident_share_at_start": round(row["resident_pages_at_start"] / row["pages"], 4),
            "pressed_mb": pressed_mb,
            "room_mb": OF_LOAD[row["cache"]] * pressed_mb,
            "taken_from": "load",
        }
        for row in taken
    ]


def _sample(bench: Bench, files: list[Path], job: balloon.Job) -> Row:
    with bench.clock.of(PAGE_CACHE):
        pagecache.evict(files)
        pagecache.warm(files, start=job.pressed_bytes)
    available_kb = meminfo.read()["MemAvailable"]
    with bench.clock.of(SQUEEZE), Balloon(job, bench.deadline) as held:
        start = pagecache.residency(files)
        row, _ = bench.process(ARMS[CONTROL], new_tokens=1, generations=0)
        lowest_kb = held.release()
    return {
        **row,
        "load_s": sum(row[stage] for stage in LOAD_STAGES),
        "pages": start.pages,
        "resident_pages_at_start": start.resident_pages,
        "resident_share_at_start": round(start.share, 4),
        "pressed_mb": _mb(job.pressed_bytes),
        "room_mb": _mb(job.room_bytes),
        "balloon_mb": _mb(held.bytes),
        "limit_mb": _mb(balloon.limit(job.pressed_bytes)),
        "available_before_mb": available_kb >> 10,
        "available_lowest_mb": lowest_kb >> 10,
    }


def slopes(samples: list[Row]) -> list[float]:
    """Return, per block, by how much log(load_s) rises from all of the model resident to nothing of it.

    A line by least squares within the block, so that a node which slows down between blocks changes nothing.
    """
    found = []
    for block in sorted({row["block"] for row in samples}):
        points = [
            (1 - row["resident_share_at_start"], math.log(row["load_s"]))
            for row in samples
            if row["block"] == block and row["load_s"] > 0
        ]
        shares = [missing for missing, _ in points]
        if shares and max(shares) - min(shares) >= LEAST_SPREAD:
            found.append(statistics.linear_regression(*zip(*points, strict=True)).slope)
    return found


def followed(row: Row) -> bool:
    """Tell whether no more stayed resident than the room: pages that another process has mapped cannot be squeezed.

    The limit's slack is room as well, for a small model a tenth of it.
    """
    pressed_pages = (row["pressed_mb"] - row["room_mb"] - balloon.SLACK_BYTES / MIB) * MIB / mmap.PAGESIZE
    return row["resident_pages_at_start"] <= (1 + FOLLOWS_WITHIN) * row["pages"] - pressed_pages


def evidence(samples: list[Row], bench: Bench, root: Path = Path("/")) -> dict[str, Any]:
    """Return how residency follows the room, what it rests on, and that nothing of it is left on the node."""
    model_mb = _mb(sum(file.stat().st_size for file in models.files(bench.model)))
    pressed_mb, rises = samples[0]["pressed_mb"], slopes(samples)
    lowest = [row["available_lowest_mb"] for row in samples if row["available_lowest_mb"] is not None]
    return {
        "levels": [
            {"level": level, "processes": len(of_level(samples, level)), **_medians(of_level(samples, level))}
            for level in sorted({row["level"] for row in samples}, reverse=True)
        ],
        "squeeze_worked": all(map(followed, samples)),
        "log_load_per_missing_share": round(statistics.fmean(rises), 4) if rises else None,
        "model_mb": model_mb,
        "pressed_mb": pressed_mb,
        "partly": "" if pressed_mb >= model_mb else _partly(pressed_mb, model_mb),
        "cgroup_version": cgroup.find(root).version,
        "limit_mb": samples[0]["limit_mb"],
        "available_before_mb": samples[0]["available_before_mb"],
        "available_lowest_mb": min(lowest),
        "load_runs": "outside of the cgroup: what it reads anew is not squeezed",
        "left": [f"cgroup {group} is still there" for pid, group in cgroup.left(root).items() if pid == os.getpid()],
    }


def _medians(rows: list[Row]) -> dict[str, float]:
    return medians(rows, "resident_share_at_start", "load_s", "balloon_mb")


def _partly(pressed_mb: float, model_mb: float) -> str:
    return (
        f"{pressed_mb:.0f} of the model's {model_mb:.0f} MiB were squeezed, the rest was left in the page cache: more "
        "would be over a quarter of the memory available"
    )


def of_level(samples: list[Row], level: float) -> list[Row]:
    return [row for row in samples if row["level"] == level]


def headline(samples: list[Row]) -> dict[str, float]:
    """Return median loads at full, half and no room, and how many times as long a load takes with nothing resident."""
    named = {"full": FULL, "half": HALF, "none": NONE}
    figures = {
        f"load_at_{name}_s": value
        for name, level in named.items()
        for value in medians(of_level(samples, level), "load_s").values()
    }
    rises = slopes(samples)
    if rises:
        figures["load_squeezed_ratio"] = round(math.exp(statistics.fmean(rises)), 3)
    return figures


def _mb(size: int) -> float:
    return round(size / MIB, 1)
