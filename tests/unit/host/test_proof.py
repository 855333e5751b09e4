"""What a process tree shows: read whole, also while parts of it end."""

from dataclasses import replace

import pytest

from probe_agent.host import proof
from probe_agent.host.process import Memory

STATUS = "VmHWM:\t 4096 kB\nVmRSS:\t 2048 kB\nVmSize:\t 8192 kB\n"
ROLLUP = "Pss:  1024 kB\nAnonHugePages:  {huge} kB\nFilePmdMapped:  0 kB\nPrivate_Hugetlb:  {pool} kB\n"


def process(pid, children="", huge=0, pool=0, maps=""):
    folder = f"proc/{pid}"
    return {
        f"{folder}/status": STATUS,
        f"{folder}/smaps_rollup": ROLLUP.format(huge=huge, pool=pool),
        f"{folder}/smaps": "",
        f"{folder}/stat": f"{pid} (python) S 1 1 1 0 -1 0 {pid} 0 1 0 0 0",
        f"{folder}/maps": maps,
        f"{folder}/task/{pid}/children": children,
        f"{folder}/numa_maps": "55ddf5bb6000 bind:0 file=/usr/bin/cat mapped=2 N0=2\n55ddf5bb8000 default anon=1\n",
    }


NODE = {
    "proc/meminfo": "MemTotal: 1 kB\nHugePages_Free:       7\n",
    "sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never\n",
}
LIBRARY = "7f00 r-xp 0 fe:00 1 /usr/lib/libjemalloc.so.2\n"


def test_reads_every_process_of_the_tree_and_the_node_meanwhile(fake_root):
    root = fake_root({**NODE, **process(1, "2 3 ", huge=2048), **process(2, pool=4096, maps=LIBRARY)})
    found = proof.read(1, root)  # 3 has ended since its parent was read
    assert [memory.allocators for memory in found.tree] == [(), ("/usr/lib/libjemalloc.so.2",)]
    assert (found.anon_huge_mb, found.private_hugetlb_mb) == (2.0, 4.0)
    assert (found.thp_mode, found.pool_free, found.numa_policy) == ("always", 7, "bind:0")


def test_a_kernel_without_huge_pages_or_numa_leaves_that_out(fake_root):
    files = {**process(1), "proc/meminfo": "MemTotal: 1 kB\n"}
    del files["proc/1/numa_maps"]
    found = proof.read(1, fake_root(files))
    assert (found.thp_mode, found.pool_free, found.numa_policy) == ("", None, "")


def test_a_process_that_has_ended_is_an_error(fake_root):
    with pytest.raises(FileNotFoundError):
        proof.read(1, fake_root(NODE))


def test_the_sum_of_a_tree_has_every_library():
    memory = Memory(1.5, 2, 3, 1, 0, 0, 0, 0, minor_faults=10, major_faults=1, allocators=("/a",))
    found = proof.total((memory, replace(memory, rss_mb=2.2, allocators=("/b", "/a"))))
    assert (found.rss_mb, found.pss_mb, found.minor_faults, found.allocators) == (3.7, 2, 20, ("/a", "/b"))
