"""Mounts as the kernel lists them, and where a hugetlbfs may go."""

import pytest

from probe_agent.host import hugetlbfs, mounts, snapshot
from probe_agent.host.hugetlbfs import MountWish

MOUNTINFO = r"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:26 / /mnt/huge rw,relatime shared:12 - hugetlbfs none rw,pagesize=2M,mode=1770
31 22 0:27 / /mnt/with\040space rw,relatime - tmpfs tmpfs rw,size=1024k
"""
SIZES = [2048, 1 << 20]


@pytest.fixture
def found():
    return mounts.parse(MOUNTINFO)


def test_reads_targets_types_and_options(found):
    assert [(mount.target, mount.fstype) for mount in found] == [
        ("/", "ext4"),
        ("/mnt/huge", "hugetlbfs"),
        ("/mnt/with space", "tmpfs"),
    ]
    assert hugetlbfs.page_size_kb(found[1]) == 2048
    assert hugetlbfs.page_size_kb(found[0]) is None


def test_a_mount_that_is_there_owes_nothing(found, tmp_path):
    assert hugetlbfs.plan(found, MountWish("/mnt/huge"), SIZES, 2048, tmp_path) is None


@pytest.mark.parametrize("path", ["/mnt/huge/", "//mnt//huge", "/mnt/./huge", "/mnt/other/../huge/"])
def test_a_path_is_the_one_the_kernel_lists_however_it_is_written(found, tmp_path, path):
    wish = MountWish(path)
    assert hugetlbfs.plan(found, wish, SIZES, 2048, tmp_path) is None
    assert hugetlbfs.row(wish, found, 2048, persisted=None, skipped="").deviation == ""
    entry = snapshot.Entry("mount", wish.path, "", wish.options(2048), since="")
    assert snapshot.plan_rollback([entry], {mount.target for mount in found})[0].gone


def test_options_carry_the_whole_wish(found, tmp_path):
    wish = MountWish("/mnt/huge1g", size_kb=1 << 20, mode="1770", uid=0, gid=100, limit_mb=4096)
    expected = "pagesize=1048576K,mode=1770,uid=0,gid=100,size=4096M"
    assert hugetlbfs.plan(found, wish, SIZES, 2048, tmp_path) == expected


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        (MountWish("mnt/huge"), "has path mnt/huge, and must be an absolute path"),
        (MountWish("/mnt/new", size_kb=64), "has size_kb 64 for /mnt/new, and must be one of 2048, 1048576"),
        (MountWish("/mnt/huge", size_kb=1 << 20), "which is mounted with 2048"),
        (MountWish("/mnt/with space"), "where tmpfs is mounted"),
        (MountWish("/mnt/file"), "has path /mnt/file, which is a file"),
        (MountWish("/mnt/full"), "has path /mnt/full, which holds files"),
    ],
)
def test_refuses_in_a_sentence(found, tmp_path, wish, sentence):
    (tmp_path / "mnt/full").mkdir(parents=True)
    (tmp_path / "mnt/full/kept").touch()
    (tmp_path / "mnt/file").touch()
    with pytest.raises(ValueError, match=sentence):
        hugetlbfs.plan(found, wish, SIZES, 2048, tmp_path)
