"""GPUs as NVML sees them, and which of them are measured. A node without one, or without the library, has none.

A GPU is known by its UUID. Its number is that of nvidia-smi, and CUDA's own only under CUDA_DEVICE_ORDER=PCI_BUS_ID.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

VISIBLE = "CUDA_VISIBLE_DEVICES"
ALL = "all"
# What makes a server take more than one GPU, as long and short flags of vLLM.
PARALLEL = (
    ("--tensor-parallel-size", "-tp"),
    ("--pipeline-parallel-size", "-pp"),
    ("--data-parallel-size", "-dp"),
)


@dataclass(frozen=True)
class Gpu:
    """One GPU by its number. Of one that the driver counts and cannot reach only `lost` is known, which says why.

    Where MIG divides it, CUDA takes one of its `slices` (UUIDs), never the whole.
    """

    index: int
    uuid: str = ""
    name: str = ""
    mig: bool = False
    slices: tuple[str, ...] = ()
    lost: str = ""

    @property
    def devices(self) -> tuple[str, ...]:
        """The UUIDs under which CUDA takes it."""
        return self.slices if self.mig else (self.uuid,) if self.uuid else ()


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


def listed() -> list[Gpu]:
    """Return every GPU that the driver counts, in its order."""
    with _nvml() as nvml:
        return [_gpu(nvml, number) for number in range(nvml.nvmlDeviceGetCount())] if nvml else []


def _gpu(nvml: Any, number: int) -> Gpu:
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(number)
        uuid, name = nvml.nvmlDeviceGetUUID(handle), nvml.nvmlDeviceGetName(handle)
    except nvml.NVMLError as why:
        return Gpu(number, lost=str(why) or "the driver does not say why")
    slices = _slices(nvml, handle)
    return Gpu(number, uuid, name, slices is not None, slices or ())


def _slices(nvml: Any, handle: Any) -> tuple[str, ...] | None:
    """Return the UUIDs of a GPU's MIG instances, None where it is not divided."""
    try:
        if not nvml.nvmlDeviceGetMigMode(handle)[0]:
            return None
        places = range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle))
    except nvml.NVMLError:  # a GPU that cannot be divided
        return None
    found = []
    for place in places:
        with suppress(nvml.NVMLError):  # an empty place
            found.append(nvml.nvmlDeviceGetUUID(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, place)))
    return tuple(found)


def visible(gpus: list[Gpu], value: str | None) -> list[str]:
    """Return the UUIDs that CUDA gives a process whose CUDA_VISIBLE_DEVICES is `value` (None: not set), in its order.

    As CUDA does, an entry that names no device ends the list. Of a divided GPU a process gets one slice.
    """
    if value is None:
        return [gpu.devices[0] for gpu in gpus if gpu.devices]
    found: list[str] = []
    for entry in value.split(","):
        device = _named(gpus, entry.strip())
        if device is None or device in found:
            break
        found.append(device)
    return found


def _named(gpus: list[Gpu], entry: str) -> str | None:
    """Return the UUID that an index, a UUID, or the start of just one names."""
    if entry.isdecimal():
        return next((device for gpu in gpus if gpu.index == int(entry) for device in gpu.devices), None)
    starting = [device for gpu in gpus for device in gpu.devices if entry and device.startswith(entry)]
    whole = [gpu.devices[0] for gpu in gpus if gpu.mig and gpu.devices and gpu.uuid == entry]
    found = starting or whole
    return found[0] if len(found) == 1 else None


def choose(wanted: tuple[str, ...], gpus: list[Gpu], value: str | None) -> list[str]:
    """Return the UUIDs to measure of those that `value`, the operator's CUDA_VISIBLE_DEVICES, leaves visible.

    `wanted` has `all`, or indices and UUIDs; nothing means all. Raises ValueError for a GPU that is not there.
    """
    shown = visible(gpus, value)
    if not wanted or wanted == (ALL,):
        return shown
    lost = {str(gpu.index): gpu.lost for gpu in gpus if gpu.lost}
    there = [f"{gpu.index} ({', '.join(gpu.devices)})" for gpu in gpus if gpu.devices]
    found: list[str] = []
    for entry in wanted:
        device = _named(gpus, entry)
        if entry in lost:
            raise ValueError(f"probe_gpus has {entry}, and GPU {entry} does not answer: {lost[entry]}")
        if device is None:
            raise ValueError(f"probe_gpus has {entry}, and this node has {', '.join(there) or 'no GPU that NVML sees'}")
        if value is not None and device not in shown:
            raise ValueError(f"probe_gpus has {entry}, which {VISIBLE}={value} in the agent's environment hides")
        if device in found:
            raise ValueError(f"probe_gpus has {entry}, and names that GPU twice")
        found.append(device)
    return found


