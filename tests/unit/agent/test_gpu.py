# ruff: noqa: N802 - the library's own names
"""GPUs through a library that is not there: which are measured, who holds them, and what a lost or divided one says."""

import sys
from types import SimpleNamespace

import pytest

from probe_agent import gpu, run
from probe_agent.gpu import Gpu

MIB = 1 << 20


class Library:
    """Stands in for pynvml. `gone` are numbers of GPUs that fell off the bus; `slices` are those of each UUID."""

    class NVMLError(Exception):
        pass

    def __init__(self, uuids=("GPU-aaaa-1", "GPU-bbbb-2"), gone=(), slices=None):
        self.uuids, self.gone, self.slices, self.lost, self.open = uuids, gone, slices or {}, False, 0

    def nvmlInit(self):
        self.open += 1

    def nvmlShutdown(self):
        self.open -= 1

    def nvmlDeviceGetCount(self):
        return len(self.uuids)

    def nvmlDeviceGetHandleByIndex(self, number):
        if number in self.gone:
            raise self.NVMLError("GPU is lost")
        return self.uuids[number]

    def nvmlDeviceGetHandleByUUID(self, uuid):
        if uuid not in (*self.uuids, *(each for found in self.slices.values() for each in found)):
            raise self.NVMLError
        return uuid

    def nvmlDeviceGetUUID(self, handle):
        return handle

    def nvmlDeviceGetName(self, handle):
        return "NVIDIA H200"

    def nvmlDeviceGetMigMode(self, handle):
        if handle == "GPU-old":
            raise self.NVMLError("Not Supported")
        return [int(handle in self.slices)] * 2

    def nvmlDeviceGetMaxMigDeviceCount(self, handle):
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle, place):
        if place >= len(self.slices[handle]):
            raise self.NVMLError("Not Found")
        return self.slices[handle][place]

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
def node(monkeypatch):
    """Return a function that gives this node GPUs; each time the library was opened, it is closed again."""
    made = []

    def have(*uuids, **more):
        made.append(Library(uuids, **more))
        monkeypatch.setitem(sys.modules, "pynvml", made[-1])
        return made[-1]

    yield have
    assert [library.open for library in made] == [0] * len(made)


@pytest.fixture
def library(node):
    return node("GPU-aaaa-1", "GPU-bbbb-2")


EIGHT = tuple(f"GPU-{number}e" for number in range(8))


@pytest.mark.parametrize(
    ("visible", "uuid"),
    [
        (None, "GPU-aaaa-1"),
        ("1", "GPU-bbbb-2"),
        ("1,0", "GPU-bbbb-2"),
        ("GPU-bbbb-2", "GPU-bbbb-2"),
        (" GPU-bb", "GPU-bbbb-2"),
        ("MIG-dddd-4", None),
        ("GPU-cccc", None),
        ("2", None),
        ("-1", None),
        ("", None),
        ("GPU-", None),  # the start of both
    ],
)
def test_the_first_device_that_the_environment_shows(library, visible, uuid):
    with gpu.first_visible({} if visible is None else {gpu.VISIBLE: visible}) as device:
        assert (device and device.uuid) == uuid


@pytest.mark.parametrize(
    ("visible", "numbers"),
    [
        (None, range(8)),
        ("6,GPU-2e,0", (6, 2, 0)),
        ("3,9,1", (3,)),  # CUDA stops at what it cannot find
        ("3,3,1", (3,)),
    ],
)
def test_devices_come_in_the_order_that_cuda_gives_them(node, visible, numbers):
    node(*EIGHT)
    assert gpu.visible(gpu.listed(), visible) == [EIGHT[number] for number in numbers]


@pytest.mark.parametrize(
    ("wanted", "visible", "numbers"),
    [
        ((), None, range(8)),
        (("all",), None, range(8)),
        (("all",), "4,5", (4, 5)),
        (("5", "GPU-1e"), None, (5, 1)),
        (("GPU-4e",), "GPU-5e,GPU-4e", (4,)),
        (("4",), "GPU-5e,GPU-4e", (4,)),  # an index counts all GPUs of the node, also beside CUDA_VISIBLE_DEVICES
    ],
)
def test_the_gpus_of_the_spec_are_chosen_from_those_that_are_visible(node, wanted, visible, numbers):
    node(*EIGHT)
    assert gpu.choose(wanted, gpu.listed(), visible) == [EIGHT[number] for number in numbers]


@pytest.mark.parametrize(
    ("wanted", "visible", "said"),
    [
        (("2",), None, r"probe_gpus has 2, and this node has 0 \(GPU-aaaa-1\), 1 \(GPU-bbbb-2\)"),
        (("GPU-cc",), None, "probe_gpus has GPU-cc, and this node has"),
        (("0",), "1", "probe_gpus has 0, which CUDA_VISIBLE_DEVICES=1 in the agent's environment hides"),
        (("1", "GPU-bbbb-2"), None, "probe_gpus has GPU-bbbb-2, and names that GPU twice"),
    ],
)
def test_a_gpu_that_cannot_be_measured_is_refused(library, wanted, visible, said):
    with pytest.raises(ValueError, match=said):
        gpu.choose(wanted, gpu.listed(), visible)


