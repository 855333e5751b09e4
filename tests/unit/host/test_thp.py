"""THP: every file is read, only what is named is planned, and refusals are sentences."""

import pytest

from probe_agent.host import files, thp
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


def plan(root, **wanted):
    return thp.plan(wanted, persists=False, root=root)


def test_plans_only_what_differs(fake_root):
    root = fake_root(STATE)
    planned = plan(root, enabled="always", defrag="madvise", shmem_enabled=None)
    assert planned.changes == [Change(f"{thp.FOLDER}/enabled", "madvise", "always")]
    assert plan(root).changes == []


def test_every_part_of_thp_can_be_named(fake_root):
    planned = plan(fake_root(STATE), per_size={64: "madvise"}, khugepaged={"pages_to_scan": 512, "defrag": None})
    assert planned.changes == [
        Change(f"{thp.FOLDER}/hugepages-64kB/enabled", "never", "madvise"),
        Change(f"{thp.FOLDER}/khugepaged/pages_to_scan", "4096", "512"),
    ]


def test_refuses_a_word_the_kernel_does_not_offer(fake_root):
    with pytest.raises(ValueError, match="thp_enabled is allways, and must be one of always, madvise, never"):
        plan(fake_root(STATE), enabled="allways")
    with pytest.raises(ValueError, match="thp_per_size has the size big"):
        plan(fake_root(STATE), per_size={"big": "always"})


def test_what_an_older_kernel_lacks_is_skipped_with_the_reason(fake_root):
    planned = plan(fake_root(STATE), shmem_enabled="advise")
    assert planned.changes == []
    assert planned.skipped == {"thp_shmem_enabled": f"this node's kernel has no /{thp.FOLDER}/shmem_enabled"}


def test_a_kernel_without_thp_skips_every_wish(tmp_path):
    assert list(plan(tmp_path, enabled="never").skipped) == ["thp_enabled"]
    assert plan(tmp_path).skipped == {}


def test_what_is_persisted_is_what_the_kernel_has(fake_root):
    root = fake_root(STATE)
    [file] = thp.plan({"enabled": "always", "shmem_enabled": "advise"}, persists=True, root=root).files
    assert file.path == "etc/tmpfiles.d/00-stethos-thp.conf"
    assert file.after.startswith("# Managed by stethos")
    assert file.after.endswith(f"w /{thp.FOLDER}/enabled - - - - always\n")
    files.write(file, root)
    assert thp.plan({"enabled": "always"}, persists=True, root=root).files == []
    [removal] = thp.plan({"enabled": "always"}, persists=False, root=root).files
    assert removal.after is None