def environment(devices: list[str]) -> dict[str, str]:
    """Return the environment in which a process sees just these devices, the first one first. Nothing without any."""
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", VISIBLE: ",".join(devices)} if devices else {}


def of_server(flags: tuple[str, ...], devices: list[str], gpus: list[Gpu]) -> dict[str, str]:
    """Return the environment of a server that has as many of the devices as its flags ask for, which is one mostly.

    By index: a vLLM before 0.32 does not start with a UUID. Raises ValueError where there are not so many.
    """
    if not devices:
        return {}
    needed = parallel(flags)
    if needed > len(devices):
        raise ValueError(f"probe_server_flags asks for {needed} GPUs, and {len(devices)} can be used")
    index = {gpu.uuid: str(gpu.index) for gpu in gpus}
    return environment([index.get(device, device) for device in devices[:needed]])


def parallel(flags: tuple[str, ...]) -> int:
    """Return how many GPUs a server with these flags takes. The last of several counts, as on its command line."""
    words = [word.replace("_", "-") for flag in flags for word in flag.split("=", 1)]
    asked = dict.fromkeys(PARALLEL, 1)
    for flag, value in itertools.pairwise(words):
        for names in PARALLEL:
            if flag in names and value.isdecimal():
                asked[names] = max(1, int(value))
    return math.prod(asked.values())


def chosen() -> list[str]:
    """Return the UUIDs that processes of the agent see, the one that they take first."""
    return visible(listed(), os.environ.get(VISIBLE))


@contextmanager
def opened(environment: Mapping[str, str]) -> Iterator[list[Device]]:
    """Yield the devices that a process with this environment sees."""
    with _nvml() as nvml:
        seen = visible(listed(), environment.get(VISIBLE)) if nvml else []
        yield [Device(nvml, nvml.nvmlDeviceGetHandleByUUID(uuid)) for uuid in seen]


@contextmanager
def first_visible(environment: Mapping[str, str]) -> Iterator[Device | None]:
    """Yield the device that a process with this environment takes first, or None where it sees none."""
    with opened(environment) as found:
        yield found[0] if found else None


def memory_total_mb() -> int | None:
    """Return the memory of the device that the agent's processes take first, None without one."""
    with first_visible(os.environ) as device:
        memory = device.memory_mb() if device else None
        return memory[1] if memory else None


def names() -> list[str]:
    """Return the name of each GPU that answers."""
    return [gpu.name for gpu in listed() if not gpu.lost]


def occupied() -> list[dict[str, Any]]:
    """Return, per GPU, how much of its memory (MiB) is used, and by whom; None where the driver does not say."""
    with _nvml() as nvml:
        return [_occupied(Device(nvml, handle)) for _, handle in _answering(nvml)]


def _occupied(device: Device) -> dict[str, Any]:
    used_mb, total_mb = device.memory_mb() or (None, None)
    holders = [asdict(holder) for holder in device.holders()]
    return {"uuid": device.uuid, "used_mb": used_mb, "total_mb": total_mb, "holders": holders}


def links() -> list[dict[str, Any]]:
    """Return, per GPU, its PCI bus id and PCIe link: None where the driver gives no value, and why in `unread`.

    An idle GPU lets its link drop to a lower generation: the current one tells only while something is transferred.
    """
    with _nvml() as nvml:
        return [{"index": number, **_link(nvml, handle)} for number, handle in _answering(nvml)]


def _answering(nvml: Any) -> Iterator[tuple[int, Any]]:
    """Yield number and handle of each GPU that answers."""
    for number in range(nvml.nvmlDeviceGetCount()) if nvml else ():
        with suppress(nvml.NVMLError):
            yield number, nvml.nvmlDeviceGetHandleByIndex(number)


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
