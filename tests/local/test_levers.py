"""Levers on this kernel, each in a small process of its own: what uses huge pages shows it, what cannot does not."""

import time
from pathlib import Path

import pytest

from probe_agent.arms import ARMS, CONTROL, THP
from probe_agent.engines import fresh
from probe_agent.host import allocators, meminfo

MODE, POOL = Path("/", THP), Path("/proc/sys/vm/nr_hugepages")
CHILD = """
import json, os, subprocess, sys
events = os.fdopen(json.loads(sys.argv[1])["events"], "w", buffering=1)
held = bytearray(b"x") * (64 << 20)
beside = subprocess.Popen(["sleep", "60"])
events.write(json.dumps({"reply": {}}) + "\\n")
sys.stdin.readline()
"""

pytestmark = pytest.mark.usefixtures("machine")


@pytest.fixture
def proof(tmp_path, monkeypatch):
    """Return a function that pulls a lever on a process which allocates 64 MiB, and returns what it showed."""
    (tmp_path / "a_child.py").write_text(CHILD)
    monkeypatch.setattr(fresh, "PACKAGE_PARENT", tmp_path)

    def run(arm):
        return fresh.run("a_child", {}, ARMS[arm].environment(), time.monotonic() + 60).proof

    return run


@pytest.fixture
def jemalloc():
    if "jemalloc" not in allocators.find():
        pytest.skip("libjemalloc2 is not installed")


def test_glibc_asks_for_huge_pages_and_gets_none_where_the_node_forbids_them(proof):
    MODE.write_text("madvise")
    used, unused = proof("glibc-thp"), proof(CONTROL)
    assert used.asked_huge_mb == used.anon_huge_mb >= 32
    assert (ARMS["glibc-thp"].engaged(used), ARMS[CONTROL].engaged(unused)) == (True, True)
    assert unused.anon_huge_mb == 0
    assert ARMS["glibc-thp"].engaged(unused) is False

    MODE.write_text("never")
    assert ARMS["glibc-thp"].lacks() == f"/{THP} is never"
    forbidden = proof("glibc-thp")
    assert (forbidden.anon_huge_mb, forbidden.thp_mode) == (0, "never")
    assert ARMS["glibc-thp"].engaged(forbidden) is False


@pytest.mark.usefixtures("jemalloc")
@pytest.mark.parametrize("arm", ["glibc-thp", "jemalloc-thp"])
def test_where_all_memory_has_huge_pages_the_c_libraries_do_not_ask_for_them(proof, arm):
    MODE.write_text("always")
    found = proof(arm)
    assert found.anon_huge_mb >= 32
    assert found.asked_huge_mb == 0
    assert ARMS[arm].engaged(found) is False


@pytest.mark.usefixtures("jemalloc")
def test_jemalloc_is_mapped_in_every_process_and_asks_for_huge_pages(proof):
    MODE.write_text("madvise")
    plain, asking = proof("jemalloc"), proof("jemalloc-thp")
    assert len(asking.tree) == 2
    assert ARMS["jemalloc"].engaged(plain)
    assert asking.anon_huge_mb >= 32
    assert ARMS["jemalloc-thp"].engaged(asking)
    assert ARMS["jemalloc-thp"].engaged(plain) is False


def test_glibc_takes_pages_of_the_pool_and_falls_back_without_a_word(proof):
    arm = ARMS["glibc-hugetlb"]
    POOL.write_text("0")
    assert arm.lacks() == "no free page in the pool of the default hugepage size"
    assert arm.engaged(proof(arm.name)) is False
    POOL.write_text("64")
    free = meminfo.read()["HugePages_Free"]
    if free < 48:
        pytest.skip("this machine's memory is too fragmented for a pool")
    assert arm.lacks() == ""
    found = proof(arm.name)
    assert arm.engaged(found)
    assert found.private_hugetlb_mb >= 32
    assert found.pool_free < free
