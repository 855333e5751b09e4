"""What a whole run asks of a node that is as the inventory wants it."""

import json

from bench import fleet

from probe_agent import schema

MODULES_MOST = 30


def test_a_converged_node_runs_few_modules(playbook, tmp_path):
    environment = fleet.fleet_of(tmp_path, hosts=2, size_mb=0)
    done = playbook("tune_and_probe.yml", "-i", str(tmp_path / "inventory/hosts.yml"), env=environment)
    assert done.code == 0, done.output
    ran = fleet.executions(tmp_path)
    assert ran["slm_probe"] == 2
    assert sum(ran.values()) <= MODULES_MOST, ran


def test_a_padded_result_is_still_one(tmp_path):
    fleet.fleet_of(tmp_path, hosts=1, size_mb=1)
    schema.check("result", json.loads((tmp_path / "result.json").read_text()))
    assert 0.9 < (tmp_path / "result.json").stat().st_size / 2**20 < 1.1
