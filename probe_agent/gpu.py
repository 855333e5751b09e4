"""GPUs as NVML sees them. A node without one, or without the library, simply has none."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Holder:
    """A process with memory on a device; `memory_mb` is None where the driver does not say (in a container, say)."""

    pid: int
    name: str
    memory_mb: int | None


class Device:
    """One open GPU. What the driver cannot tell is None: a lost device must not end a measurement."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle
        self.name: str = nvml.nvmlDeviceGetName(handle)
        self.uuid: str = nvml.nvmlDeviceGetUUID(handle)

    def memory_mb(self) -> tuple[int, int] | None:
        """Return what is used and what there is."""
        try:
            memory = self._nvml.nvmlDeviceGetMemoryInfo(self._handle)
        except self._nvml.NVMLError:
            return None
        return memory.used >> 20, memory.total >> 20

    def utilization_percent(self) -> int | None:
        try:
            return self._nvml.nvmlDeviceGetUtilizationRates(self._handle).gpu
        except self._nvml.NVMLError:  # a slice of a GPU (MIG) has none
            return None

    def holders(self) -> list[Holder]:
        """Return who computes on the device, the largest first."""
        try:
            running = self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        except self._nvml.NVMLError:
            return []
        found = [
            Holder(each.pid, self._name_of(each.pid), None if each.usedGpuMemory is None else each.usedGpuMemory >> 20)
            for each in running
        ]
        return sorted(found, key=lambda holder: -(holder.memory_mb or 0))

    def _name_of(self, pid: int) -> str:
        try:
            return self._nvml.nvmlSystemGetProcessName(pid)
        except self._nvml.NVMLError:  # it ended meanwhile, or lives outside this container
            return "a process"


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


@contextmanager
def first_visible(environment: Mapping[str, str]) -> Iterator[Device | None]:
    """Yield the device that a process with this environment takes first, or None where it sees none.

    Indices count as nvidia-smi does, which is CUDA's own order under CUDA_DEVICE_ORDER=PCI_BUS_ID.
    """
    with _nvml() as nvml:
        handle = _first(nvml, environment.get("CUDA_VISIBLE_DEVICES", "0")) if nvml else None
        yield None if handle is None else Device(nvml, handle)


def _first(nvml: Any, visible: str) -> Any:
    """Return the handle of the first device in CUDA_VISIBLE_DEVICES: an index, a UUID, or the start of one."""
    wanted = visible.split(",")[0].strip()
    handles = [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
    if wanted.isdecimal():
        return handles[int(wanted)] if int(wanted) < len(handles) else None
    if wanted.startswith("MIG-"):
        try:
            return nvml.nvmlDeviceGetHandleByUUID(wanted)
        except nvml.NVMLError:
            return None
    matching = [handle for handle in handles if wanted and nvml.nvmlDeviceGetUUID(handle).startswith(wanted)]
    return matching[0] if matching else None


def memory_total_mb() -> int | None:
    """Return the memory of the device that the agent's processes take first, None without one."""
    with first_visible(os.environ) as device:
        memory = device.memory_mb() if device else None
        return memory[1] if memory else None


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


def occupied() -> list[dict[str, Any]]:
    """Return, per GPU, how much of its memory (MiB) is used, and by whom; None where the driver does not say."""
    with _nvml() as nvml:
        if nvml is None:
            return []
        count = nvml.nvmlDeviceGetCount()
        return [_occupied(Device(nvml, nvml.nvmlDeviceGetHandleByIndex(number))) for number in range(count)]


def _occupied(device: Device) -> dict[str, Any]:
    used_mb, total_mb = device.memory_mb() or (None, None)
    holders = [asdict(holder) for holder in device.holders()]
    return {"uuid": device.uuid, "used_mb": used_mb, "total_mb": total_mb, "holders": holders}


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
