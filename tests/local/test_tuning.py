"""The tuning roles on this machine's own kernel: applied, read back, converged, put back."""

import subprocess
import sys
from pathlib import Path

import pytest
from support import machine_state

from probe_agent.host import hugetlbfs, snapshot

THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")
POOL = Path("/proc/sys/vm/nr_hugepages")
WISH = {
    "thp_enabled": "never",
    "thp_defrag": "never",
    "hugepages_pools": [{"size_kb": 2048, "count": 16}],
    "hugetlbfs_mounts": [{"path": "/mnt/stethos-test", "mode": "1770"}],
}


@pytest.mark.usefixtures("machine")
def test_a_second_run_changes_nothing_and_a_rollback_undoes_everything(playbook):
    before = machine_state()
    first = playbook("playbooks/tune.yml", **WISH)
    assert (first.code, first.recap["local"]["changed"]) == (0, 3), first.output
    assert "[never]" in THP.read_text()
    assert POOL.read_text() == "16\n"
    assert [mount.target for mount in hugetlbfs.read()] == ["/mnt/stethos-test"]

    second = playbook("playbooks/tune.yml", "-vvv", **WISH)
    assert (second.code, second.recap["local"]["changed"]) == (0, 0), second.output
    assert 0 < second.output.count("Using module file") <= 12  # each costs a fleet a round trip

    undone = playbook("playbooks/rollback.yml")
    assert (undone.code, undone.recap["local"]["changed"]) == (0, 1), undone.output
    assert machine_state() == before
    assert not Path("/mnt/stethos-test").exists()
    assert playbook("playbooks/rollback.yml").recap["local"]["changed"] == 0


@pytest.mark.usefixtures("machine")
def test_a_node_that_is_as_wanted_is_not_checked_further(playbook, tmp_path):
    def checked():
        wish = {**WISH, "tuning_keep": True, "tuning_persist": False, "jemalloc_install": False}
        done = playbook("tune_and_probe.yml", "--tags", "preflight", reports_dir=str(tmp_path), **wish)
        assert done.code == 0, done.output
        return "The hugepage pools fit this node" in done.output

    assert checked()
    assert playbook("playbooks/tune.yml", **WISH).code == 0
    assert not checked()
    POOL.write_text("8\n")
    assert checked()


@pytest.mark.usefixtures("machine")
def test_check_mode_shows_each_change_and_makes_none(playbook):
    before = machine_state()
    planned = playbook("playbooks/tune.yml", "--check", "--diff", **WISH)
    assert (planned.code, planned.recap["local"]["changed"]) == (0, 3), planned.output
    for line in ("enabled = never", "nr_hugepages = 16", "/mnt/stethos-test hugetlbfs pagesize=2048K,mode=1770"):
        assert line in planned.output
    assert machine_state() == before
    assert snapshot.read() == []


@pytest.mark.usefixtures("machine")
def test_words_for_yes_and_no_are_taken_from_the_command_line(playbook):
    """A boolean given as -e name=value is text; a condition on it once ended a run half-way."""
    words = ("-e", "jemalloc_install=false", "-e", "tuning_keep=yes", "-e", "tuning_persist=no")
    done = playbook("playbooks/tune.yml", *words, **{**WISH, "hugetlbfs_mounts": []})
    assert done.code == 0, done.output


@pytest.mark.usefixtures("machine")
def test_verify_names_what_is_not_as_wished(playbook):
    assert playbook("playbooks/tune.yml", **WISH).code == 0
    assert playbook("playbooks/tune.yml", "--tags", "verify", **WISH).code == 0
    POOL.write_text("3")
    found = playbook("playbooks/tune.yml", "--tags", "verify", **WISH)
    assert found.code == 2
    assert (
        "hugepages_pools[0] is to be 16, and /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages is 3"
        in found.output
    )


