"""The process that moves memory: fresh pages, the model's files, and copies between host and GPU.

Run by `fresh.run`; the job names the measure, the reply holds its rows. Only the measure of GPUs imports torch.
"""

from __future__ import annotations

import mmap
import resource
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .. import gpu
from ..host import pagecache, process
from . import child
from .transformers_child import uuid

MIB = 1 << 20
TOUCHED_BYTES = 256 * MIB
BLOCK_BYTES = 8 * MIB
MOST_READ_BYTES = 4096 * MIB  # of a large model; more takes longer and tells no more
PINNED_BYTES = (256 * MIB, 1024 * MIB)  # powers of two: torch rounds up to one
COPIED_BYTES = 256 * MIB
COPIES = 5
ADVICE = {"none": None, "hugepage": mmap.MADV_HUGEPAGE, "nohugepage": mmap.MADV_NOHUGEPAGE}
Row = dict[str, Any]


def measure(job: dict[str, Any], _stage: Callable[[str], None]) -> dict[str, Any]:
    return {"rows": MEASURES[job["measure"]](job)}


def first_touch(job: dict[str, Any]) -> list[Row]:
    """Write one byte into every page of fresh memory, under each advice of madvise(2) in the order of the job."""
    rows = []
    for advice in job["advice"]:
        row = {"measure": "first_touch", "repeat": job["repeat"], "advice": advice}
        rows += attempt(row, lambda advice=advice: [_touch(ADVICE[advice])])
    return rows


def _touch(advice: int | None) -> Row:
    pages = TOUCHED_BYTES // mmap.PAGESIZE
    written = bytes(pages)
    with mmap.mmap(-1, TOUCHED_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        if advice is not None:
            memory.madvise(advice)
        huge_kb, faults = _anon_huge_kb(), _minor_faults()
        began = time.perf_counter()
        memory[:: mmap.PAGESIZE] = written  # a loop in C: Python's own would cost as much as the faults
        seconds = time.perf_counter() - began
        return {
            "bytes": TOUCHED_BYTES,
            "seconds": seconds,
            "page_faults": _minor_faults() - faults,
            "pages": pages,
            "anon_huge_mb": (_anon_huge_kb() - huge_kb) >> 10,
        }


def read(job: dict[str, Any]) -> list[Row]:
    """Read the model's files after they were evicted from the page cache, and once more."""
    files = [Path(name) for name in job["files"]]
    block = memoryview(bytearray(BLOCK_BYTES))
    rows = []
    pagecache.evict(files)
    for name in ("read_cold", "read_warm"):
        start = pagecache.residency(files)
        began = time.perf_counter()
        got = _read(files, block)
        seconds = time.perf_counter() - began
        rows.append(
            {
                "measure": name,
                "repeat": job["repeat"],
                "bytes": got,
                "seconds": seconds,
                "pages": start.pages,
                "resident_pages_at_start": start.resident_pages,
            }
        )
    return rows


def _read(files: list[Path], block: memoryview) -> int:
    left = MOST_READ_BYTES
    for file in files:
        with file.open("rb", buffering=0) as stream:
            while left and (got := stream.readinto(block[:left])):
                left -= got
    return MOST_READ_BYTES - left


def transfers(job: dict[str, Any]) -> list[Row]:
    """Pin memory, then copy to each GPU and back. Pinning is the host's work and is measured once, not per GPU."""
    import torch

    devices = range(torch.cuda.device_count())
    rows = pinned_allocations(torch, job["repeats"]) if devices else []
    for number in devices:
        rows += copies(torch, torch.device("cuda", number))
    return rows


def pinned_allocations(torch: Any, repeats: int) -> list[Row]:
    row = {"measure": "pinned_alloc", "gpu": uuid(torch, torch.device("cuda", 0))}
    rows = attempt({**row, "repeat": 0}, lambda: [_pin(torch, MIB)])
    if "error" in rows[0]:
        return rows
    return [  # the first one, left out, paid for CUDA's start
        each
        for size in PINNED_BYTES
        for repeat in range(repeats)
        for each in attempt({**row, "repeat": repeat}, lambda size=size: [_pin(torch, size)])
    ]


def _pin(torch: Any, size: int) -> Row:
    # Freed pinned memory stays with torch, which would hand it out again at once. Before 2.13 only the private name.
    empty_host_cache = getattr(torch.accelerator, "empty_host_cache", None) or torch._C._host_emptyCache
    empty_host_cache()
    began = time.perf_counter()
    torch.empty(size, dtype=torch.uint8, pin_memory=True)
    return {"bytes": size, "seconds": time.perf_counter() - began}


def copies(torch: Any, device: Any) -> list[Row]:
    """Copy both ways between the device and pinned and pageable memory of the host."""
    rows = []
    for memory in ("pinned", "pageable"):
        for direction in ("h2d", "d2h"):
            row = {"measure": f"{direction}_{memory}", "gpu": uuid(torch, device), "repeat": 0}
            rows += attempt(row, lambda memory=memory, direction=direction: _copy(torch, device, memory, direction))
    return rows


def _copy(torch: Any, device: Any, memory: str, direction: str) -> list[Row]:
    ends = {
        "h2d": torch.ones(COPIED_BYTES, dtype=torch.uint8, pin_memory=memory == "pinned"),  # written, so it is there
        "d2h": torch.ones(COPIED_BYTES, dtype=torch.uint8, device=device),
    }
    source = ends.pop(direction)
    (target,) = ends.values()

    def copy() -> float:
        began = time.perf_counter()
        target.copy_(source, non_blocking=True)
        torch.cuda.synchronize(device)
        return time.perf_counter() - began

    copy()
    taken_s = [copy() for _ in range(COPIES)]
    link = link_during(copy, uuid(torch, device))
    return [
        {"repeat": repeat, "bytes": COPIED_BYTES, "seconds": seconds, **link} for repeat, seconds in enumerate(taken_s)
    ]


def link_during(copy: Callable[[], float], uuid: str) -> dict[str, Any]:
    """Return the GPU's PCIe link as NVML has it while copies run: at rest it drops to a lower generation."""
    with ThreadPoolExecutor(1) as reader:
        reading = reader.submit(gpu.links)
        while not reading.done():
            copy()
    return {
        key: link[key] for link in reading.result() if link["uuid"] == uuid for key in ("pcie_generation", "pcie_width")
    }


def attempt(row: Row, work: Callable[[], list[Row]]) -> list[Row]:
    """Return what `work` measured, each with `row`'s fields, or one row with the error: the other measures go on."""
    began = time.perf_counter()
    try:
        return [{**row, **measured} for measured in work()]
    except Exception as error:  # torch raises many kinds
        said = " ".join(str(error).split()) or "without a word"
        return [
            {**row, "bytes": None, "seconds": time.perf_counter() - began, "error": f"{type(error).__name__}: {said}"}
        ]


def _minor_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _anon_huge_kb() -> int:
    return process.parse_kb(Path("/proc/self/smaps_rollup").read_text())["AnonHugePages"]


MEASURES = {"first_touch": first_touch, "read": read, "transfers": transfers}

if __name__ == "__main__":
    child.main(measure)
