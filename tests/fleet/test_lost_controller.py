"""A controller that is killed or interrupted: no probe goes on, every change has its way back, a rerun resumes."""

from __future__ import annotations

import fcntl
import json
import signal

import pytest
from bed import Node
from support import wait_for

VARIABLES = {
    "probe_probes": ["load", "curves"],
    "probe_deadline_s": 300,
    "probe_resume": True,
    "tuning_keep": False,
    "hugetlbfs_mounts": [{"path": "/mnt/huge"}],
}


@pytest.fixture(scope="module")
def nodes(fleet):
    return fleet(Node("one", environment={"STAND_IN_S": 2}), Node("two", environment={"STAND_IN_S": 2}))


def start(nodes, until):
    """Start the run, and return it once both nodes measure what is named."""
    play = nodes.play("tune_and_probe.yml", "--skip-tags", "baseline", **VARIABLES)
    wait_for(lambda: not play.running() or all(node.measures(until) for node in nodes.nodes.values()), 120)
    assert play.running(), play.output()
    return play


def snapshot(node):
    file = node.folder / "var-lib-stethos/snapshot.json"
    return [entry["path"] for entry in json.loads(file.read_text())["entries"]] if file.exists() else []


def gone(nodes):
    return not any(node.processes("agent.py run") for node in nodes.nodes.values())


def test_a_lost_controller_leaves_no_probe_and_a_rerun_goes_on(nodes):
    killed = start(nodes, "curves")
    killed.send(signal.SIGKILL)
    killed.code()
    wait_for(lambda: gone(nodes), 30)
    assert nodes.run_record()["finished"] is None
    assert set(nodes.run_record()["hosts"]) == {"one", "two"}
    for node in nodes.nodes.values():  # tuned, and the way back is known
        assert "/mnt/huge" in snapshot(node)
        assert "/mnt/huge hugetlbfs" in node.mounts()

    interrupted = start(nodes, "curves")
    interrupted.send(signal.SIGINT)
    assert interrupted.code() != 0
    wait_for(lambda: gone(nodes), 30)
    for row in nodes.rows().values():
        assert (row["state"], row["phase"]) == ("failed", "probe")
        assert "the run was ended in this phase" in row["reason"]

    for node in nodes.nodes.values():
        (node.folder / "var-lib-stethos/go").touch()
    again = nodes.play("tune_and_probe.yml", "--skip-tags", "baseline", **VARIABLES)
    assert again.code() == 0, again.output()
    for name, node in nodes.nodes.items():
        assert nodes.rows()[name]["state"] == "ok"
        result = json.loads((nodes.reports / f"latest/hosts/{name}/result.json").read_text())
        assert result["probes"]["load"]["resumed"]
        assert not result["probes"]["curves"].get("resumed")
        assert snapshot(node) == []
        assert "/mnt/huge" not in node.mounts()


def test_two_controllers_do_not_tune_a_node_at_once(nodes):
    lock = nodes.nodes["one"].folder / "var-lib-stethos/agent.lock"
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        play = nodes.play("tune.yml", "--limit", "one", "--tags", "hugetlbfs", **VARIABLES)
        assert play.code() == 2
    assert "another run tunes it (/var/lib/stethos/agent.lock is held)" in " ".join(play.output().split())
    assert snapshot(nodes.nodes["one"]) == []
