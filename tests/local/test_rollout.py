"""A rollout for real, plays and modules, over hosts that are all this machine; only the measuring is made up."""

import json
import sys

import pytest
import yaml
from support import ROOT, machine_state

from probe_agent.host import snapshot, thp

RESULT = ROOT / "tests/unit/reports/samples/run/hosts/node1/baseline.json"
# In place of a serving stack's Python: the same figures each time, but three times as slow, or killed, where told.
STAND_IN = f"""#!{sys.executable}
import datetime, json, os, pathlib, signal, sys
folder = pathlib.Path(__file__).parent
if "-c" in sys.argv:
    print(json.dumps(dict.fromkeys(["jsonschema", "torch", "transformers"], "1.0")))
    sys.exit()
spec = json.loads(pathlib.Path(sys.argv[sys.argv.index("--spec") + 1]).read_text())
fate = json.loads((folder / "fates.json").read_text()).get(spec["host"]) if spec["label"] == "tuned" else None
with (folder / "log").open("a") as log:
    log.write(f"{{spec['label']}} {{spec['host']}}\\n")
if fate == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
result = json.loads(pathlib.Path({str(RESULT)!r}).read_text())
result["started"] = result["finished"] = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
for sample in result["probes"]["load"]["samples"]:
    sample["load_s"] *= 3 if fate == "slow" else 1
for name, part in result["probes"].items():
    part.setdefault("headline", {{}})
pathlib.Path(sys.argv[-1]).write_text(json.dumps(result))
"""


@pytest.fixture
def roll_out(playbook, tmp_path):
    """Return a function that tunes and probes hosts node1 to `hosts`, and returns the run, its rows and its log."""

    def run(*arguments, hosts=5, fates=None, dead=(), own=None, **variables):
        (tmp_path / "python").write_text(STAND_IN)
        (tmp_path / "python").chmod(0o755)
        (tmp_path / "fates.json").write_text(json.dumps(fates or {}))
        names = [f"node{number}" for number in range(1, hosts + 1)]
        closed = {"ansible_connection": "ssh", "ansible_host": "127.0.0.9", "ansible_port": 9}
        inventory = {
            "vars": {
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                "tuning_persist": False,
                "probe_python": str(tmp_path / "python"),
                "probe_home": str(tmp_path / "home/{{ inventory_hostname }}"),
                "probe_state": str(tmp_path / "state/{{ inventory_hostname }}"),
                "reports_dir": str(tmp_path / "runs"),
            },
            "hosts": {name: closed if name in dead else (own or {}).get(name) for name in names},
            "children": {"canaries": {"hosts": {"node4": None}}},
        }
        (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": inventory}))
        done = playbook("tune_and_probe.yml", "-i", str(tmp_path / "hosts.yml"), *arguments, **variables)
        fleet = tmp_path / "runs/latest/fleet.json"
        rows = {row["host"]: row for row in json.loads(fleet.read_text())["hosts"]} if fleet.exists() else {}
        log = tmp_path / "log"
        return done, rows, log.read_text().splitlines() if log.exists() else []

    return run


def other_mode():
    knob = thp.read().general["enabled"]
    return next(mode for mode in ("always", "madvise", "never") if mode != knob.value)


@pytest.mark.usefixtures("machine")
def test_a_worse_canary_stops_the_rollout_and_is_put_back(roll_out):
    before = machine_state()
    done, rows, log = roll_out(
        fates={"node4": "slow"},
        own={"node4": {"thp_enabled": other_mode()}},
        tuning_canary="canaries",
        tuning_rollback_on_regression=True,
    )
    assert done.code == 2, done.output
    evidence = "worse after tuning: cold_load_s went from 0.64 to 1.92, where noise explains at most 0.96"
    assert rows["node4"]["state"] == "failed"
    assert evidence in rows["node4"]["reason"]
    assert evidence in done.output
    for name in ("node1", "node2", "node3", "node5"):
        assert rows[name]["state"] == "skipped"
        assert rows[name]["reason"].startswith("rollout stopped: node4 failed in tune: worse after tuning")
    assert [line for line in log if line.startswith("tuned")] == ["tuned node4"]
    assert done.recap["node4"]["changed"] == 3, done.output  # the environment, THP, and THP again
    assert machine_state() == before
    assert snapshot.read() == []


@pytest.mark.usefixtures("machine")
def test_a_batch_that_loses_more_than_its_share_ends_the_rollout(roll_out):
    done, rows, log = roll_out(fates={"node3": "killed"}, tuning_canary=1, tuning_serial=[2, 1])
    assert done.code == 2, done.output
    assert {name: row["state"] for name, row in rows.items()} == {
        "node1": "ok",
        "node2": "ok",
        "node3": "failed",
        "node4": "skipped",
        "node5": "skipped",
    }
    assert "killed by SIGKILL" in rows["node3"]["reason"]
    said = "rollout stopped: 1 of 2 hosts of a batch were lost, and 10 % may be: node3 failed in probe: the agent"
    assert rows["node5"]["reason"].startswith(said)
    tuned = [line for line in log if line.startswith("tuned")]
    assert tuned[0] == "tuned node1"
    assert sorted(tuned[1:]) == ["tuned node2", "tuned node3"]


@pytest.mark.usefixtures("machine")
def test_a_canary_that_cannot_be_reached_stops_the_rollout_before_it_begins(roll_out):
    done, rows, log = roll_out(hosts=3, dead=["node1"], tuning_canary=1)
    assert done.code != 0
    assert rows["node1"]["state"] == "unreachable"
    assert rows["node3"]["reason"].startswith("rollout stopped: canary node1 unreachable in state")
    assert not [line for line in log if line.startswith("tuned")]


def test_a_canary_larger_than_the_fleet_is_refused_before_any_node_is_touched(roll_out):
    done, rows, log = roll_out(tuning_canary=6)
    assert done.code != 0
    assert "tuning_canary is 6, and must be from 1 to 5, the hosts of this run" in done.output
    assert not rows
    assert not log
