"""PCIe links through a driver that answers only some of the questions."""

import sys
from types import SimpleNamespace

import pytest

from probe_agent import gpu


class NVMLError(Exception):
    pass


def unsupported(_handle):
    raise NVMLError("Not Supported")


@pytest.fixture
def driver(monkeypatch):
    """Return a driver of one GPU; a test changes what it answers."""
    nvml = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda number: number,
        nvmlDeviceGetName=lambda _: "A GPU",
        nvmlDeviceGetUUID=lambda _: "GPU-1",
        nvmlDeviceGetPciInfo=lambda _: SimpleNamespace(busId="00000000:3B:00.0"),
        nvmlDeviceGetCurrPcieLinkGeneration=lambda _: 1,
        nvmlDeviceGetCurrPcieLinkWidth=lambda _: 8,
        nvmlDeviceGetMaxPcieLinkGeneration=lambda _: 5,
        nvmlDeviceGetMaxPcieLinkWidth=lambda _: 16,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    return nvml


def test_a_link_is_read_with_its_limits(driver):
    assert gpu.links() == [
        {
            "index": 0,
            "name": "A GPU",
            "uuid": "GPU-1",
            "pci_bus_id": "00000000:3B:00.0",
            "pcie_generation": 1,
            "pcie_width": 8,
            "pcie_max_generation": 5,
            "pcie_max_width": 16,
            "unread": {},
        }
    ]


def test_what_the_driver_does_not_answer_is_named_and_the_rest_is_kept(driver):
    driver.nvmlDeviceGetCurrPcieLinkWidth = unsupported
    (link,) = gpu.links()
    assert (link["pcie_width"], link["pcie_max_width"]) == (None, 16)
    assert link["unread"] == {"pcie_width": "Not Supported"}


def test_a_node_without_a_driver_has_no_links(driver):
    driver.nvmlInit = lambda: unsupported(None)
    assert gpu.links() == []
