"""The settings of host memory by name, in one naming for results, certificates and pages."""

from __future__ import annotations

import re
from typing import Any

from .loose import mapping, mappings

COUNTERS = ("full_scans", "pages_collapsed")  # khugepaged counts in the folder of its settings
THP = "sys/kernel/mm/transparent_hugepage/"
POOL = re.compile(
    r"sys/(?:kernel/mm|devices/system/node/node(\d+))/hugepages/hugepages-(\d+)kB/nr_(overcommit_)?hugepages"
)


def values(host_memory: dict[str, Any]) -> dict[str, str]:
    """Return each setting by its name, the pools and mounts among them. Counters are not settings."""
    thp = mapping(host_memory.get("thp"))
    found = {f"THP {name}": value for name, value in thp.items() if not isinstance(value, dict)}
    khugepaged = mapping(thp.get("khugepaged"))
    found |= {f"khugepaged {name}": value for name, value in khugepaged.items() if name not in COUNTERS}
    for size, files in mapping(thp.get("per_size")).items():
        found |= {f"THP {size} {name}": value for name, value in mapping(files).items()}
    for pool in mappings(host_memory.get("pools")):
        found[pool_name(pool)] = f"{_kept(pool)} pages"
        if pool.get("overcommit") is not None:
            found[f"{pool_name(pool)}, overcommit"] = f"{pool['overcommit']} pages"
    for mount in mappings(host_memory.get("hugetlbfs_mounts")):
        options = mount.get("options")
        shown = ",".join(map(str, options)) if isinstance(options, list) and options else "mounted"
        found[f"hugetlbfs at {mount.get('target')}"] = shown
    kernel = mapping(host_memory.get("kernel"))
    found |= {
        "default huge page (kB)": host_memory.get("default_hugepage_size_kb"),
        "vm.min_free_kbytes": kernel.get("min_free_kb"),
        "TuneD profile": kernel.get("tuned_profile"),
    }
    found |= {f"{name} library": path for name, path in mapping(host_memory.get("allocators")).items()}
    contents = mapping(host_memory.get("allocator_contents"))
    found |= {f"{name} library, content": digest for name, digest in contents.items()}
    dropins = mapping(host_memory.get("service_dropins"))
    found |= {f"drop-in {path}, content": digest for path, digest in dropins.items()}
    return {name: str(value) for name, value in found.items() if value not in (None, "")}


def pool_name(pool: dict[str, Any]) -> str:
    node = "" if pool.get("numa_node") is None else f" on NUMA node {pool['numa_node']}"
    return f"Pool of {page_size(pool.get('size_kb'))} pages{node}"


def name_of(path: str) -> str:
    """Return what `values` calls the setting behind a path of the kernel, or the mount there."""
    path = path.strip("/")
    pool = POOL.fullmatch(path)
    if pool:
        name = pool_name({"size_kb": int(pool[2]), "numa_node": pool[1]})
        return f"{name}, overcommit" if pool[3] else name
    if path.startswith(THP):
        folder, _, name = path[len(THP) :].rpartition("/")
        return f"{'khugepaged' if folder == 'khugepaged' else f'THP {folder}'.strip()} {name}"
    if path.startswith("proc/sys/"):
        return path[len("proc/sys/") :].replace("/", ".")
    return path if path.startswith("sys/") else f"hugetlbfs at /{path}"


def _kept(pool: dict[str, Any]) -> Any:
    """Return the pages that were set: surplus ones come and go with the processes that use them."""
    total, surplus = pool.get("total"), pool.get("surplus")
    return total - surplus if type(total) is type(surplus) is int else total


def page_size(size_kb: Any) -> str:
    """As in `2 MiB`; the kernel counts in kB, which are KiB."""
    if type(size_kb) is not int:
        return f"{size_kb} kB"
    for unit, kb in (("GiB", 1 << 20), ("MiB", 1 << 10)):
        if size_kb >= kb and size_kb % kb == 0:
            return f"{size_kb // kb} {unit}"
    return f"{size_kb} KiB"
