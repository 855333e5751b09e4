"""The settings of host memory by name, in one naming for results, certificates and pages."""

from __future__ import annotations

from typing import Any

from .loose import mapping, mappings

COUNTERS = ("full_scans", "pages_collapsed")  # khugepaged counts in the folder of its settings


def values(host_memory: dict[str, Any]) -> dict[str, str]:
    """Return each setting by its name, the pools and mounts among them. Counters are not settings."""
    thp = mapping(host_memory.get("thp"))
    found = {f"THP {name}": value for name, value in thp.items() if not isinstance(value, dict)}
    khugepaged = mapping(thp.get("khugepaged"))
    found |= {f"khugepaged {name}": value for name, value in khugepaged.items() if name not in COUNTERS}
    for size, files in mapping(thp.get("per_size")).items():
        found |= {f"THP {size} {name}": value for name, value in mapping(files).items()}
    for pool in mappings(host_memory.get("pools")):
        found[pool_name(pool)] = f"{pool.get('total')} pages"
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
    return {name: str(value) for name, value in found.items() if value not in (None, "")}


def pool_name(pool: dict[str, Any]) -> str:
    node = "" if pool.get("numa_node") is None else f" on NUMA node {pool['numa_node']}"
    return f"Pool of {page_size(pool.get('size_kb'))} pages{node}"


def page_size(size_kb: Any) -> str:
    """As in `2 MiB`; the kernel counts in kB, which are KiB."""
    if type(size_kb) is not int:
        return f"{size_kb} kB"
    for unit, kb in (("GiB", 1 << 20), ("MiB", 1 << 10)):
        if size_kb >= kb and size_kb % kb == 0:
            return f"{size_kb // kb} {unit}"
    return f"{size_kb} KiB"
