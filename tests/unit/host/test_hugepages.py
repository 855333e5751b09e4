"""Pools: read per size and NUMA node, sized by count or share, and never beyond the memory there is."""

import pytest

from probe_agent.host import hugepages, snapshot, tuning
from probe_agent.host.hugepages import NODES, POOLS, PoolWish
from probe_agent.host.knobs import Change
from probe_agent.host.tuning import Row

MEMINFO = "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\nHugepagesize: 2048 kB\n"  # 16 and 8 GiB
SMALL = f"{POOLS}/hugepages-2048kB/nr_hugepages"


def pool_files(folder: str, size_kb: int, total: int, node: bool = False) -> dict[str, str]:
    counts = {"nr_hugepages": total, "free_hugepages": total, "surplus_hugepages": 0}
    counts |= {} if node else {"resv_hugepages": 0, "nr_overcommit_hugepages": 0, "nr_hugepages_mempolicy": total}
    return {f"{folder}/hugepages-{size_kb}kB/{name}": f"{count}\n" for name, count in counts.items()}


@pytest.fixture
def root(fake_root):
    return fake_root(
        {"proc/meminfo": MEMINFO}
        | pool_files(POOLS, 2048, 512)
        | pool_files(POOLS, 1 << 20, 0)
        | pool_files(f"{NODES}/node0/hugepages", 2048, 512, node=True)
        | pool_files(f"{NODES}/node1/hugepages", 2048, 0, node=True)
    )


def changes(root, *wishes):
    return hugepages.plan(list(wishes), persists=False, root=root).changes


def test_reads_every_size_and_node(root):
    assert [(pool.size_kb, pool.numa_node, pool.total) for pool in hugepages.read(root)] == [
        (2048, None, 512),
        (1 << 20, None, 0),
        (2048, 0, 512),
        (2048, 1, 0),
    ]


def test_a_kernel_without_hugetlb_skips_its_pools_and_says_so(fake_root):
    root = fake_root({"proc/meminfo": "MemTotal: 100 kB\nMemAvailable: 100 kB\n"})
    assert hugepages.read(root) == []
    planned = hugepages.plan([PoolWish(count=0)], persists=True, root=root)
    assert "this node's kernel has no /sys/kernel/mm/hugepages" in planned.skipped["hugepages_pools[0]"]
    assert planned.files == []


@pytest.mark.parametrize(
    ("wish", "pages"),
    [(PoolWish(count=1024), "1024"), (PoolWish(percent=25), "2048"), (PoolWish(count=0), "0")],
)
def test_a_pool_is_a_count_or_a_share(root, wish, pages):
    assert changes(root, wish) == [Change(SMALL, "512", pages)]


def test_a_wish_fulfilled_owes_nothing(root):
    assert changes(root, PoolWish(count=512)) == []


def test_one_numa_node_is_set_by_its_own_file(root):
    expected = Change(f"{NODES}/node1/hugepages/hugepages-2048kB/nr_hugepages", "0", "4")
    assert changes(root, PoolWish(size_kb=2048, count=4, numa_node=1)) == [expected]


def test_overcommit_can_be_set_with_and_without_a_pool(root):
    overcommit = f"{POOLS}/hugepages-2048kB/nr_overcommit_hugepages"
    assert changes(root, PoolWish(overcommit=64)) == [Change(overcommit, "0", "64")]
    assert len(changes(root, PoolWish(count=1, overcommit=64))) == 2


@pytest.mark.parametrize(
    ("wishes", "sentence"),
    [
        ([PoolWish(count=-1)], r"hugepages_pools\[0\] has count -1, and must be 0 or more"),
        ([PoolWish(percent=101)], r"has percent 101, and must be between 0 and 100"),
        ([PoolWish()], r"must say either count or percent"),
        ([PoolWish(count=1, percent=1)], r"must say either count or percent"),
        ([PoolWish(size_kb=64, count=1)], r"of size_kb 64 .* must be of a size \(2048, 1048576\)"),
        ([PoolWish(count=1, numa_node=7)], r"on numa_node 7, .* on a NUMA node \(0, 1\)"),
        ([PoolWish(count=4609)], r"is 4609 pages of 2048 kB \(9218 MiB\), and must be at most 4608: .* 8192 MiB"),
        ([PoolWish(count=4608), PoolWish(size_kb=1 << 20, count=1)], r"hugepages_pools\[1\] is 1 pages .* at most 0"),
        ([PoolWish(overcommit=-1)], r"has overcommit -1, and must have 0 or more"),
        ([PoolWish(percent=1, at_boot=True)], r"has percent 1 and at_boot"),
        ([PoolWish(count=1, at_boot=True, numa_node=0)], r"has at_boot and numa_node 0"),
    ],
)
def test_refuses_in_a_sentence(root, wishes, sentence):
    with pytest.raises(ValueError, match=sentence):
        changes(root, *wishes)


