"""The order of a campaign, what it skips, and settings that are lent for a sample."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import ROOT

from probe_agent.arms import A_A, ARMS, CONTROL, THP, Arm, Stack
from probe_agent.engines import guard
from probe_agent.host import loans, snapshot
from probe_agent.host.process import Memory
from probe_agent.host.proof import Proof
from probe_agent.probes import allocator, campaign

MEMORY = Memory(1, 1, 1, 1, 0, 0, 0, 0, minor_faults=0, major_faults=0, allocators=())


def test_controls_are_always_there_and_what_cannot_run_is_said(fake_root):
    root = fake_root({THP: "[always] madvise never\n"})
    plan = campaign.plan(("thp-always", "thp-never", "jemalloc", "pinned-register"), Stack("2.13.0", 0), root)
    assert [arm.name for arm in plan.arms] == [CONTROL, A_A, "thp-never"]
    assert plan.skipped == {
        "thp-always": "the node is set so already",
        "jemalloc": "no jemalloc library on this node",
        "pinned-register": "no GPU on this node",
    }


def test_each_block_has_every_arm_once_in_an_order_that_the_seed_draws():
    arms = tuple(ARMS.values())
    drawn = campaign.blocks(arms, 6, seed=3)
    assert all(sorted(arm.name for arm in block) == sorted(ARMS) for block in drawn)
    assert drawn == campaign.blocks(arms, 6, seed=3)
    assert drawn != campaign.blocks(arms, 6, seed=4)
    assert len({tuple(arm.name for arm in block) for block in drawn}) == 6


@pytest.mark.parametrize(("left", "engaged"), [([], True), (["/sys/knob is 3: somebody changed it"], False)])
def test_a_setting_that_somebody_changed_during_the_sample_was_not_in_use(left, engaged):
    found = Proof((replace(MEMORY, anon_huge_mb=300),), "always")
    sample = campaign.Sample(ARMS["thp-always"], {"left": left}, found)
    campaign.judge(sample)
    assert sample.row["engaged"] is engaged


def test_settling_ends_when_the_node_is_calm_and_when_patience_does(monkeypatch):
    monkeypatch.setattr(campaign, "SLICE_S", 0.001)
    monkeypatch.setattr(campaign.pressure, "waiting_share", lambda *_: 0.05)
    assert campaign.settle(0.0)
    monkeypatch.setattr(campaign.pressure, "waiting_share", lambda *_: 0.5)
    assert not campaign.settle(0.0)


@pytest.fixture
def knob(tmp_path):
    path = tmp_path / "knob"
    path.write_text("1")
    return path


def lending(knob, value="2"):
    return Arm("an arm", "for tests", settings={str(knob): value})


def test_a_setting_holds_for_the_length_of_a_sample(knob, tmp_path):
    with campaign.Loans(tmp_path) as settings:
        with settings.of(lending(knob)) as left:
            assert knob.read_text() == "2"
            assert snapshot.read(file=loans.journal(tmp_path))[0].before == "1"
        assert (knob.read_text(), left) == ("1", [])
        with pytest.raises(RuntimeError), settings.of(lending(knob)):
            raise RuntimeError("the process failed")
        assert knob.read_text() == "1"
    assert not Path(loans.journal(tmp_path)).exists()


def test_an_arm_without_settings_starts_no_guard(tmp_path, monkeypatch):
    monkeypatch.setattr(campaign, "Guard", lambda _: pytest.fail("a guard was started"))
    with campaign.Loans(tmp_path) as settings, settings.of(ARMS["jemalloc"]) as left:
        assert left == []


def test_what_somebody_else_sets_during_a_sample_stays_and_is_said(knob, tmp_path):
    with campaign.Loans(tmp_path) as settings, settings.of(lending(knob)) as left:
        knob.write_text("3")
    assert knob.read_text() == "3"
    assert left == [f"/{knob} is 3: somebody changed it after we wrote 2"]


def test_what_somebody_else_sets_back_during_a_sample_is_said(knob, tmp_path):
    """A tuning run beside the campaign did: the sample was taken without its setting, and nothing was left to undo."""
    with campaign.Loans(tmp_path) as settings, settings.of(lending(knob)) as left:
        knob.write_text("1")
    assert left == [f"/{knob} is 1 again: somebody set it back"]


def test_a_setting_that_holds_already_is_lent_nothing(knob, tmp_path):
    with campaign.Loans(tmp_path) as settings, settings.of(lending(knob, "1")):
        assert not Path(loans.journal(tmp_path)).exists()


def test_nothing_is_changed_without_a_guard(knob, tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "python_path", dict)  # it does not find the agent's package
    monkeypatch.chdir(tmp_path)
    with campaign.Loans(tmp_path) as settings, pytest.raises(ValueError, match="did not start"):
        settings.of(lending(knob)).__enter__()
    assert knob.read_text() == "1"


BORROWER = """
import sys, time
from pathlib import Path
from probe_agent.arms import Arm
from probe_agent.probes import campaign
with campaign.Loans(Path(sys.argv[1])) as settings, settings.of(Arm("a", "a", settings={sys.argv[2]: "2"})):
    print("lent", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_guard_gives_back_what_a_killed_borrower_held(knob, tmp_path, number):
    command = [sys.executable, "-c", BORROWER, tmp_path, knob]
    heeding = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}  # which a background job ignores
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=ROOT, text=True, **output, **heeding) as borrower:
        assert borrower.stdout.readline() == "lent\n"
        assert knob.read_text() == "2"
        os.kill(borrower.pid, number)
        borrower.wait()
    for _ in range(200):
        if knob.read_text() == "1" and not Path(loans.journal(tmp_path)).exists():
            break
        time.sleep(0.05)
    assert knob.read_text() == "1"
    assert not Path(loans.journal(tmp_path)).exists()


