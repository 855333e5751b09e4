"""One run over a fleet in which nearly every node breaks in its own way: each gets its row, the others finish."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from pathlib import Path

import pytest
from bed import TASK_TIMEOUT_S, Node

DEADLINE_S = 15
SAMPLES_S = 6
TOKEN = "hf_" + "ThisIsNoToken" * 3
UP = {"STAND_IN_S": SAMPLES_S}

READS = "Read the state of host memory, and what sets it"

# Node → state, phase and a part of the reason.
FAULTS = {
    "sound": ("ok", "", ""),
    "stopped": ("unreachable", "state", "Connection refused"),
    "wrong-key": ("unreachable", "state", "Host key verification failed."),
    "no-python": ("failed", "state", "/usr/bin/python3: Permission denied"),
    "blocked": (
        "failed",
        "state",
        f"did not finish {READS!r} within {TASK_TIMEOUT_S} s",
    ),
    "no-sudo": ("failed", "state", "sudo"),
    "full-home": ("failed", "environment", "/opt/stethos cannot be written: No space left on device"),
    "full-state": ("failed", "probe", "No space left on device"),
    "unplugged": ("unreachable", "probe", "the connection was lost"),
    "deaf": ("unreachable", "probe", "the connection was lost"),
    "frozen": ("failed", "probe", f"did not end at its deadline of {DEADLINE_S} s, nor when asked to, while measuring"),
    "killed": ("failed", "probe", "the agent was killed by SIGKILL while measuring load"),
    "behind": ("degraded", "", "by the node's clock, begun 7,"),
    "ahead": ("degraded", "", "by the node's clock, finished 7,"),
    "huge": ("failed", "probe", "a result that cannot be used: it is larger than 16 MiB"),
    "plain": ("ok", "", ""),
}


def made() -> list[Node]:
    special = {
        "no-python": {"masked": ("/usr/bin/python3",)},
        "blocked": {"command": "sleep 1000"},
        "no-sudo": {"user": "plain"},
        "full-home": {"sizes": {"/opt/stethos": 64}},
        "full-state": {"sizes": {"/var/lib/stethos": 16}},
        "behind": {"environment": {**UP, "STAND_IN_CLOCK_S": -7200}},
        "ahead": {"environment": {**UP, "STAND_IN_CLOCK_S": 7200}},
        "huge": {"environment": {**UP, "STAND_IN_BYTES": 100 << 20}},
    }
    return [Node(name, **{"environment": UP, **special.get(name, {})}) for name in FAULTS if name != "plain"]


def secrets_in_sight() -> list[str]:
    """Return the command lines that anybody on this machine can read the token from."""
    seen = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = file.read_bytes()
            seen += [line.decode()] if TOKEN.encode() in line else []
    return seen


@pytest.fixture(scope="module")
def run(fleet):
    """The run: its fleet, its exit status, its output, and command lines with the token in them."""
    plain = Node("plain", user="plain", environment=UP)
    nodes = fleet(*made(), plain)
    home = str(plain.home)
    plain.variables = {
        "probe_become": False,
        "probe_home": f"{home}/stethos",
        "probe_state": f"{home}/stethos/state",
        "probe_probes": ["load", "pressure"],
    }
    at = nodes.nodes
    at["stopped"].stop()
    known = nodes.known_hosts.read_text()
    nodes.known_hosts.write_text(known.replace(at["wrong-key"].known_key, at["sound"].known_key))
    faults = {
        "unplugged": at["unplugged"].cut_link,
        "deaf": lambda: at["deaf"].send(signal.SIGSTOP, "sshd"),
        "frozen": lambda: at["frozen"].send(signal.SIGSTOP, "agent.py run"),
        "killed": lambda: at["killed"].send(signal.SIGKILL, "agent.py run"),
    }
    variables = {"probe_deadline_s": DEADLINE_S, "probe_hub_token": TOKEN}
    play = nodes.play("tune_and_probe.yml", "-vv", "--skip-tags", "baseline", **variables)
    seen = []
    while play.running():
        seen += secrets_in_sight()
        for name in [name for name in faults if at[name].measures("load")]:
            faults.pop(name)()
        time.sleep(0.2)
    assert not faults, play.output()
    return nodes, play.code(), play.output(), seen


@pytest.mark.parametrize("name", FAULTS)
def test_each_node_has_its_row(run, name):
    row = run[0].rows()[name]
    state, phase, reason = FAULTS[name]
    assert (row["state"], row["reason"]) == (state, row["reason"] if reason in row["reason"] else f"… {reason} …")
    assert row["phase"] == phase or not phase


def test_the_exit_status_tells_and_the_pages_are_there(run):
    nodes, code, output, _ = run
    assert code == 4, output  # of a run with nodes that could not be reached
    assert set(nodes.rows()) == set(FAULTS)
    for name in FAULTS:
        assert (nodes.reports / f"latest/hosts/{name}/index.html").exists()
    assert nodes.run_record()["finished"]


def test_the_others_have_all_their_samples(run):
    nodes = run[0]
    for name in ("sound", "behind", "ahead", "plain"):
        result = json.loads((nodes.reports / f"latest/hosts/{name}/result.json").read_text())
        assert len(result["probes"]["load"]["samples"]) == SAMPLES_S


def test_a_plain_user_is_told_what_was_skipped_for_want_of_root(run):
    nodes, _, output, _ = run
    result = json.loads((nodes.reports / "latest/hosts/plain/result.json").read_text())
    assert result["probes"]["pressure"]["status"] == "skipped"
    assert "root" in result["probes"]["pressure"]["reason"]
    assert "settings are skipped: they need root" in output


def test_no_probe_is_left_on_a_node_that_can_be_reached(run):
    for name, node in run[0].nodes.items():
        if name not in ("unplugged", "deaf"):
            assert node.processes("agent.py run") == [], name


def test_the_token_is_nowhere(run):
    nodes, _, output, seen = run
    assert seen == []
    assert TOKEN not in output
    inventory = nodes.folder / "inventory.yml"
    files = [path for path in nodes.folder.rglob("*") if path.is_file() and path != inventory]
    small = [path for path in files if path.stat().st_size < 32 << 20]
    assert len(small) > 100
    assert [path for path in small if TOKEN.encode() in path.read_bytes()] == []


def test_files_on_a_node_are_roots_and_nobody_elses_to_write(run):
    for folder in ("opt-stethos", "var-lib-stethos"):
        paths = list((run[0].nodes["sound"].folder / folder).rglob("*"))
        assert paths
        for path in paths:
            assert path.lstat().st_uid == 0
            assert path.is_symlink() or not path.lstat().st_mode & 0o022, path
