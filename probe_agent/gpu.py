"""GPUs as NVML sees them. A node without one, or without the library, simply has none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def _nvml() -> Iterator[Any]:
    """Yield the library, initialised, or None where it cannot be."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # an absent package, library or driver all mean: no GPU to read
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def devices() -> list[dict[str, Any]]:
    """Return name, UUID and memory (MiB) of each GPU."""
    with _nvml() as nvml:
        if nvml is None:
            return []
        handles = [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
        return [
            {
                "name": nvml.nvmlDeviceGetName(handle),
                "uuid": nvml.nvmlDeviceGetUUID(handle),
                "memory_mb": nvml.nvmlDeviceGetMemoryInfo(handle).total >> 20,
                "memory_used_mb": nvml.nvmlDeviceGetMemoryInfo(handle).used >> 20,
            }
            for handle in handles
        ]


def links() -> list[dict[str, Any]]:
    """Return, per GPU, its PCI bus id and PCIe link: None where the driver gives no value, and why in `unread`.

    An idle GPU lets its link drop to a lower generation: the current one tells only while something is transferred.
    """
    with _nvml() as nvml:
        if nvml is None:
            return []
        return [_link(nvml, nvml.nvmlDeviceGetHandleByIndex(number)) for number in range(nvml.nvmlDeviceGetCount())]


def _link(nvml: Any, handle: Any) -> dict[str, Any]:
    readers = {
        "pci_bus_id": lambda: nvml.nvmlDeviceGetPciInfo(handle).busId,
        "pcie_generation": lambda: nvml.nvmlDeviceGetCurrPcieLinkGeneration(handle),
        "pcie_width": lambda: nvml.nvmlDeviceGetCurrPcieLinkWidth(handle),
        "pcie_max_generation": lambda: nvml.nvmlDeviceGetMaxPcieLinkGeneration(handle),
        "pcie_max_width": lambda: nvml.nvmlDeviceGetMaxPcieLinkWidth(handle),
    }
    found: dict[str, Any] = {"name": nvml.nvmlDeviceGetName(handle), "uuid": nvml.nvmlDeviceGetUUID(handle)}
    unread = {}
    for name, read in readers.items():
        try:
            found[name] = read()
        except nvml.NVMLError as error:
            found[name], unread[name] = None, str(error)
    return {**found, "unread": unread}


def driver() -> str | None:
    with _nvml() as nvml:
        return nvml.nvmlSystemGetDriverVersion() if nvml else None
