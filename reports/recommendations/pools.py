"""What becomes of the reserved pools: a pool keeps its pages for a consumer that is named, or gives them back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from probe_agent.arms import ARMS
from probe_agent.settings import pool_name

from .. import figures
from ..loose import mappings, number
from ..run_folder import Measurement
from ..sections import allocators
from ..statistics import numbers
from .kinds import Basis, Recommendation
from .levers import Arm, Choice

AT_BOOT = ("command line", "boot loader")  # kinds of source


def of(measurement: Measurement, arms: Mapping[str, Arm], choice: Choice) -> Iterator[Recommendation]:
    """Say of each pool that holds pages what is to become of it. All are named, since the variable is one list.

    Where all stay as they are the inventory knows more of them than can be read here, and nothing is named.
    """
    pools = [pool for pool in _whole(measurement) if pool["total"] > 0 and pool["size_kb"] > 0]
    rows = [row for probe in measurement.probes.values() for row in probe.samples]
    if not numbers(rows, "private_hugetlb_mb"):  # nobody looked
        return
    default_kb = measurement.host_memory.get("default_hugepage_size_kb")
    sizes = {pool["size_kb"]: _size(measurement, pool, choice, pool["size_kb"] == default_kb) for pool in pools}
    wishes = {pool["size_kb"]: _wish(measurement, pool, sizes[pool["size_kb"]][0]) for pool in pools}
    wanted = [wishes[size_kb] for size_kb in sorted(wishes)]
    some_change = any(wishes[pool["size_kb"]]["count"] != pool["total"] for pool in pools)
    for pool in pools:
        count, advice, evidence = sizes[pool["size_kb"]]
        unused = [arm for arm in arms.values() if _takes_pages(arm) and arm not in choice.services]
        evidence += [f"{arm.name}, which would use it: {arm.headline.verdict}." for arm in unused]
        freed = (pool["total"] - count) * pool["size_kb"] / 1024
        yield Recommendation(
            pool_name(pool),
            advice,
            tuple(evidence),
            Basis.MEASURED,
            changes=count != pool["total"],
            variables={"hugepages_pools": wanted} if some_change else {},
            cost=f"{figures.mib(freed)} MiB go back to the page cache." if freed > 0 else "",
        )


def _whole(measurement: Measurement) -> Iterator[dict[str, Any]]:
    """Yield the pools of the node, not those of its NUMA nodes, without their surplus, which is nobody's wish."""
    for pool in mappings(measurement.host_memory.get("pools")):
        if pool.get("numa_node") is None and type(pool.get("size_kb")) is type(pool.get("total")) is int:
            surplus = pool.get("surplus")
            yield {**pool, "total": pool["total"] - (surplus if type(surplus) is int else 0)}


def _wish(measurement: Measurement, pool: dict[str, Any], count: int) -> dict[str, Any]:
    """Return a pool as the variable has it; whether it may grow and stands at boot is no matter of the advice."""
    wish = {"size_kb": pool["size_kb"], "count": count}
    if pool.get("overcommit"):
        wish["overcommit"] = pool["overcommit"]
    path = f"sys/kernel/mm/hugepages/hugepages-{pool['size_kb']}kB/nr_hugepages"
    sources = mappings(measurement.host_memory.get("sources"))
    if count and any(each.get("kind") in AT_BOOT and each.get("setting") == path for each in sources):
        wish["at_boot"] = True
    return wish


def power_of_two_mb(size_mb: float) -> int:
    """Return what torch really pins for an allocation of that size."""
    return 1 << max(0, int(-(-size_mb // 1)) - 1).bit_length()


def _size(measurement: Measurement, pool: dict[str, Any], choice: Choice, default: bool) -> tuple[int, str, list[str]]:
    """Return how many pages the pool is to have, the advice, and what it rests on."""
    total, size_kb = pool["total"], pool["size_kb"]
    reserved = f"Reserved: {figures.plural(total, 'page')}, {figures.mib(total * size_kb / 1024)} MiB"
    consumer = next((arm for arm in choice.services if _takes_pages(arm)), None)
    if consumer and default:  # the levers take pages of the default size alone
        return _for(measurement, consumer, total, size_kb, reserved)
    free, used = pool.get("free"), _used_mb(measurement)
    if type(free) is int and free < total:
        held = f"{figures.plural(total - free, 'page')} of it were held when the measurement began"
        return total, f"Keep the pool, and name the process that holds pages of it: {held}.", [f"{reserved}."]
    if used:
        seen = f"Without a lever, a measured process had {figures.mib(used)} MiB of hugetlb pages."
        return total, "Keep the pool: a measured process uses it.", [f"{reserved}.", seen]
    idle = "without a lever no measured process used any of it, so it only shrinks the page cache"
    return 0, f"Give the pool back: {idle}.", [f"{reserved}, all free."]


def _for(
    measurement: Measurement, consumer: Arm, total: int, size_kb: int, reserved: str
) -> tuple[int, str, list[str]]:
    rows = allocators.of_arm(measurement, consumer.name)
    used_mb = max(map(_hugetlb_mb, rows), default=0.0)
    left = [row["hugepages_free"]["during"] for row in rows if row.get("hugepages_free")]
    who = f"{consumer.name} takes its pages ({ARMS[consumer.name].what})"
    if not used_mb or 0 in left:
        return total, f"Keep the pool: {who}.", [f"{reserved}; {consumer.name} used all it could get."]
    count = int(-(-used_mb * 1024 // size_kb))
    seen = f"A process of {consumer.name} had {figures.mib(used_mb)} MiB of hugetlb pages, pinned ones among them."
    plan = f"Have {figures.plural(count, 'page')} for each such process: {who}."
    return count, plan, [f"{reserved}.", seen]


def _used_mb(measurement: Measurement) -> float:
    """Return the most hugetlb memory of any process that was not given it by its arm."""
    takers = [arm.name for arm in ARMS.values() if "pool" in arm.needs]
    rows = [row for probe in measurement.probes.values() for row in probe.samples if row.get("arm") not in takers]
    return max(numbers(rows, "private_hugetlb_mb"), default=0.0)


def _hugetlb_mb(row: dict[str, Any]) -> float:
    return (number(row["private_hugetlb_mb"]) or 0.0) + ((row.get("pinned") or {}).get("private_hugetlb_mb") or 0.0)


def _takes_pages(arm: Arm) -> bool:
    return "pool" in ARMS[arm.name].needs
