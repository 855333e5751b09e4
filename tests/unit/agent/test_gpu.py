# ruff: noqa: N802 - the library's own names
"""GPUs through a library that is not there: which device counts, who holds it, and what a lost one says."""

import sys
from types import SimpleNamespace

import pytest

from probe_agent import gpu

MIB = 1 << 20


class Library:
    """Stands in for pynvml: two GPUs and a slice of one."""

    class NVMLError(Exception):
        pass

    uuids = ("GPU-aaaa-1", "GPU-bbbb-2", "MIG-cccc-3")
    lost = False
    open = 0

    def nvmlInit(self):
        self.open += 1

    def nvmlShutdown(self):
        self.open -= 1

    def nvmlDeviceGetCount(self):
        return 2

    def nvmlDeviceGetHandleByIndex(self, number):
        return self.uuids[number]

    def nvmlDeviceGetHandleByUUID(self, uuid):
        if uuid not in self.uuids:
            raise self.NVMLError
        return uuid

    def nvmlDeviceGetUUID(self, handle):
        return handle

    def nvmlDeviceGetName(self, handle):
        return "NVIDIA H200"

    def nvmlDeviceGetMemoryInfo(self, handle):
        if self.lost:
            raise self.NVMLError
        return SimpleNamespace(used=500 * MIB, total=1000 * MIB)

    def nvmlDeviceGetUtilizationRates(self, handle):
        if self.lost or handle.startswith("MIG"):
            raise self.NVMLError
        return SimpleNamespace(gpu=42)

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        if self.lost:
            raise self.NVMLError
        amounts = {7: None, 8: 100 * MIB, 9: 400 * MIB}
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in amounts.items()]

    def nvmlSystemGetProcessName(self, pid):
        if pid == 7:
            raise self.NVMLError
        return f"program-{pid}"


@pytest.fixture
def library(monkeypatch):
    found = Library()
    monkeypatch.setitem(sys.modules, "pynvml", found)
    yield found
    assert found.open == 0


@pytest.mark.parametrize(
    ("visible", "uuid"),
    [
        (None, "GPU-aaaa-1"),
        ("1", "GPU-bbbb-2"),
        ("1,0", "GPU-bbbb-2"),
        ("GPU-bbbb-2", "GPU-bbbb-2"),
        (" GPU-bb", "GPU-bbbb-2"),
        ("MIG-cccc-3", "MIG-cccc-3"),
        ("MIG-dddd-4", None),
        ("GPU-cccc", None),
        ("2", None),
        ("-1", None),
        ("", None),
    ],
)
def test_the_first_device_that_the_environment_shows(library, visible, uuid):
    with gpu.first_visible({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}) as device:
        assert (device and device.uuid) == uuid


def test_reads_memory_utilization_and_who_holds_it(library):
    with gpu.first_visible({}) as device:
        assert device.memory_mb() == (500, 1000)
        assert device.utilization_percent() == 42
        assert device.holders() == [
            gpu.Holder(9, "program-9", 400),
            gpu.Holder(8, "program-8", 100),
            gpu.Holder(7, "a process", None),
        ]


def test_a_slice_has_no_utilization(library):
    with gpu.first_visible({"CUDA_VISIBLE_DEVICES": "MIG-cccc-3"}) as device:
        assert device.utilization_percent() is None


def test_a_device_lost_on_the_way_reads_as_unknown(library):
    with gpu.first_visible({}) as device:
        library.lost = True
        assert (device.memory_mb(), device.utilization_percent(), device.holders()) == (None, None, [])


def test_a_node_without_the_library_has_no_device(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with gpu.first_visible({}) as device:
        assert device is None
    assert gpu.devices() == []
