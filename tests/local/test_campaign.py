"""The campaign on this machine: real arms on real processes, and settings that come back whatever happens."""

import os
import signal
from pathlib import Path

import pytest
from support import children_of, result_of, wait_for

from probe_agent.arms import THP
from probe_agent.host import allocators, knobs, loans, snapshot

MODE = Path("/", THP)
THP_ALWAYS_FIRST = "5"  # a seed

pytestmark = pytest.mark.usefixtures("machine")


def mode():
    return knobs.read(THP).value


def always():
    return mode() == "always"


def arms(*names):
    return [word for name in names for word in ("--arm", name)]


@pytest.fixture
def campaign(agent):
    """Return a function that starts a campaign of one block, on a node whose THP is madvise."""
    MODE.write_text("madvise")
    return lambda *options: agent("--probe", "allocator", *options)


@pytest.fixture
def lent(campaign):
    """An agent in the middle of a sample with THP always, and its guard."""
    run = campaign("--seed", THP_ALWAYS_FIRST, *arms("thp-always"))
    wait_for(always)
    wait_for(lambda: len(children_of(run.pid)) == 2)
    guards = [pid for pid in children_of(run.pid) if b"engines.guard" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return run, guards[0]


def test_levers_that_ask_for_huge_pages_get_them_and_the_mode_of_the_node_comes_back(campaign, tmp_path):
    if "jemalloc" not in allocators.find():
        pytest.skip("libjemalloc2 is not installed")
    run = campaign(*arms("jemalloc-thp", "glibc-thp", "thp-always", "thp-madvise", "numa-bind"))
    assert run.wait() == 0, run.stdout.read()
    assert mode() == "madvise"
    assert not snapshot.read(file=loans.FILE)
    probe = result_of(tmp_path)["probes"]["allocator"]
    rows = {row["arm"]: row for row in probe["samples"]}
    assert rows.keys() == {"glibc", "glibc-again", "jemalloc-thp", "glibc-thp", "thp-always"}
    assert {name: row["engaged"] for name, row in rows.items()} == dict.fromkeys(rows, True)
    huge = {name for name, row in rows.items() if row["anon_huge_mb"]}
    assert huge == {"jemalloc-thp", "glibc-thp", "thp-always"}
    assert rows["glibc-thp"]["minor_faults"] < rows["glibc"]["minor_faults"]
    assert {row["node"]["thp_enabled"] for name, row in rows.items() if name != "thp-always"} == {"madvise"}
    assert rows["thp-always"]["node"]["thp_enabled"] == "always"

    evidence = probe["evidence"]
    assert evidence["skipped_arms"]["thp-madvise"] == "the node is set so already"
    assert evidence["order"] == [[row["arm"] for row in sorted(probe["samples"], key=lambda row: row["position"])]]
    assert evidence["arms"]["glibc-thp"]["engaged"] == 1


def test_the_guard_gives_thp_back_when_the_agent_is_killed_in_the_middle_of_a_sample(lent):
    run, _ = lent
    run.kill()
    wait_for(lambda: mode() == "madvise", seconds=10)
    wait_for(lambda: not Path("/", loans.FILE).exists(), seconds=10)


def test_the_next_run_gives_back_what_a_killed_guard_could_not(lent, agent):
    run, guard = lent
    os.kill(guard, signal.SIGKILL)
    run.kill()
    run.wait()
    assert always()
    assert agent("--probe", "load", "--deadline-s", "1").wait() == 1
    assert mode() == "madvise"
    assert not Path("/", loans.FILE).exists()


def test_a_rollback_gives_back_what_a_killed_guard_could_not(lent, playbook):
    run, guard = lent
    os.kill(guard, signal.SIGKILL)
    run.kill()
    run.wait()
    done = playbook("playbooks/rollback.yml")
    assert (done.code, done.recap["local"]["changed"]) == (0, 1), done.output
    assert mode() == "madvise"
    assert playbook("playbooks/rollback.yml").recap["local"]["changed"] == 0


def test_what_somebody_else_sets_during_a_sample_stays_and_is_said(lent, tmp_path):
    run, _ = lent
    MODE.write_text("never")
    wait_for(lambda: result_of(tmp_path)["probes"]["allocator"]["samples"])
    assert mode() == "never"
    (row,) = result_of(tmp_path)["probes"]["allocator"]["samples"]
    assert (row["arm"], row["engaged"]) == ("thp-always", False)
    assert row["left"] == [f"/{THP} is never: somebody changed it after we wrote always"]
    run.terminate()
    assert run.wait() == 1
    assert mode() == "never"
    assert not Path("/", loans.FILE).exists()


def test_an_agent_asked_to_end_in_the_middle_of_a_sample_gives_thp_back_itself(lent):
    run, _ = lent
    run.terminate()
    assert run.wait() == 1
    assert mode() == "madvise"
