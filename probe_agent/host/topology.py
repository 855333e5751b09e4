"""Where memory, CPUs and devices sit: NUMA nodes and what this process may use of them, PCI devices, the IOMMU.

Source: Documentation/ABI of the Linux kernel (sysfs-devices-node, sysfs-bus-pci, sysfs-kernel-iommu_groups).
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable

from . import cmdline, meminfo

NODES = "sys/devices/system/node"
PCI = "sys/bus/pci/devices"
IOMMU_GROUPS = "sys/kernel/iommu_groups"
IOMMU_CLASS = "sys/class/iommu"
IOMMU_WORDS = ("iommu", "intel_iommu", "amd_iommu", "iommu.passthrough", "iommu.strict")
IOMMU_MODES = {"identity": "passthrough", "DMA": "strict", "DMA-FQ": "lazy"}
GENERATIONS = {"2.5": 1, "5": 2, "5.0": 2, "8.0": 3, "16.0": 4, "32.0": 5, "64.0": 6}  # GT/s; some kernels wrote "5"
WIDTHS = (1, 2, 4, 8, 12, 16, 32)  # a hypervisor's bridge may claim 0, 63 or 255


@dataclass(frozen=True)
class Node:
    """One NUMA node; memory of a device or a memory expander has no CPUs."""

    number: int
    cpus: tuple[int, ...]
    memory_mb: int


@dataclass(frozen=True)
class Allowed:
    """The CPUs and the memory nodes that this process may use: affinity and cgroup together."""

    cpus: tuple[int, ...]
    memory_nodes: tuple[int, ...]


@dataclass(frozen=True)
class Link:
    """A PCIe link. None where it could not be read."""

    generation: int | None = None
    width: int | None = None
    max_generation: int | None = None
    max_width: int | None = None


@dataclass(frozen=True)
class PciDevice:
    """`numa_node` is None where the kernel does not know it, `iommu` empty without an IOMMU before the device."""

    address: str
    numa_node: int | None
    link: Link
    iommu: str


@dataclass(frozen=True)
class Nearness:
    """How many of a process's CPUs are near a device: `all`, `some`, `none` or `unknown`, and a sentence."""

    verdict: str
    sentence: str


@dataclass(frozen=True)
class Iommu:
    """`mode` is off, passthrough, strict, lazy, mixed, on (no more is known) or unknown."""

    mode: str
    read_from: str


def nodes(root: Path = Path("/")) -> list[Node]:
    """Return the NUMA nodes. Empty on a kernel that knows none."""
    found = []
    for folder in (root / NODES).glob("node[0-9]*"):
        memory = meminfo.parse(_text(folder / "meminfo"))
        cpus = parse_list(_text(folder / "cpulist"))
        found.append(Node(int(folder.name[4:]), cpus, memory.get("MemTotal", 0) >> 10))
    return sorted(found, key=lambda node: node.number)


def allowed(root: Path = Path("/")) -> Allowed:
    status = _text(root / "proc/self/status")
    lists = dict(re.findall(r"^(Cpus|Mems)_allowed_list:[ \t]*(\S*)$", status, re.MULTILINE))
    return Allowed(parse_list(lists.get("Cpus", "")), parse_list(lists.get("Mems", "")))


def pci_device(bus_id: str, root: Path = Path("/")) -> PciDevice:
    """Return what sysfs says of a device. `bus_id` is as sysfs or as NVML writes it."""
    address = pci_address(bus_id)
    folder = root / PCI / address
    node = _text(folder / "numa_node")
    return PciDevice(
        address=address,
        numa_node=int(node) if node.isdigit() else None,  # -1: the firmware or hypervisor does not say
        link=Link(
            generation=_generation(_text(folder / "current_link_speed")),
            width=_width(_text(folder / "current_link_width")),
            max_generation=_generation(_text(folder / "max_link_speed")),
            max_width=_width(_text(folder / "max_link_width")),
        ),
        iommu=_iommu_mode(_text(folder / "iommu_group/type")),
    )


