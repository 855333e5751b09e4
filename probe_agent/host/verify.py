"""Every setting the inventory names, as it stands on the node: now, after a reboot, and what else sets it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from . import boot, hugepages, hugetlbfs, meminfo, mounts, persist, thp, tuning
from .sources import Source


@dataclass(frozen=True)
class Wanted:
    """`thp`, `pools` and `mounts` as the modules of these names take them; `persists`: across reboots."""

    thp: dict[str, Any] = field(default_factory=dict)
    pools: list[dict[str, Any]] = field(default_factory=list)
    mounts: list[dict[str, Any]] = field(default_factory=list)
    persists: bool = False


def rows(wanted: Wanted, found: list[Source]) -> list[tuning.Row]:
    """Return a row for each setting named. Raises ValueError or TypeError for a wish that no node could fulfil."""
    persists, default_kb = wanted.persists and not persist.missing(), meminfo.default_page_kb()
    pools = [hugepages.PoolWish(**pool) for pool in wanted.pools]
    stands = tuning.rows(thp.plan(wanted.thp, persists), found, default_kb)
    untold = boot.menu_lacks(hugepages.boot_words(pools, default_kb))
    stands += hugepages.await_boot(tuning.rows(hugepages.plan(pools, persists), found, default_kb), pools, untold)
    return stands + [_mount(hugetlbfs.MountWish(**wish), default_kb, persists, found) for wish in wanted.mounts]


def _mount(wish: hugetlbfs.MountWish, default_kb: int | None, persists: bool, found: list[Source]) -> tuning.Row:
    ours = any(row.is_mount and row.ours and row.effective and row.setting == wish.path.lstrip("/") for row in found)
    skipped = "" if default_kb else "this node's kernel has no hugetlb pages"
    return hugetlbfs.row(wish, mounts.read(), default_kb, ours if persists else None, skipped)
