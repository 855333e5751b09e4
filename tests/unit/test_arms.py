"""The levers as data: what each needs on a node, what pulls it, and how a process shows it."""

import os
from dataclasses import replace

import pytest
import yaml
from support import ROOT

from probe_agent import schema
from probe_agent.arms import (
    A_A,
    ARMS,
    COMPARED,
    CONTROL,
    LEVER_VARIABLES,
    LEVERS,
    NEEDS,
    SIGNS,
    THP,
    TORCH_SETTINGS,
    TORCH_SETTINGS_BEFORE,
    Stack,
)
from probe_agent.host.process import Memory
from probe_agent.host.proof import Pinned, Proof
from probe_agent.spec import SERVER_MODES
from reports.sections import serving

JEMALLOC = "usr/lib64/libjemalloc.so.2"
NODES = "sys/devices/system/node"
MEMORY = Memory(
    1,
    1,
    1,
    1,
    anon_huge_mb=0,
    asked_huge_mb=0,
    file_huge_mb=0,
    private_hugetlb_mb=0,
    minor_faults=0,
    major_faults=0,
    allocators=(),
)
LOADED = replace(MEMORY, allocators=(f"/{JEMALLOC}",))
PINNED = Pinned(1.0, 1.1, asked_mb=1024, anon_mb=1024, anon_huge_mb=0, asked_huge_mb=0, private_hugetlb_mb=0)


def proof(*tree, thp_mode="madvise", **more):
    return Proof(tree or (MEMORY,), thp_mode, **more)


def huge(mb, memory=MEMORY):
    return replace(memory, anon_huge_mb=mb)


def asked(mb, memory=MEMORY):
    return replace(memory, anon_huge_mb=mb, asked_huge_mb=mb)


def test_every_arm_is_described_and_names_only_needs_and_signs_there_are():
    for name, arm in ARMS.items():
        assert arm.name == name
        assert arm.what
        assert arm.undone
        assert arm.proof
        assert set(arm.needs) <= set(NEEDS)
        assert set(arm.signs) <= set(SIGNS)
        assert set(arm.combines) <= set(LEVERS)


@pytest.mark.parametrize("lever", LEVERS)
@pytest.mark.parametrize("torch", ["", "2.13.0+cpu"])
def test_a_lever_sets_only_variables_that_the_control_clears(lever, torch):
    assert set(ARMS[lever].pulled({"jemalloc": "/j", "tcmalloc": "/t"}, torch)) <= set(LEVER_VARIABLES)


def test_services_get_levers_and_neither_settings_of_the_node_nor_what_only_slows():
    assert LEVERS == (
        "jemalloc",
        "jemalloc-thp",
        "tcmalloc",
        "glibc-thp",
        "glibc-hugetlb",
        "torch-thp",
        "pinned-register",
    )
    assert not any(ARMS[lever].settings or ARMS[lever].binds for lever in LEVERS)


def test_several_levers_in_one_arm_pull_what_they_pull_apart():
    for arm in [arm for arm in ARMS.values() if arm.combines]:
        apart = {name: value for lever in arm.combines for name, value in ARMS[lever].pulled({}).items()}
        assert arm.pulled({}) == apart


def test_an_allocator_is_preloaded_from_where_the_node_has_it():
    assert ARMS["jemalloc-thp"].pulled({"jemalloc": "/j.so"}) == {
        "LD_PRELOAD": "/j.so",
        "MALLOC_CONF": "thp:always,metadata_thp:auto",
    }
    assert ARMS["glibc-hugetlb"].pulled({}) == {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=2"}


@pytest.mark.parametrize(
    ("torch", "name"),
    [
        ("", TORCH_SETTINGS_BEFORE),
        ("2.9.1+cu128", TORCH_SETTINGS_BEFORE),  # knows the newer name, and ignores it for CUDA
        ("2.11.0", TORCH_SETTINGS),
        ("2.13.0+cu130", TORCH_SETTINGS),
        ("3.0.0a0+git1", TORCH_SETTINGS),
    ],
)
def test_torch_gets_its_settings_under_one_name_that_its_version_takes(torch, name):
    given = {key for key, value in ARMS["pinned-register"].environment(torch).items() if value}
    assert given == {name}


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
        ("pinned-register-thp", {THP: "always madvise [never]\n"}, f"/{THP} is never"),
        ("thp-always", {}, f"no /{THP} in this node's kernel"),
        ("thp-always", {THP: "[always] madvise never\n"}, "the node is set so already"),
        ("thp-always", {THP: "always madvise [never]\n"}, ""),
        ("thp-madvise", {THP: "[always] never\n"}, f"/{THP} takes always, never, and not madvise"),
        ("numa-bind", {f"{NODES}/node0/cpulist": "0-3\n"}, "there is one NUMA node, so there is nothing to choose"),
        (
            "numa-bind",  # memory of a device is no place to run
            {f"{NODES}/node0/cpulist": "0-3\n", f"{NODES}/node1/cpulist": "\n"},
            "there is one NUMA node, so there is nothing to choose",
        ),
        ("numa-bind", {f"{NODES}/node0/cpulist": "0\n", f"{NODES}/node1/cpulist": "1\n"}, ""),
        ("bytecode-off", {}, ""),
    ],
)
def test_says_what_a_node_lacks(fake_root, lever, files, lacks):
    assert ARMS[lever].lacks(fake_root(files)) == lacks


