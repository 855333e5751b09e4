"""Where a memory cgroup can be made, on nodes of every kind, and how one of ours is made and removed."""

import errno
import os
from pathlib import Path

import pytest

from probe_agent.host import cgroup
from probe_agent.host.cgroup import Hierarchy

MOUNTS = "proc/self/mountinfo"
V1 = "30 25 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
CPU = "31 25 0:28 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
UNIFIED = "32 25 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
V2 = "33 25 0:30 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"
HANDED_DOWN = {"sys/fs/cgroup/cgroup.subtree_control": "cpu memory\n"}


@pytest.fixture
def node(fake_root):
    """Return a function that makes a node with these mounts and files; a hierarchy's folder is always there."""

    def make(mountinfo, files=None):
        root = fake_root({MOUNTS: mountinfo, **(files or {})})
        (root / "sys/fs/cgroup/memory").mkdir(parents=True, exist_ok=True)
        return root

    return make


@pytest.mark.parametrize(
    ("mountinfo", "files", "expected"),
    [
        (CPU + V1, {}, Hierarchy(1, "sys/fs/cgroup/memory")),
        (UNIFIED + V1, {"sys/fs/cgroup/unified/cgroup.controllers": "\n"}, Hierarchy(1, "sys/fs/cgroup/memory")),
        (V2, HANDED_DOWN, Hierarchy(2, "sys/fs/cgroup")),
    ],
    ids=["v1", "hybrid", "v2"],
)
def test_the_hierarchy_with_the_memory_controller_is_found(node, mountinfo, files, expected):
    assert cgroup.find(node(mountinfo, files)) == expected


@pytest.mark.parametrize(
    ("mountinfo", "files", "reason"),
    [
        ("", {}, "no cgroup hierarchy on this node has the memory controller"),
        (CPU + UNIFIED, {}, "no cgroup hierarchy on this node has the memory controller"),
        (
            V2,
            {"sys/fs/cgroup/cgroup.controllers": "cpu memory\n", "sys/fs/cgroup/cgroup.subtree_control": "cpu\n"},
            "/sys/fs/cgroup/cgroup.subtree_control does not hand the memory controller down",
        ),
    ],
    ids=["none", "no controller", "not handed down"],
)
def test_a_node_without_one_says_why(node, mountinfo, files, reason):
    root = node(mountinfo, files)
    with pytest.raises(ValueError, match=reason):
        cgroup.find(root)
    assert cgroup.left(root) == {}


def test_whoever_may_not_write_there_is_told(node, monkeypatch):
    monkeypatch.setattr(cgroup.os, "access", lambda *_: False)
    with pytest.raises(ValueError, match="/sys/fs/cgroup/memory cannot be written: making a memory cgroup needs root"):
        cgroup.find(node(V1))


@pytest.fixture
def kernel(monkeypatch):
    """Put the files into a new cgroup that a kernel puts there, and take them away with it."""
    made = {}
    mkdir, rmdir = Path.mkdir, Path.rmdir

    def make(self, *arguments, **more):
        mkdir(self, *arguments, **more)
        if self.name.startswith(cgroup.PREFIX):
            for name in made:
                (self / name).write_text("")

    def take_away(self):
        for file in self.iterdir():
            file.unlink()
        rmdir(self)

    monkeypatch.setattr(Path, "mkdir", make)
    monkeypatch.setattr(Path, "rmdir", take_away)
    return made


def test_version_1_gets_its_limit_for_swap_as_well(node, kernel):
    kernel |= dict.fromkeys(("memory.swappiness", "memory.memsw.limit_in_bytes"))
    root = node(V1)
    with cgroup.limited(4 << 20, cgroup.find(root), root) as group:
        assert group == root / f"sys/fs/cgroup/memory/stethos-{os.getpid()}"
        assert (group / "memory.limit_in_bytes").read_text() == str(4 << 20)
        assert (group / "memory.memsw.limit_in_bytes").read_text() == str(4 << 20)
        assert (group / "memory.swappiness").read_text() == "0"
        assert cgroup.left(root) == {os.getpid(): group}
    assert cgroup.left(root) == {}


def test_version_2_gets_a_limit_and_no_swap(node, kernel):
    kernel |= {"memory.swap.max": None}
    root = node(V2, HANDED_DOWN)
    with cgroup.limited(4 << 20, cgroup.find(root), root) as group:
        assert (group / "memory.max").read_text() == str(4 << 20)
        assert (group / "memory.swap.max").read_text() == "0"
        (group / "memory.current").write_text("4096\n")
        assert cgroup.usage(group, 2) == 4096
    assert not group.exists()


def test_a_kernel_that_does_not_account_swap_is_not_asked_to(node, kernel):
    root = node(V1)
    with cgroup.limited(4 << 20, cgroup.find(root), root) as group:
        assert sorted(file.name for file in group.iterdir()) == ["memory.limit_in_bytes"]


def test_a_limit_that_did_not_hold_is_refused_and_the_cgroup_removed(node, kernel, monkeypatch):
    root = node(V2, HANDED_DOWN)
    monkeypatch.setattr(Path, "read_text", lambda _: "max\n")
    with pytest.raises(ValueError, match="was given a limit of 4096 bytes, and has max"):  # noqa: SIM117
        with cgroup.limited(4096, Hierarchy(2, "sys/fs/cgroup"), root):
            pytest.fail("nothing may run without its limit")
    assert not list((root / "sys/fs/cgroup").glob("stethos-*"))


def test_one_of_another_run_is_not_taken_over(node, kernel):
    root = node(V1)
    (root / f"sys/fs/cgroup/memory/stethos-{os.getpid()}").mkdir()
    with pytest.raises(ValueError, match=r"stethos-\d+ could not be made: File exists"):  # noqa: SIM117
        with cgroup.limited(4096, cgroup.find(root), root):
            pytest.fail("it belongs to somebody else")
    assert cgroup.left(root)


def test_what_a_killed_agent_left_is_removed_or_named(node, monkeypatch):
    root = node(V1)
    group = root / "sys/fs/cgroup/memory/stethos-4711"
    group.mkdir()
    assert cgroup.clear(root) == []
    assert not group.exists()

    def busy(_):
        raise OSError(errno.EBUSY, "Device or resource busy")

    group.mkdir()
    monkeypatch.setattr(Path, "rmdir", busy)
    monkeypatch.setattr(cgroup, "EMPTY_WITHIN_S", 0)
    assert cgroup.clear(root) == [f"cgroup {group} could not be removed: Device or resource busy"]


@pytest.mark.parametrize("name", ["stethos-4711", "stethos-mine"])
def test_what_a_living_agent_or_somebody_else_made_stays(node, name):
    root = node(V1, {"proc/4711/stat": ""})
    (root / "sys/fs/cgroup/memory" / name).mkdir()
    assert cgroup.clear(root) == []
    assert (root / "sys/fs/cgroup/memory" / name).exists()


def test_a_process_that_is_still_ending_is_waited_for(node, monkeypatch):
    root = node(V1)
    group = root / "sys/fs/cgroup/memory/stethos-4711"
    group.mkdir()
    rmdir, tries = Path.rmdir, []

    def busy_once(self):
        tries.append(self)
        if len(tries) == 1:
            raise OSError(errno.EBUSY, "Device or resource busy")
        rmdir(self)

    monkeypatch.setattr(Path, "rmdir", busy_once)
    cgroup.remove(group)
    assert not group.exists()
    cgroup.remove(group)  # gone already
