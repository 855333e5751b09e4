"""The levers as data: what each needs on a node, what pulls it, and how a process shows it."""

from dataclasses import replace

import pytest
import yaml
from support import ROOT

from probe_agent.arms import A_A, ARMS, CONTROL, LEVER_VARIABLES, LEVERS, THP
from probe_agent.host.process import Memory
from probe_agent.probes import allocator

JEMALLOC = "usr/lib64/libjemalloc.so.2"
MEMORY = Memory(
    1, 1, 1, 1, anon_huge_mb=0, file_huge_mb=0, private_hugetlb_mb=0, minor_faults=0, major_faults=0, allocators=()
)
LOADED = replace(MEMORY, allocators=(f"/{JEMALLOC}",))


def test_the_allocator_probe_goes_on_with_its_three_arms():
    assert allocator.WANTED == (CONTROL, A_A, "jemalloc")


def test_every_lever_says_what_it_is_and_sets_only_variables_that_the_control_clears():
    for name in LEVERS:
        assert ARMS[name].what
        assert set(ARMS[name].pulled({"jemalloc": "/j", "tcmalloc": "/t"})) <= set(LEVER_VARIABLES)


def test_an_allocator_is_preloaded_from_where_the_node_has_it():
    assert ARMS["jemalloc-thp"].pulled({"jemalloc": "/j.so"}) == {
        "LD_PRELOAD": "/j.so",
        "MALLOC_CONF": "thp:always,metadata_thp:auto",
    }
    assert ARMS["glibc-hugetlb"].pulled({}) == {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=2"}


@pytest.mark.parametrize(
    ("lever", "files", "lacks"),
    [
        ("jemalloc", {}, "no jemalloc library on this node"),
        ("jemalloc", {JEMALLOC: ""}, ""),
        ("jemalloc-thp", {JEMALLOC: "", THP: "always madvise [never]\n"}, f"/{THP} is never"),
        ("jemalloc-thp", {JEMALLOC: "", THP: "always [madvise] never\n"}, ""),
        ("glibc-thp", {}, "no transparent huge pages in this node's kernel"),
        ("torch-thp", {THP: "[always] madvise never\n"}, ""),
        (
            "glibc-hugetlb",
            {"proc/meminfo": "HugePages_Free: 0\n"},
            "no free page in the pool of the default hugepage size",
        ),
        ("glibc-hugetlb", {"proc/meminfo": "HugePages_Free: 7\n"}, ""),
        ("pinned-register", {}, ""),
    ],
)
def test_says_what_a_node_lacks(fake_root, lever, files, lacks):
    assert ARMS[lever].lacks(fake_root(files)) == lacks


@pytest.mark.parametrize(
    ("arm", "memory", "engaged"),
    [
        (CONTROL, MEMORY, True),
        (CONTROL, LOADED, False),
        ("jemalloc", MEMORY, False),
        ("jemalloc", LOADED, True),
        ("jemalloc-thp", LOADED, False),
        ("jemalloc-thp", replace(LOADED, anon_huge_mb=64.0), True),
        ("glibc-hugetlb", replace(MEMORY, anon_huge_mb=64.0), False),
        ("glibc-hugetlb", replace(MEMORY, private_hugetlb_mb=64.0), True),
        ("pinned-register", MEMORY, None),
    ],
)
def test_the_living_process_shows_whether_it_used_the_lever(arm, memory, engaged):
    assert ARMS[arm].engaged(memory) is engaged


def test_the_role_offers_exactly_the_levers_there_are():
    spec = yaml.safe_load((ROOT / "roles/jemalloc/meta/argument_specs.yml").read_text())
    options = spec["argument_specs"]["main"]["options"]["jemalloc_services"]["options"]
    assert tuple(options["levers"]["choices"]) == LEVERS
