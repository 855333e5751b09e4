"""Pools: read per size and NUMA node, sized by count or share, and never beyond the memory there is."""

import pytest

from probe_agent.host import hugepages
from probe_agent.host.hugepages import NODES, POOLS, Wish
from probe_agent.host.knobs import Change

MEMORY = {"MemTotal": 16 << 20, "MemAvailable": 8 << 20}  # kB: 16 and 8 GiB
SMALL = f"{POOLS}/hugepages-2048kB/nr_hugepages"


def pool_files(folder: str, size_kb: int, total: int, node: bool = False) -> dict[str, str]:
    counts = {"nr_hugepages": total, "free_hugepages": total, "surplus_hugepages": 0}
    counts |= {} if node else {"resv_hugepages": 0, "nr_overcommit_hugepages": 0, "nr_hugepages_mempolicy": total}
    return {f"{folder}/hugepages-{size_kb}kB/{name}": f"{count}\n" for name, count in counts.items()}


@pytest.fixture
def pools(fake_root):
    return hugepages.read(
        fake_root(
            pool_files(POOLS, 2048, 512)
            | pool_files(POOLS, 1 << 20, 0)
            | pool_files(f"{NODES}/node0/hugepages", 2048, 512, node=True)
            | pool_files(f"{NODES}/node1/hugepages", 2048, 0, node=True)
        )
    )


def test_reads_every_size_and_node(pools):
    assert [(pool.size_kb, pool.numa_node, pool.total) for pool in pools] == [
        (2048, None, 512),
        (1 << 20, None, 0),
        (2048, 0, 512),
        (2048, 1, 0),
    ]


def test_a_kernel_without_hugetlb_has_no_pools_and_says_so(tmp_path):
    assert hugepages.read(tmp_path) == []
    with pytest.raises(ValueError, match="no hugetlb pages"):
        hugepages.plan([], [Wish(count=1)], None, MEMORY)


@pytest.mark.parametrize(
    ("wish", "pages"),
    [(Wish(count=1024), "1024"), (Wish(percent=25), "2048"), (Wish(count=0), "0")],
)
def test_a_pool_is_a_count_or_a_share(pools, wish, pages):
    assert hugepages.plan(pools, [wish], 2048, MEMORY) == [Change(SMALL, "512", pages)]


def test_a_wish_fulfilled_owes_nothing(pools):
    assert hugepages.plan(pools, [Wish(count=512)], 2048, MEMORY) == []


def test_one_numa_node_is_set_by_its_own_file(pools):
    planned = hugepages.plan(pools, [Wish(size_kb=2048, count=4, numa_node=1)], 2048, MEMORY)
    assert planned == [Change(f"{NODES}/node1/hugepages/hugepages-2048kB/nr_hugepages", "0", "4")]


@pytest.mark.parametrize(
    ("wishes", "sentence"),
    [
        ([Wish(count=-1)], r"hugepages_pools\[0\] has count -1, and must be 0 or more"),
        ([Wish(percent=101)], r"has percent 101, and must be between 0 and 100"),
        ([Wish()], r"must say either count or percent"),
        ([Wish(count=1, percent=1)], r"must say either count or percent"),
        ([Wish(size_kb=64, count=1)], r"of size_kb 64 .* must be of a size \(2048, 1048576\)"),
        ([Wish(count=1, numa_node=7)], r"on numa_node 7, .* on a NUMA node \(0, 1\)"),
        ([Wish(count=4609)], r"is 4609 pages of 2048 kB \(9218 MiB\), and must be at most 4608: .* 8192 MiB"),
        ([Wish(count=4608), Wish(size_kb=1 << 20, count=1)], r"hugepages_pools\[1\] is 1 pages .* at most 0"),
    ],
)
def test_refuses_in_a_sentence(pools, wishes, sentence):
    with pytest.raises(ValueError, match=sentence):
        hugepages.plan(pools, wishes, 2048, MEMORY)


def test_shrinking_one_pool_makes_room_for_another(pools):
    wishes = [Wish(count=0), Wish(size_kb=1 << 20, count=9)]
    assert len(hugepages.plan(pools, wishes, 2048, MEMORY)) == 2
