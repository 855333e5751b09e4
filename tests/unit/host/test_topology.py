"""Where CPUs, memory and devices sit, from the trees of machines unlike this one."""

import os
import re

import pytest

from probe_agent.host import topology
from probe_agent.host.topology import NODES, PCI, Allowed, Link, Nearness, Node

GPU = f"{PCI}/0000:81:00.0"
GROUPS = topology.IOMMU_GROUPS


def node_files(number: int, cpus: str, memory_kb: int) -> dict[str, str]:
    folder = f"{NODES}/node{number}"
    return {f"{folder}/cpulist": f"{cpus}\n", f"{folder}/meminfo": f"Node {number} MemTotal:  {memory_kb} kB\n"}


def status(cpus: str, memory_nodes: str) -> dict[str, str]:
    lists = f"Cpus_allowed:\tff\nCpus_allowed_list:\t{cpus}\nMems_allowed:\t1\nMems_allowed_list:\t{memory_nodes}\n"
    return {"proc/self/status": f"Name:\tpython3\n{lists}voluntary_ctxt_switches:\t7\n"}


def gpu_files(numa_node: int, width: int = 16, speed: str = "32.0 GT/s PCIe") -> dict[str, str]:
    return {
        f"{GPU}/numa_node": f"{numa_node}\n",
        f"{GPU}/current_link_speed": f"{speed}\n",
        f"{GPU}/max_link_speed": "32.0 GT/s PCIe\n",
        f"{GPU}/current_link_width": f"{width}\n",
        f"{GPU}/max_link_width": "16\n",
    }


TWO_SOCKETS = {**node_files(0, "0-15,32-47", 1 << 28), **node_files(1, "16-31,48-63", 1 << 28)}


def near(root) -> Nearness:
    device = topology.pci_device("00000000:81:00.0", root)
    return topology.nearness(device.numa_node, topology.nodes(root), topology.allowed(root))


def test_a_guest_with_one_node_has_every_cpu_near(fake_root):
    root = fake_root({**node_files(0, "0-1", 24 << 20), **status("0-1", "0"), **gpu_files(-1)})
    assert topology.nodes(root) == [Node(0, (0, 1), 24 << 10)]
    assert topology.pci_device("0000:81:00.0", root).numa_node is None
    assert near(root) == Nearness("all", "there is one NUMA node, so every CPU is as near as any other")


@pytest.mark.parametrize(
    ("cpus", "verdict", "sentence"),
    [
        ("16-31,48-63", "all", "all CPUs this process may use (16-31,48-63) are on NUMA node 1"),
        ("8-23", "some", "8 of the 16 CPUs this process may use are on NUMA node 1 (CPUs 16-31,48-63)"),
        ("0-15", "none", "none of the CPUs this process may use (0-15) is on NUMA node 1 (CPUs 16-31,48-63)"),
    ],
)
def test_a_gpu_on_the_second_socket_is_near_to_its_cpus(fake_root, cpus, verdict, sentence):
    found = near(fake_root({**TWO_SOCKETS, **gpu_files(1), **status(cpus, "0-1")}))
    assert found.verdict == verdict
    assert found.sentence.startswith(sentence)
    assert "may not use" not in found.sentence


def test_memory_that_a_cpuset_withholds_is_named(fake_root):
    found = near(fake_root({**TWO_SOCKETS, **gpu_files(1), **status("16-31", "0")}))
    assert found.verdict == "all"
    assert found.sentence.endswith(", whose memory it may not use")


def test_a_gpu_whose_node_a_hypervisor_hides_is_unknown_on_two_sockets(fake_root):
    found = near(fake_root({**TWO_SOCKETS, **gpu_files(-1), **status("0-63", "0-1")}))
    assert found.verdict == "unknown"
    assert "the kernel does not say" in found.sentence


def test_memory_of_a_device_is_a_node_without_cpus(fake_root):
    """As an arm64 superchip shows the memory of its GPU."""
    root = fake_root({**node_files(0, "0-71", 480 << 20), **node_files(1, "", 96 << 20), **status("0-71", "0-1")})
    assert [node.cpus for node in topology.nodes(root)] == [tuple(range(72)), ()]
    assert topology.nearness(1, topology.nodes(root), topology.allowed(root)).verdict == "none"


def test_nodes_are_in_order_of_their_number(fake_root):
    root = fake_root({name: text for number in (10, 2, 1) for name, text in node_files(number, "", 1024).items()})
    assert [node.number for node in topology.nodes(root)] == [1, 2, 10]


