"""The whole host-memory state as one JSON object: what `host_memory_facts` returns and a result records."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from . import allocators, hugepages, hugetlbfs, kernel, meminfo, services, sources, thp


def read(root: Path = Path("/")) -> dict[str, object]:
    """Return THP, pools, mounts, memory, allocators, kernel and what sets any of it at boot as plain values."""
    memory = meminfo.read(root)
    libraries = allocators.find(root)
    return {
        "thp": thp.read(root).values(),
        "pools": [asdict(pool) for pool in hugepages.read(root)],
        "hugetlbfs_mounts": [
            {**asdict(mount), "options": list(mount.options), "size_kb": hugetlbfs.page_size_kb(mount)}
            for mount in hugetlbfs.read(root)
        ],
        "meminfo_huge": meminfo.huge_lines(memory),
        "memory_total_mb": memory["MemTotal"] >> 10,
        "memory_available_mb": memory["MemAvailable"] >> 10,
        "default_hugepage_size_kb": memory.get("Hugepagesize"),
        "allocators": libraries,
        "allocator_contents": allocators.contents(libraries, root),
        "service_dropins": services.contents(root),
        "sources": [asdict(found) for found in sources.read(root)],
        "kernel": kernel.read(root),
    }
