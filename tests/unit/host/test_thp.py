"""THP: every file is read, only what is named is planned, and refusals are sentences."""

import pytest

from probe_agent.host import thp
from probe_agent.host.knobs import Change

STATE = {
    f"{thp.FOLDER}/enabled": "always [madvise] never\n",
    f"{thp.FOLDER}/defrag": "always defer defer+madvise [madvise] never\n",
    f"{thp.FOLDER}/khugepaged/pages_to_scan": "4096\n",
    f"{thp.FOLDER}/hugepages-64kB/enabled": "always inherit madvise [never]\n",
    f"{thp.FOLDER}/hugepages-2048kB/enabled": "always [inherit] madvise never\n",
    f"{thp.FOLDER}/hugepages-2048kB/stats/anon_fault_alloc": "0\n",
}


def test_reads_the_whole_state(fake_root):
    assert thp.read(fake_root(STATE)).values() == {
        "enabled": "madvise",
        "defrag": "madvise",
        "khugepaged": {"pages_to_scan": "4096"},
        "per_size": {"hugepages-64kB": {"enabled": "never"}, "hugepages-2048kB": {"enabled": "inherit"}},
    }


def test_plans_only_what_differs(fake_root):
    found = thp.read(fake_root(STATE))
    assert thp.plan(found, {"enabled": "always", "defrag": "madvise"}) == [
        Change(f"{thp.FOLDER}/enabled", "madvise", "always")
    ]
    assert thp.plan(found, {}) == []


def test_refuses_a_word_the_kernel_does_not_offer(fake_root):
    with pytest.raises(ValueError, match="thp_enabled is allways, and must be one of always, madvise, never"):
        thp.plan(thp.read(fake_root(STATE)), {"enabled": "allways"})


def test_an_older_kernel_without_the_file_is_named(fake_root):
    with pytest.raises(ValueError, match="thp_shmem_enabled is advise, and this kernel has no such setting"):
        thp.plan(thp.read(fake_root(STATE)), {"shmem_enabled": "advise"})


def test_a_kernel_without_thp_takes_no_wish_but_no_wish_is_fine(tmp_path):
    found = thp.read(tmp_path)
    assert not found.available
    assert thp.plan(found, {}) == []
    with pytest.raises(ValueError, match="no transparent huge pages"):
        thp.plan(found, {"enabled": "never"})
