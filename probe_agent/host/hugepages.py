"""Pools of explicit huge pages, per page size and NUMA node.

Source: Documentation/admin-guide/mm/hugetlbpage.rst of the Linux kernel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from . import knobs, meminfo, persist, tuned_merge, tuning
from .boot import GRUB_FILE, has_grubby
from .files import OwnedFile
from .knobs import Change
from .source import POOLS

NODES = "sys/devices/system/node"
USUAL_KB = 2048
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
class PoolWish:
    """A pool the operator asks for: either `count` pages or `percent` of the memory.

    `overcommit` is how many pages more the kernel may hand out of free memory. `at_boot` reserves the pool by the
    kernel command line: pages of 1 GiB are hard to find later.
    """

    size_kb: int | None = None
    count: int | None = None
    percent: float | None = None
    numa_node: int | None = None
    overcommit: int | None = None
    at_boot: bool = False


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


def plan(wanted: list[PoolWish], persists: bool, merges: bool = False, root: Path = Path("/")) -> tuning.Plan:
    """Return what is owed for the pools `wanted`; a pool that is not named stays. `merges` adds a TuneD profile.

    Raises ValueError for a pool this kernel does not have, a negative one, or more than the memory that is available.
    """
    default_kb, found = meminfo.default_page_kb(root), read(root)
    wished = wishes(found, wanted, default_kb, meminfo.read(root))
    kept = tuning.present(wished, root) if persists else []
    by_sysctl = {wish.path: _sysctl_of(wish, default_kb) for wish in kept}
    owned = {
        **persist.sysctl("hugepages", [wish for wish in by_sysctl.values() if wish]),
        **persist.tmpfiles("hugepages", [wish for wish in kept if not by_sysctl[wish.path]]),
        **_boot_file(boot_words(wanted, default_kb) if persists else "", root),
    }
    if merges:
        owned.update(tuned_merge.file("hugepages", [by_sysctl[wish.path] or wish for wish in kept]))
    planned = tuning.plan(wished, owned, persists, root)
    spared = [_spared(change, found) for change in planned.changes]
    return replace(planned, changes=[change for change in spared if change.after != change.before])


def wishes(
    found: list[Pool], wanted: list[PoolWish], default_kb: int | None, memory: dict[str, int]
) -> list[tuning.Wish]:
    """Return how many pages each pool and its overcommit shall have. `memory` is /proc/meminfo in kB."""
    named, room_kb = [], memory["MemAvailable"]
    for number, wish in enumerate(wanted):
        variable = f"hugepages_pools[{number}]"
        pool = _pool_of(variable, found, wish, default_kb)
        if wish.overcommit is not None:
            if wish.overcommit < 0 or wish.numa_node is not None:
                raise ValueError(
                    f"{variable} has overcommit {wish.overcommit}, and must have 0 or more pages and no numa_node"
                )
            path = pool.path.replace("/nr_hugepages", "/nr_overcommit_hugepages")
            named.append(tuning.Wish(f"{variable}.overcommit", path, str(wish.overcommit)))
            if wish.count is None and wish.percent is None:
                continue
        pages = _pages(variable, wish, pool, memory)
        most = pool.total + room_kb // pool.size_kb
        if pages > max(most, pool.total):
            raise ValueError(
                f"{variable} is {pages} pages of {pool.name} ({pages * pool.size_kb >> 10} MiB), and must be at most "
                f"{most}: this node has {room_kb >> 10} MiB of memory available"
            )
        if wish.at_boot and wish.numa_node is not None:
            raise ValueError(f"{variable} has at_boot and numa_node {wish.numa_node}, and must have one of them")
        room_kb -= (pages - pool.total) * pool.size_kb
        named.append(tuning.Wish(variable, pool.path, str(pages)))
    return named


def await_boot(rows: list[tuning.Row], wanted: list[PoolWish], untold: bool = False) -> list[tuning.Row]:
    """Return the rows with those marked whose pool the next boot brings: that is no deviation.

    It brings none where the boot loader is `untold`.
    """
    at_boot = {f"hugepages_pools[{number}]" for number, wish in enumerate(wanted) if wish.at_boot}
    return [_awaiting(row, untold) if row.variable in at_boot else row for row in rows]


def _awaiting(row: tuning.Row, untold: bool) -> tuning.Row:
    persisted = row.persisted and not untold
    return replace(row, persisted=persisted, pending_reboot=bool(persisted) and row.actual != row.desired)


def held(pool: Pool) -> int:
    """Return the pages that processes hold or have been promised, less those they got as surplus."""
    return pool.total - pool.free + (pool.reserved or 0) - pool.surplus


def _spared(change: Change, found: list[Pool]) -> Change:
    """Shrink a pool no further than to the pages in use."""
    used = next((held(pool) for pool in found if pool.path == change.path), 0)
    return replace(change, after=str(max(int(change.after), used)))


def _sysctl_of(wish: tuning.Wish, default_kb: int | None) -> tuning.Wish | None:
    """Return the wish as a sysctl, which only the pools of the default size have."""
    folder, _, name = wish.path.rpartition("/")
    if folder != f"{POOLS}/hugepages-{default_kb}kB":
        return None
    return replace(wish, path=f"proc/sys/vm/{name}")


def boot_words(pools: list[PoolWish], default_kb: int | None) -> str:
    """Return what the kernel command line says of the pools that are wanted at boot."""
    wanted = [pool for pool in pools if pool.at_boot]
    return " ".join(f"hugepagesz={pool.size_kb or default_kb}K hugepages={pool.count}" for pool in wanted)


def _boot_file(words: str, root: Path) -> dict[str, OwnedFile | None]:
    body = f'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX {words}"\n'
    return {GRUB_FILE: OwnedFile(GRUB_FILE, body) if words and not has_grubby(root) else None}


def _pool_of(variable: str, found: list[Pool], wish: PoolWish, default_kb: int | None) -> Pool:
    size_kb = wish.size_kb or default_kb or USUAL_KB
    if not found:  # planning skips what the kernel has no file for
        return Pool(size_kb, 0, 0, 0, numa_node=wish.numa_node)
    for pool in found:
        if (pool.size_kb, pool.numa_node) == (size_kb, wish.numa_node):
            return pool
    sizes = ", ".join(str(pool.size_kb) for pool in found if pool.numa_node is None)
    nodes = ", ".join(sorted({str(pool.numa_node) for pool in found if pool.numa_node is not None})) or "none"
    raise ValueError(
        f"{variable} is of size_kb {size_kb} on numa_node {wish.numa_node}, and must be of a size ({sizes}) "
        f"and on a NUMA node ({nodes}) that this node has"
    )


def _pages(variable: str, wish: PoolWish, pool: Pool, memory: dict[str, int]) -> int:
    if (wish.count is None) == (wish.percent is None):
        raise ValueError(f"{variable} must say either count or percent")
    if wish.count is not None:
        if wish.count < 0:
            raise ValueError(f"{variable} has count {wish.count}, and must be 0 or more pages")
        return wish.count
    if wish.at_boot:
        raise ValueError(f"{variable} has percent {wish.percent:g} and at_boot, and must say count for a pool at boot")
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
