"""What the bandwidth probe says of its samples, and of a node it can read only in part."""

import math
from types import SimpleNamespace

import pytest

from probe_agent import gpu
from probe_agent.engines.fresh import ProcessFailed
from probe_agent.gpu import Gpu
from probe_agent.host import topology
from probe_agent.probes import bandwidth

GIB = 1 << 30
LINK = {
    "index": 0,
    "name": "A GPU",
    "uuid": "GPU-1",
    "pci_bus_id": "00000000:81:00.0",
    "pcie_generation": 1,
    "pcie_width": 8,
    "pcie_max_generation": 5,
    "pcie_max_width": 16,
    "unread": {},
}
TWO_SOCKETS = {
    f"{topology.PCI}/0000:81:00.0/numa_node": "1\n",
    f"{topology.NODES}/node0/cpulist": "0-7\n",
    f"{topology.NODES}/node1/cpulist": "8-15\n",
    "proc/self/status": "Cpus_allowed_list:\t0-7\nMems_allowed_list:\t0-1\n",
}


def row(measure, seconds=1.0, size=GIB, **more):
    return {"measure": measure, "repeat": 0, "bytes": size, "seconds": seconds, **more}


def generations(*rss_mb, seconds=1.0, device="cpu"):
    return [row("generation", seconds, None, rss_mb=rss, device=device, repeat=n) for n, rss in enumerate(rss_mb)]


def files_read(resident):
    return [row("read_cold", resident_pages_at_start=resident, pages=100)]


@pytest.fixture
def told(fake_root, monkeypatch):
    """Return a function that gives the evidence of samples on a node with two sockets."""

    def tell(samples, links=(), files=TWO_SOCKETS, listed=()):
        monkeypatch.setattr(gpu, "links", lambda: list(links))
        monkeypatch.setattr(gpu, "listed", lambda: list(listed))
        return bandwidth.evidence(samples, None, fake_root(files))

    return tell


@pytest.mark.parametrize(
    ("values", "slope"),
    [
        ([1.0, 2.0, 3.0], 1.0),
        ([5.0, 5.0, 5.0, 900.0, 5.0, 5.0], 0.0),
        ([0.0, 0.5, 1.0, 99.0, 2.0, 2.5, 3.0], 0.5),
        ([7.0], None),
        ([], None),
    ],
)
def test_one_outlier_does_not_move_the_slope(values, slope):
    assert bandwidth.theil_sen(values) == slope


def test_drift_and_jitter_leave_the_warm_up_out():
    samples = generations(100, 300, 500, 600, 601, 602, 603)
    samples[0]["seconds"] = 50.0
    found = bandwidth.steadiness(samples)
    assert (found["generations"], found["rss_drift_mb"], found["jitter"]) == (4, 1.0, 0.0)


def test_jitter_is_the_middle_half_over_the_median():
    assert bandwidth.spread([1.0, 2.0, 3.0, 4.0, 5.0]) == round(2 / 3, 4)
    assert bandwidth.spread([1.0]) is None


