"""Batches in a real play, with nothing tuned in them: who is reached, and what run.json says of the others."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support import ROOT

ROLLOUT = "hostvars.localhost.ansible_facts.stethos_rollout"


@pytest.fixture
def rows(tmp_path):
    """Return a function that plays a rollout over node1 to node5, and returns run.json's rows; `lost` fail in it."""

    def play(lost, canary="", serial="", early=()):
        folder = tmp_path / "runs/r1"
        folder.mkdir(parents=True)
        wish = {"canary": canary, "serial": serial, "most_fail_percent": 10.0, "unavailable": "1", "rollback": False}
        once = {"run_once": True, "delegate_to": "localhost", "delegate_facts": True}
        run = {"id": "r1", "dir": str(folder), "root": str(ROOT)}
        opened = {"ansible.builtin.set_fact": {"stethos_run": run, "cacheable": True}}
        gate = {"ansible.builtin.import_tasks": str(ROOT / "playbooks/tasks/gate.yml")}

        def fail(hosts):
            failed = {"msg": "no room"}
            return {"ansible.builtin.fail": failed, "when": f"inventory_hostname in {list(hosts)}"}

        done = {"ansible.builtin.debug": {"msg": "tuned"}}
        plays = [
            ("input", [{"plan_rollout": wish, **once}, opened, fail(early)], {}),
            (
                "tune",
                [gate, fail(lost), done, {"slm_probe": {}, "when": False}],
                {"hosts": f"{{{{ {ROLLOUT}.patterns }}}}", "serial": f"{{{{ {ROLLOUT}.serial }}}}"},
            ),
            ("report", [done], {}),
        ]
        written = [
            {"hosts": "all", "gather_facts": False, "vars": {"__phase": phase}, "tasks": tasks, **more}
            for phase, tasks, more in plays
        ]
        (tmp_path / "play.yml").write_text(yaml.safe_dump(written))
        hosts = {f"node{number}": {"ansible_connection": "local"} for number in range(1, 6)}
        groups = {"canaries": {"hosts": {"node4": None}}}
        (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts, "children": groups}}))
        plugins = {
            f"ANSIBLE_{kind.upper()}_PLUGINS": str(ROOT / f"playbooks/{kind}_plugins")
            for kind in ("callback", "action")
        }
        command = [Path(sys.executable).with_name("ansible-playbook"), "-i", tmp_path / "hosts.yml"]
        done = subprocess.run(
            [*command, tmp_path / "play.yml"],
            cwd=ROOT,
            env={**os.environ, **plugins},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stdout + done.stderr
        assert done.returncode == (2 if lost or early else 0), done.stdout + done.stderr
        return json.loads((folder / "run.json").read_text())["hosts"]

    return play


def states(found):
    return " ".join(row["state"] for _, row in sorted(found.items()))


def test_all_go_well_batch_by_batch(rows):
    assert states(rows([], canary="1", serial=[1, 2])) == "ok ok ok ok ok"


def test_a_lost_canary_leaves_all_others_as_they_are(rows):
    """Ansible itself ends the playbook here, since a whole batch is lost."""
    found = rows(["node4"], canary="canaries")
    assert states(found) == "skipped skipped skipped failed skipped"
    assert found["node1"]["reason"] == "rollout stopped: node4 failed in tune: no room"


def test_one_of_two_canaries_is_enough(rows):
    found = rows(["node2"], canary="2", serial=2)
    assert states(found) == "ok failed skipped skipped skipped"
    assert found["node5"]["reason"] == "rollout stopped: canary node2 failed in tune: no room"


def test_a_canary_lost_before_its_turn_stops_all(rows):
    found = rows([], canary="1", early=["node1"])
    assert states(found) == "failed skipped skipped skipped skipped"
    assert found["node2"]["reason"] == "rollout stopped: canary node1 failed in input: no room"


def test_a_batch_beyond_its_share_ends_the_rollout(rows):
    found = rows(["node3"], serial=[1, 2, 1])
    assert states(found) == "ok ok failed skipped skipped"
    assert "1 of 2 hosts of a batch were lost, and 10 % may be: node3" in found["node4"]["reason"]
