"""How long torch takes to pin memory for the GPU, and what kind of memory that turned out to be."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

from ..host import process
from ..host.proof import Pinned


def measure(mb: int) -> dict[str, float]:
    """Pin `mb` MiB once and give them back. Returns a Pinned as plain values."""
    import torch

    before = _amounts()
    began = time.perf_counter()
    held = torch.empty(mb << 20, dtype=torch.uint8, pin_memory=True)
    seconds = time.perf_counter() - began
    after = _amounts()
    del held
    torch._C._host_emptyCache()  # torch would keep it for the next one
    grown = {name: round((after[name] - before[name]) / 1024, 1) for name in after}
    return asdict(
        Pinned(
            seconds=seconds,
            took_s=time.perf_counter() - began,
            asked_mb=mb,
            anon_mb=grown["Anonymous"],
            anon_huge_mb=grown["AnonHugePages"],
            asked_huge_mb=grown["asked"],
            private_hugetlb_mb=grown["Private_Hugetlb"],
        )
    )


def _amounts() -> dict[str, int]:
    found = process.parse_kb(Path("/proc/self/smaps_rollup").read_text())
    amounts = {name: found[name] for name in ("Anonymous", "AnonHugePages", "Private_Hugetlb")}
    return {**amounts, "asked": process.asked_huge_kb()}