@pytest.mark.parametrize(
    ("arm", "stack", "lacks"),
    [
        ("pinned-register", Stack(), ""),
        ("pinned-register", Stack("2.13.0+cu130", 8), ""),
        ("pinned-register", Stack("2.13.0", 0), "no GPU on this node"),
        ("pinned-register", Stack("2.13.0+cpu", 1), "torch 2.13.0+cpu is a build without CUDA"),
        ("torch-thp", Stack("2.1.2", 1), "torch 2.1.2 has no such lever, which came with 2.2"),
        ("torch-thp", Stack("2.10.0", 1), ""),
    ],
)
def test_says_what_the_serving_stack_lacks(fake_root, arm, stack, lacks):
    assert ARMS[arm].lacks(fake_root({THP: "[always] madvise never\n"}), stack) == lacks


def test_without_root_a_setting_of_the_node_is_no_arm(fake_root, monkeypatch):
    root = fake_root({THP: "always [madvise] never\n"})
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert ARMS["thp-always"].lacks(root) == f"/{THP} is a setting of the whole node, and changing it needs root"


@pytest.mark.parametrize(
    ("arm", "found", "engaged"),
    [
        (CONTROL, proof(), True),
        (CONTROL, proof(LOADED), False),
        (A_A, proof(MEMORY, LOADED), False),
        ("jemalloc", proof(), False),
        ("jemalloc", proof(LOADED), True),
        ("jemalloc", proof(LOADED, MEMORY), False),  # a child that lost the preload
        ("jemalloc-thp", proof(LOADED), False),
        ("jemalloc-thp", proof(huge(64, LOADED), thp_mode="always"), False),  # jemalloc alone has as many
        ("jemalloc-thp", proof(asked(64, LOADED)), True),
        ("glibc-thp", proof(), False),
        ("glibc-thp", proof(MEMORY, asked(64)), True),
        ("glibc-hugetlb", proof(huge(64)), False),
        ("glibc-hugetlb", proof(replace(MEMORY, private_hugetlb_mb=64.0)), True),
        ("thp-always", proof(huge(64), thp_mode="always"), True),
        ("thp-always", proof(MEMORY, thp_mode="always"), False),
        ("thp-always", proof(huge(64), thp_mode="madvise"), False),  # somebody set it back
        ("thp-madvise", proof(thp_mode="madvise"), True),
        ("thp-never", proof(thp_mode="never"), True),
        ("thp-never", proof(huge(2), thp_mode="never"), False),
        ("pinned-register", proof(), None),
        ("pinned-register", proof(pinned=PINNED), True),
        ("pinned-register", proof(pinned=replace(PINNED, anon_mb=3)), False),
        ("pinned-register-thp", proof(pinned=PINNED), False),
        ("pinned-register-thp", proof(pinned=replace(PINNED, anon_huge_mb=1024)), False),
        ("pinned-register-thp", proof(pinned=replace(PINNED, anon_huge_mb=1024, asked_huge_mb=1024)), True),
        ("pinned-register-hugetlb", proof(pinned=replace(PINNED, anon_mb=0, private_hugetlb_mb=1024)), True),
        ("numa-bind", proof(numa_policy="default"), False),
        ("numa-bind", proof(numa_policy="bind:1"), True),
        ("bytecode-off", proof(), None),
        ("bytecode-off", proof(uncompiled_share=0.99), True),
        ("bytecode-off", proof(uncompiled_share=0.01), False),
    ],
)
def test_the_living_process_shows_whether_it_used_the_lever(arm, found, engaged):
    assert ARMS[arm].engaged(found) is engaged


def choices_of(role, *names):
    found = yaml.safe_load((ROOT / f"roles/{role}/meta/argument_specs.yml").read_text())["argument_specs"]["main"]
    for name in names:
        found = found["options"][name]
    return tuple(found["choices"])


def test_the_roles_and_the_schema_offer_exactly_what_there_is():
    assert choices_of("jemalloc", "jemalloc_services", "levers") == LEVERS
    assert choices_of("jemalloc", "jemalloc_levers") == LEVERS
    assert choices_of("probe", "probe_arms") == COMPARED
    assert tuple(schema.load("spec")["properties"]["arms"]["items"]["enum"]) == COMPARED


def test_every_mode_of_a_server_is_offered_and_has_its_words():
    assert choices_of("probe", "probe_server_mode") == SERVER_MODES == tuple(serving.MODES)
    assert tuple(schema.load("spec")["properties"]["server_mode"]["enum"]) == SERVER_MODES
