"""Which NUMA node a process is bound to, and what it shows of that."""

import pytest

from probe_agent.host import numa

NODES = {
    "sys/devices/system/node/node0/cpulist": "0-3\n",
    "sys/devices/system/node/node1/cpulist": "4-7\n",
    "sys/devices/system/node/node2/cpulist": "\n",
}
GPU = "0000:41:00.0"


def gpu_on(node, gpu=GPU):
    return {f"proc/driver/nvidia/gpus/{gpu}/information": "", f"sys/bus/pci/devices/{gpu}/numa_node": f"{node}\n"}


@pytest.mark.parametrize(
    ("files", "number"),
    [
        ({}, 0),
        (gpu_on(1), 1),
        (gpu_on(-1), 0),  # a hypervisor that does not say
        (gpu_on(2), 0),  # no CPU there
    ],
)
def test_the_best_node_is_that_of_the_gpu_where_it_is_known(fake_root, files, number):
    assert numa.best(root=fake_root({**NODES, **files})).number == number


def test_the_best_node_is_that_of_the_gpu_that_is_measured(fake_root):
    other = {
        "proc/driver/nvidia/gpus/0000:01:00.0/information": "",
        "sys/bus/pci/devices/0000:01:00.0/numa_node": "0\n",
    }
    root = fake_root({**NODES, **gpu_on(1), **other})
    assert (numa.best(root=root).number, numa.best(f"0000{GPU}", root).number) == (0, 1)


def test_a_kernel_without_nodes_has_none_to_bind_to(fake_root):
    with pytest.raises(ValueError, match="no NUMA node"):
        numa.best(root=fake_root({}))


@pytest.mark.parametrize(
    ("text", "policy"),
    [("55dd default file=/bin/cat N0=2\n", "default"), ("55dd bind:1 anon=1 N1=1\n", "bind:1"), ("", "")],
)
def test_the_policy_is_that_of_the_first_mapping(fake_root, text, policy):
    assert numa.policy(7, fake_root({"proc/7/numa_maps": text})) == policy