def test_a_node_without_gpus_is_named_so():
    with pytest.raises(ValueError, match="this node has no GPU that NVML sees"):
        gpu.choose(("0",), [], None)


def test_a_gpu_that_fell_off_the_bus_leaves_the_others(node):
    node(*EIGHT[:3], gone={1})
    assert gpu.listed()[1] == Gpu(1, lost="GPU is lost")
    assert gpu.choose(("all",), gpu.listed(), None) == [EIGHT[0], EIGHT[2]]
    assert [found["uuid"] for found in gpu.occupied()] == [EIGHT[0], EIGHT[2]]
    assert gpu.names() == ["NVIDIA H200"] * 2
    with pytest.raises(ValueError, match="probe_gpus has 1, and GPU 1 does not answer: GPU is lost"):
        gpu.choose(("1",), gpu.listed(), None)


def test_of_a_divided_gpu_processes_get_one_slice(node):
    node("GPU-aaaa-1", "GPU-old", slices={"GPU-aaaa-1": ("MIG-cccc-3", "MIG-dddd-4")})
    divided, whole = gpu.listed()
    assert (divided.mig, divided.slices, whole.mig) == (True, ("MIG-cccc-3", "MIG-dddd-4"), False)
    assert gpu.visible(gpu.listed(), None) == ["MIG-cccc-3", "GPU-old"]
    for value in (None, "MIG-dddd-4"):
        assert gpu.choose(("MIG-dddd-4",), gpu.listed(), value) == ["MIG-dddd-4"]
    with gpu.first_visible({gpu.VISIBLE: "MIG-dddd-4"}) as device:
        assert (device.uuid, device.utilization_percent()) == ("MIG-dddd-4", None)


def test_a_divided_gpu_without_slices_gives_processes_nothing(node):
    node("GPU-aaaa-1", slices={"GPU-aaaa-1": ()})
    assert gpu.visible(gpu.listed(), None) == gpu.visible(gpu.listed(), "0") == []


@pytest.mark.parametrize(
    ("flags", "gpus"),
    [
        ((), 1),
        (("--tensor-parallel-size=2",), 2),
        (("--tensor_parallel_size=2",), 2),
        (("--tensor-parallel-size", "4", "-pp", "2"), 8),
        (("-tp", "2", "--tensor-parallel-size=4"), 4),
        (("--tensor-parallel-size",), 1),
        (("--tensor-parallel-size", "many"), 1),
        (("--max-num-seqs", "64"), 1),
    ],
)
def test_a_server_takes_as_many_gpus_as_its_flags_ask_for(flags, gpus):
    assert gpu.parallel(flags) == gpus


def test_a_server_sees_its_gpus_alone(node):
    node(*EIGHT)
    chosen = [EIGHT[6], EIGHT[3]]
    seen = gpu.of_server((), chosen, gpu.listed())
    assert seen == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "6"}
    assert gpu.of_server(("-tp=2",), chosen, gpu.listed())["CUDA_VISIBLE_DEVICES"] == "6,3"
    assert gpu.of_server((), ["MIG-cccc-3"], gpu.listed())["CUDA_VISIBLE_DEVICES"] == "MIG-cccc-3"
    with gpu.opened(seen) as devices:
        assert [device.uuid for device in devices] == [EIGHT[6]]
    with pytest.raises(ValueError, match="asks for 4 GPUs, and 2 can be used"):
        gpu.of_server(("-tp=4",), chosen, gpu.listed())


def test_reads_memory_utilization_and_who_holds_it(library):
    with gpu.first_visible({}) as device:
        assert device.memory_mb() == (500, 1000)
        assert device.utilization_percent() == 42
        assert device.holders() == [
            gpu.Holder(9, "program-9", 400),
            gpu.Holder(8, "program-8", 100),
            gpu.Holder(7, "a process", None),
        ]


def test_a_device_lost_on_the_way_reads_as_unknown(library):
    with gpu.first_visible({}) as device:
        library.lost = True
        assert (device.memory_mb(), device.utilization_percent(), device.holders()) == (None, None, [])


def test_a_node_without_the_library_has_no_device(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with gpu.first_visible({}) as device:
        assert device is None
    assert (gpu.listed(), gpu.chosen(), gpu.environment([])) == ([], [], {})
    assert gpu.of_server(("-tp=2",), [], []) == {}


def test_an_agent_that_is_asked_to_end_while_it_looks_for_gpus_ends(monkeypatch):
    """The signal came in the middle of the library's import once, and was taken for its absence."""

    def asked():
        raise run.Stopped

    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(nvmlInit=asked))
    with pytest.raises(run.Stopped):
        gpu.listed()
