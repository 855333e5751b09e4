"""Pools of explicit huge pages, per page size and NUMA node.

Source: Documentation/admin-guide/mm/hugetlbpage.rst of the Linux kernel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from . import knobs, meminfo
from .knobs import Change

POOLS = "sys/kernel/mm/hugepages"
NODES = "sys/devices/system/node"
SIZE = re.compile(r"hugepages-(\d+)kB$")


@dataclass(frozen=True)
class Pool:
    """One page size on the whole node (`numa_node` None) or on one NUMA node. Counts are pages."""

    size_kb: int
    total: int
    free: int
    surplus: int
    reserved: int | None = None
    overcommit: int | None = None
    numa_node: int | None = None

    @property
    def path(self) -> str:
        """The file whose number of pages can be set."""
        where = POOLS if self.numa_node is None else f"{NODES}/node{self.numa_node}/hugepages"
        return f"{where}/hugepages-{self.size_kb}kB/nr_hugepages"

    @property
    def name(self) -> str:
        return f"{self.size_kb} kB" + ("" if self.numa_node is None else f" on NUMA node {self.numa_node}")


@dataclass(frozen=True)
class Wish:
    """A pool the operator asks for: either `count` pages or `percent` of the memory."""

    size_kb: int | None = None
    count: int | None = None
    percent: float | None = None
    numa_node: int | None = None


def read(root: Path = Path("/")) -> list[Pool]:
    """Return the pools under `root`, the node's before those of its NUMA nodes. Empty without hugetlb in the kernel."""
    pools = _read_folder(root / POOLS, None)
    for node in sorted((root / NODES).glob("node[0-9]*"), key=lambda path: int(path.name[4:])):
        pools += _read_folder(node / "hugepages", int(node.name[4:]))
    return pools


def _read_folder(folder: Path, numa_node: int | None) -> list[Pool]:
    pools = []
    for entry in folder.glob("hugepages-*kB"):
        counts = {
            name: int((entry / name).read_text())
            for name in (
                "nr_hugepages",
                "free_hugepages",
                "surplus_hugepages",
                "resv_hugepages",
                "nr_overcommit_hugepages",
            )
            if (entry / name).exists()  # a NUMA node's pool has only the first three
        }
        pools.append(
            Pool(
                size_kb=int(SIZE.search(entry.name).group(1)),
                total=counts["nr_hugepages"],
                free=counts["free_hugepages"],
                surplus=counts["surplus_hugepages"],
                reserved=counts.get("resv_hugepages"),
                overcommit=counts.get("nr_overcommit_hugepages"),
                numa_node=numa_node,
            )
        )
    return sorted(pools, key=lambda pool: pool.size_kb)


def default_size_kb(root: Path = Path("/")) -> int | None:
    """Return the page size that vm.nr_hugepages speaks of."""
    return meminfo.read(root).get("Hugepagesize")


def plan(found: list[Pool], wishes: list[Wish], default_kb: int | None, memory: dict[str, int]) -> list[Change]:
    """Return the writes that turn `found` into `wishes`.

    `memory` is /proc/meminfo in kB. Raises ValueError for a pool this kernel does not have, a negative one, or more
    than the memory that is free.
    """
    changes, room_kb = [], memory["MemAvailable"]
    for number, wish in enumerate(wishes):
        variable = f"hugepages_pools[{number}]"
        pool = _pool_of(variable, found, wish, default_kb)
        wanted = _pages(variable, wish, pool, memory)
        most = pool.total + room_kb // pool.size_kb
        if wanted > max(most, pool.total):
            raise ValueError(
                f"{variable} is {wanted} pages of {pool.name} ({wanted * pool.size_kb >> 10} MiB), and must be at most "
                f"{most}: this node has {room_kb >> 10} MiB of memory available"
            )
        room_kb -= (wanted - pool.total) * pool.size_kb
        if wanted != pool.total:
            changes.append(Change(pool.path, str(pool.total), str(wanted)))
    return changes


def _pool_of(variable: str, found: list[Pool], wish: Wish, default_kb: int | None) -> Pool:
    if not found:
        raise ValueError(f"{variable} cannot be set: this node's kernel has no hugetlb pages")
    size_kb = wish.size_kb or default_kb
    for pool in found:
        if (pool.size_kb, pool.numa_node) == (size_kb, wish.numa_node):
            return pool
    sizes = ", ".join(str(pool.size_kb) for pool in found if pool.numa_node is None)
    nodes = ", ".join(sorted({str(pool.numa_node) for pool in found if pool.numa_node is not None})) or "none"
    raise ValueError(
        f"{variable} is of size_kb {size_kb} on numa_node {wish.numa_node}, and must be of a size ({sizes}) "
        f"and on a NUMA node ({nodes}) that this node has"
    )


def _pages(variable: str, wish: Wish, pool: Pool, memory: dict[str, int]) -> int:
    if (wish.count is None) == (wish.percent is None):
        raise ValueError(f"{variable} must say either count or percent")
    if wish.count is not None:
        if wish.count < 0:
            raise ValueError(f"{variable} has count {wish.count}, and must be 0 or more pages")
        return wish.count
    if not 0 <= wish.percent <= 100:
        raise ValueError(f"{variable} has percent {wish.percent:g}, and must be between 0 and 100")
    return int(memory["MemTotal"] * wish.percent / 100) // pool.size_kb


def grant(change: Change, root: Path = Path("/")) -> str:
    """Write, and return the pages the kernel really gave: fewer than asked when memory is fragmented.

    A first short answer is followed by compaction and a second try.
    """
    given = knobs.write(change, root)
    if int(given) < int(change.after):
        (root / "proc/sys/vm/compact_memory").write_text("1")
        given = knobs.write(change, root)
    return given
