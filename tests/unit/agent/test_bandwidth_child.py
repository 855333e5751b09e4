"""The child that moves memory: what needs no GPU for real, what needs one with a stand-in for torch."""

import mmap
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from probe_agent import gpu
from probe_agent.engines import bandwidth_child

MIB = 1 << 20
MEMORY = Path("/dev/shm")  # noqa: S108 - a tmpfs is what the test is about


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(bandwidth_child, "TOUCHED_BYTES", 8 * MIB)


def test_each_fresh_page_faults_once_without_huge_pages(small):
    (row,) = bandwidth_child.first_touch({"repeat": 2, "advice": ["nohugepage"]})
    assert (row["measure"], row["repeat"], row["bytes"]) == ("first_touch", 2, 8 * MIB)
    assert row["pages"] == 8 * MIB // mmap.PAGESIZE
    assert row["pages"] <= row["page_faults"] <= row["pages"] + 64
    assert row["anon_huge_mb"] == 0


def test_an_advice_the_kernel_refuses_leaves_the_others(small, monkeypatch):
    monkeypatch.setitem(bandwidth_child.ADVICE, "hugepage", 9999)
    refused, touched = bandwidth_child.first_touch({"repeat": 0, "advice": ["hugepage", "none"]})
    assert refused["error"].startswith("OSError: [Errno 22]")
    assert refused["bytes"] is None
    assert touched["bytes"] == 8 * MIB


def test_files_are_read_cold_then_warm(tmp_path):
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        file.write_bytes(b"x" * (3 * MIB + 1))
    cold, warm = bandwidth_child.read({"repeat": 0, "files": [str(file) for file in files]})
    assert cold["bytes"] == warm["bytes"] == 2 * (3 * MIB + 1)
    assert cold["resident_pages_at_start"] == 0
    assert warm["resident_pages_at_start"] == warm["pages"]


@pytest.mark.skipif(not MEMORY.is_dir(), reason="no filesystem in memory")
def test_files_that_cannot_leave_the_page_cache_are_shown_resident():
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        file = Path(folder) / "weights"
        file.write_bytes(b"x" * MIB)
        cold, _ = bandwidth_child.read({"repeat": 0, "files": [str(file)]})
    assert cold["resident_pages_at_start"] == cold["pages"] > 0


def test_of_a_large_model_only_so_much_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(bandwidth_child, "MOST_READ_BYTES", MIB)
    (tmp_path / "a").write_bytes(b"x" * (3 * MIB))
    (tmp_path / "b").write_bytes(b"x" * MIB)
    cold, warm = bandwidth_child.read({"repeat": 0, "files": [str(tmp_path / "a"), str(tmp_path / "b")]})
    assert cold["bytes"] == warm["bytes"] == MIB


class Torch:
    """As much of torch as the measures of GPUs use. `pins` tells whether memory can be pinned."""

    def __init__(self, pins=True):
        self.uint8, self.pins, self.made, self.emptied = "uint8", pins, [], 0
        self.accelerator = SimpleNamespace(empty_host_cache=self.empty_host_cache)
        self.cuda = SimpleNamespace(
            device_count=lambda: 1,
            synchronize=lambda _: None,
            get_device_properties=lambda _: SimpleNamespace(uuid="1"),
        )

    def empty_host_cache(self):
        self.emptied += 1

    def device(self, kind, number):
        return f"{kind}:{number}"

    def ones(self, size, dtype, pin_memory=False, device="cpu"):
        if pin_memory and not self.pins:
            raise RuntimeError("CUDA error: out of memory\nCompile with debugging")
        self.made.append((size, pin_memory, device))
        return SimpleNamespace(copy_=lambda source, non_blocking: None)

    empty = ones


@pytest.fixture
def links(monkeypatch):
    monkeypatch.setattr(gpu, "links", lambda: [{"uuid": "GPU-1", "pcie_generation": 5, "pcie_width": 16}])


def test_pinned_memory_is_fresh_each_time():
    torch = Torch()
    rows = bandwidth_child.pinned_allocations(torch, 2)
    assert [(row["bytes"] // MIB, row["repeat"]) for row in rows] == [(256, 0), (256, 1), (1024, 0), (1024, 1)]
    assert {row["gpu"] for row in rows} == {"GPU-1"}
    assert torch.emptied == len(torch.made) == 5


def test_pinning_that_fails_is_said_once():
    (row,) = bandwidth_child.pinned_allocations(Torch(pins=False), 3)
    assert row["error"] == "RuntimeError: CUDA error: out of memory Compile with debugging"


def test_copies_go_both_ways_with_the_link_read_meanwhile(links):
    rows = bandwidth_child.copies(Torch(), "cuda:0")
    assert {row["measure"] for row in rows} == {"h2d_pinned", "d2h_pinned", "h2d_pageable", "d2h_pageable"}
    assert len(rows) == 4 * bandwidth_child.COPIES
    assert all(row["pcie_generation"] == 5 and row["gpu"] == "GPU-1" for row in rows)


def test_copies_of_pageable_memory_go_on_where_none_can_be_pinned(links):
    rows = bandwidth_child.copies(Torch(pins=False), "cuda:0")
    assert [row["measure"] for row in rows if "error" in row] == ["h2d_pinned", "d2h_pinned"]
    assert {row["measure"] for row in rows if "error" not in row} == {"h2d_pageable", "d2h_pageable"}


def test_the_link_is_read_while_copies_run(monkeypatch):
    copied = []

    def waits_for_a_copy():
        while not copied:
            pass
        return [{"uuid": "GPU-2", "pcie_generation": 1, "pcie_width": 1}]

    monkeypatch.setattr(gpu, "links", waits_for_a_copy)
    assert bandwidth_child.link_during(lambda: copied.append(1), "GPU-1") == {}
    assert copied