def test_shrinking_one_pool_makes_room_for_another(root):
    assert len(changes(root, PoolWish(count=0), PoolWish(size_kb=1 << 20, count=9))) == 2


def test_shrinking_stops_at_the_pages_in_use(root):
    (root / POOLS / "hugepages-2048kB/free_hugepages").write_text("412")
    (root / POOLS / "hugepages-2048kB/resv_hugepages").write_text("20")
    assert changes(root, PoolWish(count=0)) == [Change(SMALL, "512", "120")]


@pytest.fixture
def lent(root):
    """512 pages, and 8 more that processes got by overcommit: nr_hugepages counts both. Nothing is free."""
    for name, count in (("nr_hugepages", 520), ("surplus_hugepages", 8), ("free_hugepages", 0)):
        (root / POOLS / "hugepages-2048kB" / name).write_text(f"{count}\n")
    return root


def test_surplus_pages_are_no_part_of_the_pool(lent):
    planned = hugepages.plan([PoolWish(count=512)], persists=False, root=lent)
    assert planned.changes == []
    assert [row.deviation for row in tuning.rows(planned, [], 2048, lent)] == [""]
    assert changes(lent, PoolWish(count=600)) == [Change(SMALL, "512", "600")]


def test_a_pool_whose_pages_are_all_held_is_not_written(lent):
    assert changes(lent, PoolWish(count=0)) == []


def test_a_rollback_takes_surplus_pages_for_nobodys_change(lent):
    snapshot.record("knob", SMALL, "0", "512", lent, settled=True)
    [undo] = snapshot.plan_rollback(snapshot.read(lent), set(), lent)
    assert (undo.change, undo.foreign) == (Change(SMALL, "512", "0"), "")


def test_each_pool_is_persisted_where_its_kind_can_be(root):
    wishes = [
        PoolWish(count=8, overcommit=2),
        PoolWish(size_kb=2048, count=4, numa_node=1),
        PoolWish(size_kb=1 << 20, count=2, at_boot=True),
    ]
    written = {change.path: change.after for change in hugepages.plan(wishes, persists=True, root=root).files}
    assert set(written) == {
        "etc/sysctl.d/zz-stethos-hugepages.conf",
        "etc/tmpfiles.d/00-stethos-hugepages.conf",
        "etc/default/grub.d/zz-stethos.cfg",
    }
    assert "vm.nr_overcommit_hugepages = 2\nvm.nr_hugepages = 8\n" in written["etc/sysctl.d/zz-stethos-hugepages.conf"]
    assert (
        "/node1/hugepages/hugepages-2048kB/nr_hugepages - - - - 4"
        in written["etc/tmpfiles.d/00-stethos-hugepages.conf"]
    )
    assert "hugepagesz=1048576K hugepages=2" in written["etc/default/grub.d/zz-stethos.cfg"]


def test_a_pool_that_waits_for_the_boot_is_no_deviation():
    row = Row("hugepages_pools[0]", SMALL, "4", "0", persisted=True)
    assert row.deviation
    [waiting] = hugepages.await_boot([row], [PoolWish(count=4, at_boot=True)])
    assert waiting.pending_reboot
    assert waiting.deviation == ""
    [untold] = hugepages.await_boot([row], [PoolWish(count=4, at_boot=True)], untold=True)
    assert not untold.pending_reboot
    assert untold.deviation


def test_arm64_with_base_pages_of_64_kib_has_its_own_sizes(fake_root):
    """Sizes as such a kernel lists them; its default is 512 MiB, and so is what vm.nr_hugepages counts."""
    root = fake_root(
        {"proc/meminfo": "MemTotal: 67108864 kB\nMemAvailable: 33554432 kB\nHugepagesize: 524288 kB\n"}
        | pool_files(POOLS, 2048, 0)
        | pool_files(POOLS, 524288, 0)
        | pool_files(POOLS, 16777216, 0)
    )
    planned = hugepages.plan([PoolWish(count=4), PoolWish(size_kb=2048, count=8)], persists=True, root=root)
    assert [change.path for change in planned.changes] == [
        f"{POOLS}/hugepages-524288kB/nr_hugepages",
        f"{POOLS}/hugepages-2048kB/nr_hugepages",
    ]
    assert [file.path for file in planned.files] == [
        "etc/sysctl.d/zz-stethos-hugepages.conf",
        "etc/tmpfiles.d/00-stethos-hugepages.conf",
    ]


def test_a_node_with_grubby_gets_its_words_through_it_and_no_grub_file(root):
    (root / "usr/sbin").mkdir(parents=True)
    (root / "usr/sbin/grubby").touch()
    pools = [PoolWish(size_kb=1 << 20, count=2, at_boot=True)]
    assert not any("grub" in change.path for change in hugepages.plan(pools, persists=True, root=root).files)