HOLDER = """
import mmap, sys
held = mmap.mmap(-1, 4 << 21, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)  # MAP_HUGETLB
for page in range(4):
    held[page << 21] = 1
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.usefixtures("machine")
def test_a_shrinking_pool_keeps_the_pages_in_use_and_verify_says_so(playbook):
    assert playbook("playbooks/tune.yml", "--tags", "hugepages", **WISH).code == 0
    none = {**WISH, "hugepages_pools": [{"size_kb": 2048, "count": 0}]}
    command = [sys.executable, "-c", HOLDER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        assert playbook("playbooks/tune.yml", "--tags", "hugepages", **none).code == 0
        assert POOL.read_text() == "4\n"
        assert "hugepages_pools[0] is to be 0" in playbook("playbooks/tune.yml", "--tags", "verify", **none).output
        process.stdin.close()
    assert playbook("playbooks/tune.yml", "--tags", "hugepages", **none).code == 0
    assert POOL.read_text() == "0\n"


@pytest.mark.usefixtures("machine")
def test_tags_tune_one_thing_alone(playbook):
    done = playbook("playbooks/tune.yml", "--tags", "hugepages", **WISH)
    assert (done.code, done.recap["local"]["changed"]) == (0, 1), done.output
    assert "[never]" not in THP.read_text()


@pytest.mark.usefixtures("machine")
def test_a_rollback_leaves_what_somebody_else_changed_and_says_so(playbook):
    playbook("playbooks/tune.yml", "--tags", "hugepages", **WISH)
    POOL.write_text("8")
    undone = playbook("playbooks/rollback.yml")
    assert undone.code == 0
    assert "nr_hugepages is 8: somebody changed it after we wrote 16" in " ".join(undone.output.split())
    assert POOL.read_text() == "8\n"


@pytest.mark.usefixtures("machine")
def test_a_busy_mount_is_named_and_stays_undoable(playbook):
    playbook("playbooks/tune.yml", "--tags", "hugetlbfs", **WISH)
    with subprocess.Popen(["sleep", "60"], cwd="/mnt/stethos-test") as user:
        try:
            busy = playbook("playbooks/rollback.yml")
            assert busy.code == 2
            assert "/mnt/stethos-test: target is busy" in busy.output
        finally:
            user.kill()
    assert playbook("playbooks/rollback.yml").code == 0
    assert hugetlbfs.read() == []


BAD = [
    ({"thp_enabled": "allways"}, "value of thp_enabled must be one of: always, madvise, never, got: allways"),
    ({"thp_enabeld": "never"}, "did you mean thp_enabled?"),
    ({"hugepages_pools": [{"count": -1}]}, "hugepages_pools[0] has count -1, and must be 0 or more pages"),
    ({"hugepages_pools": [{"count": 99999999}]}, "hugepages_pools[0] is 99999999 pages of 2048 kB"),
    ({"hugetlbfs_mounts": [{"path": "/etc/hostname"}]}, "has path /etc/hostname, which is a file"),
    ({"probe_model": "synthetic:none"}, "probe_model is synthetic:none, and must be one of synthetic:tiny"),
    ({"probe_model": "/etc"}, "probe_model is /etc, a folder without a model: it lacks config.json"),
    ({"probe_probes": ["lod"]}, "value of probe_probes must be one or more of: load, "),
]


@pytest.mark.parametrize(("wrong", "sentence"), BAD, ids=[f"{value}"[:40] for value, _ in BAD])
@pytest.mark.usefixtures("machine")
def test_bad_input_is_refused_before_anything_changes(playbook, tmp_path, wrong, sentence):
    before = machine_state()
    refused = playbook("tune_and_probe.yml", **{**WISH, "reports_dir": str(tmp_path), **wrong})
    assert refused.code == 2
    assert sentence in refused.output
    assert "Traceback" not in refused.output
    assert "changed=0" in refused.output
    assert machine_state() == before
    assert snapshot.read() == []
