"""More nodes than Ansible has forks: all are measured side by side, by probes that need no connection meanwhile."""

from __future__ import annotations

import signal

import pytest
from bed import Node
from support import wait_for

DEADLINE_S = 25
VARIABLES = {"probe_probes": ["load", "curves"], "probe_deadline_s": DEADLINE_S, "probe_profile": "quick"}
PROBES = ("--forks", "1", "--skip-tags", "baseline,tune,pressure")


@pytest.fixture(scope="module")
def nodes(fleet):
    short = {"STAND_IN_S": 2}
    return fleet(*(Node(name, environment=short) for name in ("sound", "killed")))


def measured_at_once(nodes, play):
    """Wait until every node is where it waits for the test."""
    wait_for(lambda: not play.running() or all(node.measures("curves") for node in nodes.nodes.values()), 120)
    assert play.running(), play.output()


def jobs(node):
    """Return what Ansible keeps of the probes that it started apart: a lost controller's stays."""
    return sorted((node.home / ".ansible_async").glob("*"))


def test_a_probe_of_a_lost_controller_ends_at_its_deadline(nodes):
    play = nodes.play("tune_and_probe.yml", *PROBES, **VARIABLES)
    measured_at_once(nodes, play)
    play.send(signal.SIGKILL)
    play.code()
    wait_for(lambda: not any(node.processes("agent.py run") for node in nodes.nodes.values()), 2 * DEADLINE_S)


def test_all_are_measured_at_once_and_each_has_its_row(nodes):
    before = {name: jobs(nodes.nodes[name]) for name in nodes.nodes}
    play = nodes.play("tune_and_probe.yml", *PROBES, **VARIABLES)
    measured_at_once(nodes, play)
    nodes.nodes["killed"].send(signal.SIGKILL, "agent.py run")
    (nodes.nodes["sound"].folder / "var-lib-stethos/go").touch()
    assert play.code() != 0
    rows = {name: (row["state"], row["phase"], row["reason"]) for name, row in nodes.rows().items()}
    assert rows["sound"][0] == "ok", rows
    assert rows["killed"][:2] == ("failed", "probe"), rows
    assert "the agent was killed by SIGKILL while measuring curves" in rows["killed"][2]
    assert all(set(jobs(nodes.nodes[name])) <= set(before[name]) for name in before)
