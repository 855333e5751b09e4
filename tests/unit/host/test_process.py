"""Memory of a process, from texts of a real kernel and from this very process."""

import os

from probe_agent.host import kernel, meminfo, process

MAPS = """\
7f0000000000-7f0000001000 r-xp 00000000 fe:00 1 /usr/lib/x86_64-linux-gnu/libjemalloc.so.2
7f0000001000-7f0000002000 r--p 00000000 fe:00 1 /usr/lib/x86_64-linux-gnu/libjemalloc.so.2
7f0000002000-7f0000003000 r-xp 00000000 fe:00 2 /usr/lib/x86_64-linux-gnu/libc.so.6
"""


def test_faults_are_counted_after_a_name_with_brackets_and_spaces():
    assert process.parse_faults("7 (a) b (c)) S 1 7 7 0 -1 4194304 123 0 45 0 9 9") == (123, 45)


def test_an_allocator_is_proven_by_its_mapping():
    assert process.parse_allocators(MAPS) == ("/usr/lib/x86_64-linux-gnu/libjemalloc.so.2",)
    assert process.parse_allocators(MAPS.replace("jemalloc", "c-client")) == ()


SMAPS = """\
7f0000000000-7f0000800000 rw-p 00000000 00:00 0
AnonHugePages:      4096 kB
VmFlags: rd wr mr mw me ac sd
7f0001000000-7f0001800000 rw-p 00000000 00:00 0
AnonHugePages:      6144 kB
VmFlags: rd wr mr mw me ac sd hg
7f0002000000-7f0002001000 r--p 00000000 fe:00 1 /usr/lib/hg.so
VmFlags: rd mr mw me
"""


def test_huge_pages_that_were_asked_for_are_told_from_those_that_came_unasked():
    assert process.parse_asked_huge(SMAPS) == 6144


def test_reads_this_process():
    memory = process.read(os.getpid())
    assert 0 < memory.pss_mb <= memory.rss_mb <= memory.vsz_mb
    assert memory.rss_mb <= memory.rss_peak_mb
    assert memory.minor_faults > 0


def test_resident_memory_alone_is_not_rounded(fake_root):
    """Drift over a few generations is less than a tenth of a MiB."""
    assert process.rss_mb(7, fake_root({"proc/7/status": "VmHWM:\t   2052 kB\nVmRSS:\t   1025 kB\n"})) == 1025 / 1024


def test_a_child_that_ends_while_it_is_looked_at_is_left_out(fake_root, monkeypatch):
    root = fake_root({"proc/7/task/7/children": "8 9", "proc/8/task/8/children": "", "proc/9/task/9/children": "10"})

    def ended(look):
        def at(folder):
            if str(folder).endswith("/8/task"):
                raise FileNotFoundError(folder)
            return look(folder)

        return at

    monkeypatch.setattr(os, "listdir", ended(os.listdir))
    monkeypatch.setattr(os, "scandir", ended(os.scandir))
    assert process.descendants(7, root) == [8, 9, 10]


def test_meminfo_of_a_numa_node_reads_like_the_global_one():
    assert meminfo.parse("Node 0 MemTotal:  100 kB\nNode 0 HugePages_Free:  3\n") == {
        "MemTotal": 100,
        "HugePages_Free": 3,
    }


def test_fragmentation_keeps_zones_apart():
    text = "Node 0, zone   Normal  1 2 3\nNode 1, zone   Normal  4 5 6\n"
    assert kernel.parse_buddyinfo(text) == {"node0/Normal": [1, 2, 3], "node1/Normal": [4, 5, 6]}


def test_a_group_has_its_members_that_have_not_ended(fake_root):
    rows = {1: "(init) S 0 1", 7: "(python (a) b) S 1 7", 8: "(sleep) R 7 7", 9: "(sleep) Z 1 7", 10: "(sleep) X 1 7"}
    root = fake_root({f"proc/{pid}/stat": f"{pid} {text} 7 0\n" for pid, text in rows.items()})
    (root / "proc/11").mkdir()
    assert sorted(process.group(7, root)) == [7, 8]
