"""What a process and all that it started show of their levers while they live."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import knobs, meminfo, numa, process
from .process import Memory
from .source import THP


@dataclass(frozen=True)
class Pinned:
    """What pinning `asked_mb` added to the process that did it, in MiB. `took_s` includes giving it back."""

    seconds: float
    took_s: float
    asked_mb: float
    anon_mb: float
    anon_huge_mb: float
    asked_huge_mb: float
    private_hugetlb_mb: float


@dataclass(frozen=True)
class Proof:
    """`tree` is the process and its descendants, each alone.

    `thp_mode` is empty and `pool_free` (pages of the default size) None on a kernel without them. The process tells the
    rest itself: what it pinned, and which share of its modules came without bytecode.
    """

    tree: tuple[Memory, ...]
    thp_mode: str = ""
    pool_free: int | None = None
    numa_policy: str = ""
    pinned: Pinned | None = None
    uncompiled_share: float | None = None

    @property
    def anon_huge_mb(self) -> float:
        return sum(memory.anon_huge_mb for memory in self.tree)

    @property
    def asked_huge_mb(self) -> float:
        """What of it the tree asked for, and what was pinned so."""
        return sum(memory.asked_huge_mb for memory in self.tree) + (self.pinned.asked_huge_mb if self.pinned else 0)

    @property
    def private_hugetlb_mb(self) -> float:
        return sum(memory.private_hugetlb_mb for memory in self.tree)


def read(pid: int, root: Path = Path("/")) -> Proof:
    """Return what /proc shows of `pid` and its descendants. Raises OSError when `pid` has ended."""
    memories = [process.read(pid, root)]
    for child in process.descendants(pid, root):
        try:
            memories.append(process.read(child, root))
        except (FileNotFoundError, ProcessLookupError, KeyError):  # it ended meanwhile, or is ending
            continue
    mode = knobs.read(f"{THP}/enabled", root)
    return Proof(
        tree=tuple(memories),
        thp_mode=mode.value if mode else "",
        pool_free=meminfo.read(root).get("HugePages_Free"),
        numa_policy=numa.policy(pid, root),
    )


def total(tree: tuple[Memory, ...]) -> Memory:
    """Return the sum over the tree, with every allocator that any of it has mapped."""

    def summed(name: str) -> float:
        return round(sum(getattr(memory, name) for memory in tree), 1)

    return Memory(
        rss_mb=summed("rss_mb"),
        rss_peak_mb=summed("rss_peak_mb"),
        vsz_mb=summed("vsz_mb"),
        pss_mb=summed("pss_mb"),
        anon_huge_mb=summed("anon_huge_mb"),
        asked_huge_mb=summed("asked_huge_mb"),
        file_huge_mb=summed("file_huge_mb"),
        private_hugetlb_mb=summed("private_hugetlb_mb"),
        minor_faults=sum(memory.minor_faults for memory in tree),
        major_faults=sum(memory.major_faults for memory in tree),
        allocators=tuple(sorted({path for memory in tree for path in memory.allocators})),
    )
