"""Where each GPU sits: its NUMA node against this process's CPUs, its PCIe link against what the device supports."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .host import topology
from .host.topology import Link, PciDevice

PCIE = {
    "generation": "pcie_generation",
    "width": "pcie_width",
    "max_generation": "pcie_max_generation",
    "max_width": "pcie_max_width",
}


def describe(found: dict[str, Any], copies: list[dict[str, Any]], root: Path = Path("/")) -> dict[str, Any]:
    """Return plain values about the GPU `found`, one of gpu.links(); `copies` are rows that saw its link at work.

    What NVML does not give, sysfs may. Of several readings the best counts: a link at rest drops to a lower generation.
    """
    nodes = topology.nodes(root)
    device = topology.pci_device(found["pci_bus_id"], root) if found["pci_bus_id"] else PciDevice("", None, Link(), "")
    near = topology.nearness(device.numa_node, nodes, topology.allowed(root))
    readings = [found, {PCIE[name]: value for name, value in asdict(device.link).items()}, *copies]
    link = Link(**{name: _most(reading.get(key) for reading in readings) for name, key in PCIE.items()})
    return {
        "index": found["index"],
        "uuid": found["uuid"],
        "name": found["name"],
        "pci_address": device.address,
        "numa_node": device.numa_node,
        "cpus_near": next((topology.format_list(node.cpus) for node in nodes if node.number == device.numa_node), ""),
        "process_is_near": near.verdict,
        "nearness": near.sentence,
        "iommu": device.iommu,
        "pcie": {**asdict(link), "read": "during copies" if copies else "at rest"},
        "pcie_below_device": topology.shortfall(link),
    }


def unread(found: dict[str, Any], described: dict[str, Any]) -> list[str]:
    """Return a sentence for each thing that neither NVML nor sysfs says of a GPU."""
    uuid, known = found["uuid"], {"pci_bus_id": described["pci_address"]}
    known.update({PCIE[name]: described["pcie"][name] for name in PCIE})
    answers = {**found, **found["unread"]}
    sentences = [
        f"{name} of {uuid} could not be read: sysfs does not have it, and NVML says {answers[name]}"
        for name, value in known.items()
        if not value
    ]
    if described["process_is_near"] == "unknown":
        sentences.append(f"NUMA node of {uuid} is not known: {described['nearness']}")
    return sentences


def _most(values: Iterable[int | None]) -> int | None:
    return max(filter(None, values), default=None)
