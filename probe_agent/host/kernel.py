"""What else decides how memory behaves: kernel, command line, fragmentation, uptime, NUMA, TuneD."""

from __future__ import annotations

import os
import platform
from pathlib import Path

COMPACTION = ("compact_stall", "compact_fail", "compact_success", "thp_fault_alloc", "thp_fault_fallback")


def read(root: Path = Path("/")) -> dict[str, object]:
    """Return the node's kernel state as plain values; `fragmentation` holds free blocks per order, per zone."""
    return {
        "release": platform.release() if root == Path("/") else _text(root / "proc/sys/kernel/osrelease"),
        "machine": platform.machine(),
        "page_size_bytes": os.sysconf("SC_PAGE_SIZE"),
        "command_line": _text(root / "proc/cmdline"),
        "boot_id": _text(root / "proc/sys/kernel/random/boot_id"),
        "uptime_s": float((_text(root / "proc/uptime") or "0").split()[0]),
        "distribution": _os_release(_text(root / "etc/os-release")).get("PRETTY_NAME", ""),
        "numa_nodes": sorted(int(node.name[4:]) for node in (root / "sys/devices/system/node").glob("node[0-9]*")),
        "fragmentation": parse_buddyinfo(_text(root / "proc/buddyinfo")),
        "compaction": parse_vmstat(_text(root / "proc/vmstat")),
        "min_free_kb": int(_text(root / "proc/sys/vm/min_free_kbytes") or 0),
        "tuned_profile": _text(root / "etc/tuned/active_profile"),
        "systemd": (root / "run/systemd/system").is_dir(),
    }


def parse_buddyinfo(text: str) -> dict[str, list[int]]:
    """Return `node0/Normal` to the free blocks of 2^0, 2^1, … pages."""
    zones = {}
    for line in text.splitlines():
        words = line.replace(",", "").split()
        if len(words) > 4 and words[0] == "Node":
            zones[f"node{words[1]}/{words[3]}"] = [int(word) for word in words[4:]]
    return zones


def parse_vmstat(text: str) -> dict[str, int]:
    """Return the counters that tell whether huge pages could be had."""
    rows = (line.split() for line in text.splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[0] in COMPACTION}


def distribution(root: Path = Path("/")) -> set[str]:
    """Return the names a distribution answers to, its own and those it is like (os-release(5))."""
    fields = _os_release(_text(root / "etc/os-release"))
    return {fields.get("ID", ""), *fields.get("ID_LIKE", "").split()} - {""}


def _os_release(text: str) -> dict[str, str]:
    rows = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name: value.strip('"') for name, _, value in rows}


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