def test_a_kernel_without_numa_or_proc_gives_nothing(fake_root):
    root = fake_root({})
    assert topology.nodes(root) == []
    assert topology.allowed(root) == Allowed((), ())
    assert topology.nearness(None, [], Allowed((0,), ())).verdict == "all"


def test_an_empty_list_is_not_filled_from_the_next_line(fake_root):
    assert topology.allowed(fake_root(status("0-1", ""))).memory_nodes == ()


@pytest.mark.parametrize(
    ("changed", "below"),
    [
        ({}, ""),
        ({"width": 8}, "x8 of x16"),
        ({"speed": "2.5 GT/s PCIe"}, "generation 1 of 5"),
        ({"width": 8, "speed": "16.0 GT/s PCIe"}, "generation 4 of 5, x8 of x16"),
        ({"width": 63, "speed": "Unknown"}, ""),
    ],
)
def test_a_link_below_what_the_device_supports_is_told(fake_root, changed, below):
    device = topology.pci_device("00000000:81:00.0", fake_root(gpu_files(0, **changed)))
    assert device.address == "0000:81:00.0"
    assert topology.shortfall(device.link) == below


def test_a_device_without_link_files_has_an_unknown_link(fake_root):
    device = topology.pci_device("0000:00:03.0", fake_root({f"{PCI}/0000:00:03.0/numa_node": "-1\n"}))
    assert device.link == Link()
    assert topology.shortfall(device.link) == ""


@pytest.mark.parametrize(
    ("written", "address"),
    [("00000000:3B:00.0", "0000:3b:00.0"), ("0000:3b:00.0", "0000:3b:00.0"), ("00010000:01:00.0", "10000:01:00.0")],
)
def test_a_bus_id_of_nvml_becomes_one_of_sysfs(written, address):
    assert topology.pci_address(written) == address


def groups(*types: str) -> dict[str, str]:
    return {f"{GROUPS}/{number}/type": f"{name}\n" for number, name in enumerate(types)}


@pytest.mark.parametrize(
    ("files", "mode", "read_from"),
    [
        ({"proc/cmdline": "quiet", "sys/kernel/x": ""}, "off", "no group in /sys/kernel/iommu_groups"),
        ({"proc/cmdline": "intel_iommu=on", "sys/kernel/x": ""}, "off", "command line: intel_iommu=on"),
        ({"proc/cmdline": "quiet", **groups("DMA-FQ", "DMA-FQ")}, "lazy", "2 of type DMA-FQ; nothing of it"),
        ({"proc/cmdline": "iommu.strict=1", **groups("DMA")}, "strict", "1 of type DMA; command line: iommu.strict=1"),
        (
            {"proc/cmdline": "amd_iommu=on iommu=pt", **groups("identity")},
            "passthrough",
            "1 of type identity; command line: amd_iommu=on iommu=pt",
        ),
        ({"proc/cmdline": "", **groups("identity", "DMA")}, "mixed", "1 of type DMA, 1 of type identity"),
        ({"proc/cmdline": "iommu=pt", f"{GROUPS}/0/name": ""}, "passthrough", "1 groups .*, none with a type"),
        (
            {"proc/cmdline": "", f"{GROUPS}/0/name": "", "sys/class/iommu/smmu3.0x0000000017280000/uevent": ""},
            "on",
            "units: smmu3.0x0000000017280000",
        ),
        ({"proc/cmdline": "iommu=pt"}, "unknown", "/sys/kernel is not there"),
    ],
)
def test_the_iommu_in_one_word_and_what_it_was_read_from(fake_root, files, mode, read_from):
    found = topology.iommu(fake_root(files))
    assert found.mode == mode
    assert re.search(read_from, found.read_from)


def test_a_device_has_the_mode_of_its_own_group(fake_root):
    root = fake_root({**gpu_files(0), **groups("identity", "DMA")})
    (root / GPU / "iommu_group").symlink_to(root / GROUPS / "0")
    assert topology.pci_device("0000:81:00.0", root).iommu == "passthrough"


@pytest.mark.parametrize("text", ["", "0", "0-3,8", "0,2,4-5", "16-31,48-63"])
def test_lists_are_read_and_written_as_the_kernel_does(text):
    assert topology.format_list(topology.parse_list(text)) == text


def test_reads_this_machine():
    assert topology.allowed().cpus == tuple(sorted(os.sched_getaffinity(0)))
    assert topology.iommu().mode