def test_a_headline_has_the_slowest_gpu_and_first_touch_as_processes_get_it():
    found = bandwidth.headline(
        [
            row("h2d_pinned", 0.02, gpu="GPU-1"),
            row("h2d_pinned", 0.04, gpu="GPU-2"),
            row("pinned_alloc", 0.3, gpu="GPU-1"),
            row("pinned_alloc", 0.1, GIB // 4, gpu="GPU-1"),
            row("first_touch", 0.5, advice="none", page_faults=1000),
            row("first_touch", 0.1, advice="hugepage", page_faults=2),
            row("read_cold", 2.0),
            *generations(100, 100, 100, 100, 102, 104),
        ]
    )
    assert found == {
        "h2d_pinned_gib_per_s": 25.0,
        "pinned_alloc_s": 0.3,
        "first_touch_gib_per_s": 2.0,
        "first_touch_faults_per_s": 2000,
        "read_cold_mib_per_s": 512.0,
        "generation_jitter": 0.0,
        "rss_drift_mb": 2.0,
    }


def test_a_headline_of_nothing_is_empty():
    assert bandwidth.headline([]) == {}


class Bench:
    """One whose processes run on the GPU that they are told, and break on GPU-3."""

    spec, deadline, model = SimpleNamespace(gpus=("all",), repeats=0, seed=1), math.inf, "model"
    progress = SimpleNamespace(expect=lambda _: None, step=lambda _: None)

    def process(self, arm, new_tokens, generations, device=""):
        if device == "GPU-3":
            raise ProcessFailed("the process ended with status 1: CUDA error: uncorrectable ECC error encountered")
        reply = {"generation_latencies_s": [1.0] * generations, "rss_after_mb": [9.0] * generations, "device": "cuda:0"}
        return {"gpu": device or "GPU-1"}, SimpleNamespace(reply=reply)

    def child(self, module, job, environment):
        return SimpleNamespace(reply={"rows": []})


def test_every_gpu_named_generates_and_one_that_breaks_leaves_the_others(monkeypatch):
    monkeypatch.setattr(gpu, "chosen", lambda: ["GPU-1", "GPU-2", "GPU-3", "GPU-4"])
    monkeypatch.setattr(bandwidth.models, "files", lambda _: [])
    found = list(bandwidth.rows(Bench()))
    assert [(row["measure"], row["gpu"]) for row in found if row["repeat"] == 0] == [
        ("generation", "GPU-1"),
        *(("gpu_generation", f"GPU-{number}") for number in (2, 3, 4)),
    ]
    (broken,) = (row for row in found if "error" in row)
    assert broken["gpu"] == "GPU-3" and "uncorrectable ECC error" in broken["error"]
    assert bandwidth.steadiness(found)["generations"] == bandwidth.GENERATIONS - bandwidth.WARM_UP


def test_without_a_list_one_gpu_generates(monkeypatch):
    monkeypatch.setattr(gpu, "chosen", lambda: ["GPU-1", "GPU-2"])
    monkeypatch.setattr(bandwidth.models, "files", lambda _: [])
    monkeypatch.setattr(Bench, "spec", SimpleNamespace(gpus=(), repeats=0, seed=1))
    assert {row["gpu"] for row in bandwidth.rows(Bench())} == {"GPU-1"}


def test_what_the_driver_says_of_lost_and_divided_gpus_is_told(told):
    listed = [Gpu(0, "GPU-1", "A GPU", mig=True, slices=("MIG-1",)), Gpu(1, lost="GPU is lost")]
    samples = [row("h2d_pinned", gpu="GPU-of-the-slice"), *generations(1, device="cuda:0")]
    found = told(samples, [LINK], listed=listed)
    assert found["gpus_lost"] == ["GPU 1 of 2 does not answer the driver: GPU is lost"]
    assert found["unread"] == [*found["gpus_lost"], "GPU-1 is divided by MIG: figures of a GPU are those of a slice"]


def test_a_measure_that_failed_is_a_sentence_and_no_figure(told):
    failed = {**row("d2h_pinned", size=None, gpu="GPU-1"), "error": "RuntimeError: out of memory"}
    assert bandwidth.headline([failed]) == {}
    found = told([failed, *generations(1, device="cuda:0")], [LINK])
    assert "d2h_pinned on GPU-1 failed: RuntimeError: out of memory" in found["unread"]


def test_a_gpu_on_the_other_socket_with_half_its_lanes(told):
    busy = row("h2d_pinned", gpu="GPU-1", pcie_generation=5, pcie_width=8)
    (found,) = told([busy, *generations(1, device="cuda:0")], [LINK])["gpus"]
    assert (found["pci_address"], found["numa_node"], found["cpus_near"]) == ("0000:81:00.0", 1, "8-15")
    assert found["process_is_near"] == "none"
    assert found["pcie"] == {"generation": 5, "width": 8, "max_generation": 5, "max_width": 16, "read": "during copies"}
    assert found["pcie_below_device"] == "x8 of x16"


def test_what_nvml_does_not_give_comes_from_sysfs_or_is_said(told):
    link = {**LINK, "pcie_width": None, "pcie_generation": None, "unread": {"pcie_width": "Not Supported"}}
    link["unread"]["pcie_generation"] = "Not Supported"
    files = {**TWO_SOCKETS, f"{topology.PCI}/0000:81:00.0/current_link_width": "16\n"}
    found = told([row("h2d_pinned", gpu="GPU-1"), *generations(1, device="cuda:0")], [link], files)
    assert found["gpus"][0]["pcie"]["width"] == 16
    assert found["unread"] == [
        "pcie_generation of GPU-1 could not be read: sysfs does not have it, and NVML says Not Supported"
    ]


@pytest.mark.parametrize(
    ("device", "links", "sentence"),
    [
        ("cpu", [], "NVML and torch see no GPU: pinned memory, copies and PCIe links were not measured"),
        ("cpu", [LINK], "torch uses no GPU although NVML sees one: pinned memory and copies were not measured"),
        ("cuda:0", [], "NVML sees no GPU although torch uses one: its NUMA node and PCIe link are not known"),
    ],
)
def test_a_measure_never_goes_missing_in_silence(told, device, links, sentence):
    assert told(generations(1, device=device), links)["unread"] == [sentence]


def test_a_gpu_without_an_address_is_still_described(told):
    link = {**LINK, "pci_bus_id": None, "unread": {"pci_bus_id": "Not Supported"}}
    found = told([row("h2d_pinned", gpu="GPU-1"), *generations(1, device="cuda:0")], [link])
    assert found["gpus"][0]["pcie"]["max_width"] == 16
    assert [sentence.split(":")[0] for sentence in found["unread"]] == [
        "pci_bus_id of GPU-1 could not be read",
        "NUMA node of GPU-1 is not known",
    ]


def test_a_gpu_that_torch_does_not_see_is_named(told):
    samples = [row("h2d_pinned", gpu="GPU-1"), *generations(1, device="cuda:0")]
    assert told(samples, [LINK, {**LINK, "uuid": "GPU-2"}])["unread"] == [
        "nothing was copied to GPU-2: probe_gpus or CUDA_VISIBLE_DEVICES hides it"
    ]


def test_a_link_width_of_zero_is_no_width(told):
    """A hypervisor's NVML answered, with nothing in it."""
    samples = [row("h2d_pinned", gpu="GPU-1"), *generations(1, device="cuda:0")]
    found = told(samples, [{**LINK, "pcie_width": 0}])
    assert found["gpus"][0]["pcie"]["width"] is None
    assert found["unread"] == ["pcie_width of GPU-1 could not be read: sysfs does not have it, and NVML says 0"]


def test_a_cold_read_that_was_not_cold_is_said(told):
    assert told(files_read(resident=1))["eviction_worked"]
    found = told(files_read(resident=40))
    assert not found["eviction_worked"]
    assert "the cold read rate is not cold: 40 % of the model's pages stayed in the page cache" in found["unread"]


def test_first_touch_is_told_per_advice(told):
    touched = [
        row("first_touch", 0.5, advice="none", page_faults=262144, anon_huge_mb=0),
        row("first_touch", 0.1, advice="hugepage", page_faults=512, anon_huge_mb=1024),
    ]
    assert told(touched)["first_touch"] == {
        "none": {"gib_per_s": 2.0, "page_faults": 262144, "anon_huge_mb": 0},
        "hugepage": {"gib_per_s": 10.0, "page_faults": 512, "anon_huge_mb": 1024},
    }