def iommu(root: Path = Path("/")) -> Iommu:
    """Return how the IOMMU treats DMA, as far as this kernel shows it: a guest does not see its host's."""
    given = cmdline.split(_text(root / "proc/cmdline"))
    words = [word for word in given if word.partition("=")[0] in IOMMU_WORDS]
    said = f"command line: {' '.join(words)}" if words else "nothing of it on the command line"
    if not (root / "sys/kernel").is_dir():
        return Iommu("unknown", f"/sys/kernel is not there; {said}")
    groups = [folder for folder in (root / IOMMU_GROUPS).glob("*") if folder.is_dir()]
    units = sorted(unit.name for unit in (root / IOMMU_CLASS).glob("*"))
    if not groups and not units:
        return Iommu("off", f"no group in /{IOMMU_GROUPS} and no unit in /{IOMMU_CLASS}; {said}")
    types = Counter(filter(None, (_text(folder / "type") for folder in groups)))
    if types:
        modes = {_iommu_mode(name) for name in types}
        counts = ", ".join(f"{count} of type {name}" for name, count in sorted(types.items()))
        return Iommu(modes.pop() if len(modes) == 1 else "mixed", f"/{IOMMU_GROUPS}: {counts}; {said}")
    passes = {"iommu=pt", "iommu.passthrough=1", "iommu.passthrough=y"} & set(
        words
    )  # kernels before 5.11 have no types
    where = f"{len(groups)} groups in /{IOMMU_GROUPS}, none with a type (before Linux 5.11), units: {', '.join(units)}"
    return Iommu("passthrough" if passes else "on", f"{where}; {said}")


def nearness(device_node: int | None, found: list[Node], process: Allowed) -> Nearness:
    """Tell how many CPUs of `process` are on the device's NUMA node."""
    if len(found) <= 1:
        return Nearness("all", "there is one NUMA node, so every CPU is as near as any other")
    near = next((node.cpus for node in found if node.number == device_node), None)
    if near is None:
        return Nearness("unknown", "the kernel does not say on which NUMA node the device is, as in many guests")
    usable = sorted(set(near) & set(process.cpus))
    where = f"NUMA node {device_node} (CPUs {format_list(near) or 'none'})"
    if not usable:
        verdict, sentence = "none", f"none of the CPUs this process may use ({format_list(process.cpus)}) is on {where}"
    elif len(usable) == len(process.cpus):
        verdict, sentence = "all", f"all CPUs this process may use ({format_list(process.cpus)}) are on {where}"
    else:
        verdict = "some"
        sentence = f"{len(usable)} of the {len(process.cpus)} CPUs this process may use are on {where}"
    if device_node not in process.memory_nodes:
        sentence += ", whose memory it may not use"
    return Nearness(verdict, sentence)


def shortfall(link: Link) -> str:
    """Return in what a link is below what its device supports, or nothing."""
    below = []
    if link.generation and link.max_generation and link.generation < link.max_generation:
        below.append(f"generation {link.generation} of {link.max_generation}")
    if link.width and link.max_width and link.width < link.max_width:
        below.append(f"x{link.width} of x{link.max_width}")
    return ", ".join(below)


def pci_address(bus_id: str) -> str:
    """Return the address as sysfs has it; NVML writes the domain with eight digits and in capitals."""
    domain, _, rest = bus_id.lower().partition(":")
    return f"{int(domain, 16):04x}:{rest}"


def parse_list(text: str) -> tuple[int, ...]:
    """Return the numbers of a kernel's list such as `0-3,8`."""
    numbers: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return tuple(numbers)


def format_list(numbers: Iterable[int]) -> str:
    """Return numbers as the kernel writes them: `0-3,8`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _iommu_mode(group_type: str) -> str:
    return IOMMU_MODES.get(group_type, group_type)


def _generation(speed: str) -> int | None:
    """Return the PCIe generation of `16.0 GT/s PCIe`."""
    return GENERATIONS.get(speed.split(" ")[0])


def _width(text: str) -> int | None:
    return int(text) if text.isdigit() and int(text) in WIDTHS else None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
