"""NUMA nodes, and a process bound to one of them: its CPUs and its memory.

What numactl --cpunodebind --membind does, without it: sched_setaffinity(2) and set_mempolicy(2), both inherited.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
from pathlib import Path

NODES = "sys/devices/system/node"
GPUS = "proc/driver/nvidia/gpus"
PCI = "sys/bus/pci/devices"
SET_MEMPOLICY = {"x86_64": 238, "aarch64": 237}
MPOL_BIND = 2
POLICY = re.compile(r"^[0-9a-f]+ (\S+)", re.MULTILINE)

LIBC = ctypes.CDLL(None, use_errno=True)


def nodes(root: Path = Path("/")) -> dict[int, frozenset[int]]:
    """Return the CPUs of each NUMA node that has any; memory of a device or an expander has none."""
    found = {}
    for folder in (root / NODES).glob("node[0-9]*"):
        cpus = parse_list((folder / "cpulist").read_text())
        if cpus:
            found[int(folder.name[4:])] = cpus
    return dict(sorted(found.items()))


def best(root: Path = Path("/")) -> int:
    """Return the node of the first GPU where the kernel says it, else the first. Raises ValueError without any."""
    found = nodes(root)
    if not found:
        raise ValueError("this kernel shows no NUMA node")
    for gpu in sorted(path.name for path in (root / GPUS).glob("*")):
        file = root / PCI / gpu / "numa_node"
        node = int(file.read_text()) if file.exists() else -1  # -1: firmware or hypervisor does not say
        if node in found:
            return node
    return next(iter(found))


def bind(node: int) -> None:
    """Keep this thread, and whatever it becomes or starts, on the node's CPUs and memory. Raises OSError."""
    os.sched_setaffinity(0, nodes()[node] & os.sched_getaffinity(0))
    bits = 8 * ctypes.sizeof(ctypes.c_ulong)
    mask = (ctypes.c_ulong * (node // bits + 1))()
    mask[node // bits] = 1 << node % bits
    # The kernel takes one bit less than the size it is told.
    if LIBC.syscall(SET_MEMPOLICY[platform.machine()], MPOL_BIND, mask, len(mask) * bits + 1):
        raise OSError(ctypes.get_errno(), f"set_mempolicy on NUMA node {node}")


def policy(pid: int, root: Path = Path("/")) -> str:
    """Return where the process may have its memory, as numa_maps says it: `default`, or `bind:1`."""
    try:
        found = POLICY.search((root / f"proc/{pid}/numa_maps").read_text())
    except OSError:
        return ""
    return found.group(1) if found else ""


def parse_list(text: str) -> frozenset[int]:
    """Return the numbers of a kernel's list such as `0-3,8`."""
    numbers = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    return frozenset(numbers)
