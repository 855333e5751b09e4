"""A process bound to one NUMA node: its CPUs and its memory.

What numactl --cpunodebind --membind does, without it: sched_setaffinity(2) and set_mempolicy(2), both inherited.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
from pathlib import Path

from . import topology

GPUS = "proc/driver/nvidia/gpus"
SET_MEMPOLICY = {"x86_64": 238, "aarch64": 237}
MPOL_BIND = 2
POLICY = re.compile(r"^[0-9a-f]+ (\S+)", re.MULTILINE)

LIBC = ctypes.CDLL(None, use_errno=True)


def candidates(root: Path = Path("/")) -> list[topology.Node]:
    """Return the nodes a process can be bound to; memory of a device or an expander has no CPUs."""
    return [node for node in topology.nodes(root) if node.cpus]


def best(gpu: str = "", root: Path = Path("/")) -> topology.Node:
    """Return the node of `gpu` (its PCI address), else of the first GPU where the kernel says it, else the first.

    Raises ValueError without any.
    """
    found = {node.number: node for node in candidates(root)}
    if not found:
        raise ValueError("this kernel shows no NUMA node")
    others = sorted(path.name for path in (root / GPUS).glob("*"))
    for address in [gpu, *others] if gpu else others:
        near = topology.pci_device(address, root).numa_node
        if near in found:
            return found[near]
    return next(iter(found.values()))


def bind(node: topology.Node) -> None:
    """Keep this thread, and whatever it becomes or starts, on the node's CPUs and memory. Raises OSError."""
    os.sched_setaffinity(0, set(node.cpus) & os.sched_getaffinity(0))
    bits = 8 * ctypes.sizeof(ctypes.c_ulong)
    mask = (ctypes.c_ulong * (node.number // bits + 1))()
    mask[node.number // bits] = 1 << node.number % bits
    # The kernel takes one bit less than the size it is told.
    if LIBC.syscall(SET_MEMPOLICY[platform.machine()], MPOL_BIND, mask, len(mask) * bits + 1):
        raise OSError(ctypes.get_errno(), f"set_mempolicy on NUMA node {node.number}")


def policy(pid: int, root: Path = Path("/")) -> str:
    """Return where the process may have its memory, as numa_maps says it: `default`, or `bind:1`."""
    try:
        found = POLICY.search((root / f"proc/{pid}/numa_maps").read_text())
    except OSError:
        return ""
    return found.group(1) if found else ""