def row(arm, position, block=0, engaged=True, left=(), **more):
    return {
        "arm": arm,
        "block": block,
        "position": position,
        "engaged": engaged,
        "allocators": [],
        "left": list(left),
        **more,
    }


def test_the_evidence_has_arms_order_and_what_was_skipped():
    from probe_agent.spec import Spec

    class Bench:
        spec = Spec(arms=("jemalloc-thp", "numa-bind"), seed=5)

    library = "/usr/lib/libjemalloc.so.2"
    samples = [
        row("jemalloc-thp", 0, allocators=[library]),
        row("glibc", 1),
        row("glibc", 1, block=1),
        row("jemalloc-thp", 0, block=1, engaged=None, left=["a sentence"]),
    ]
    found = allocator.evidence(samples, Bench)
    assert found["order"] == [["jemalloc-thp", "glibc"], ["jemalloc-thp", "glibc"]]
    assert (found["seed"], found["left"]) == (5, ["a sentence"])
    arm = found["arms"]["jemalloc-thp"]
    assert (arm["processes"], arm["engaged"], arm["mapped"]) == (2, 1, [library])
    assert arm["needs"][0] == "the jemalloc library"
    assert found["arms"]["glibc"]["engaged"] == 2
    assert "numa-bind" in found["skipped_arms"]


def test_a_headline_has_the_arms_that_ran():
    samples = [
        {**row(arm, 0), "gen_latency_s": 1.0, "wall_real_s": 5.0, "rss_mb": 300.0} for arm in ("glibc", "thp-always")
    ]
    assert allocator.headline(samples) == {
        "glibc_gen_latency_s": 1.0,
        "glibc_wall_real_s": 5.0,
        "glibc_rss_mb": 300.0,
        "thp-always_gen_latency_s": 1.0,
        "thp-always_wall_real_s": 5.0,
        "thp-always_rss_mb": 300.0,
    }


@pytest.mark.parametrize(
    ("worked_s", "waited_s", "patience_s"),
    [
        (0.0, 0.0, 2.0),  # the first
        (100.0, 1.0, 2.0),  # a calm node
        (100.0, 3.5, 0.5),
        (100.0, 30.0, 0.0),  # one that is never calm
    ],
)
def test_waiting_for_a_calm_node_stays_a_small_share_of_the_work(worked_s, waited_s, patience_s):
    assert campaign.patience(worked_s, waited_s) == pytest.approx(patience_s)


def judged(name, *engaged, left=()):
    return [{"arm": name, "engaged": each, "left": list(left)} for each in engaged]


@pytest.mark.parametrize(
    ("rows", "goes_on"),
    [
        ([], True),
        (judged("jemalloc", False), True),
        (judged("jemalloc", False, False), False),
        (judged("jemalloc", False, False, True), True),
        (judged("jemalloc", False, None), True),
        (judged("jemalloc", False, False, left=["/sys/knob is 3: somebody changed it"]), True),
        (judged("tcmalloc", False, False), True),
    ],
)
def test_a_lever_that_two_processes_did_not_use_is_tried_no_more(rows, goes_on):
    assert campaign.promising(ARMS["jemalloc"], rows) is goes_on


def test_controls_run_in_every_block_even_where_one_had_a_lever():
    assert campaign.promising(ARMS[A_A], judged(A_A, False, False))


def test_a_campaign_goes_on_without_a_lever_that_nothing_used(monkeypatch, tmp_path):
    plan = campaign.Plan((ARMS[CONTROL], ARMS[A_A], ARMS["jemalloc"]), {})
    monkeypatch.setattr(campaign, "plan", lambda *_: plan)
    monkeypatch.setattr(
        allocator,
        "_sample",
        lambda _, arm, __: campaign.Sample(arm, {"arm": arm.name, "left": [], "engaged": None}, Proof((MEMORY,), "")),
    )
    expected = []
    bench = SimpleNamespace(
        spec=SimpleNamespace(compared=("jemalloc",), repeats=4, seed=1, state_dir=str(tmp_path)),
        progress=SimpleNamespace(expect=expected.append, step=lambda _: None),
    )
    ran = [(row["block"], row["arm"]) for row in allocator.rows(bench)]
    assert [block for block, arm in ran if arm == "jemalloc"] == [0, 1]  # whose library was not mapped
    assert [block for block, arm in ran if arm == CONTROL] == [0, 1, 2, 3]
    assert expected == [12, 12, 10, 10]
