"""What a whole run asks of a node that is as the inventory wants it."""

from bench import fleet

MODULES_MOST = 30


def test_a_converged_node_runs_few_modules(playbook, tmp_path):
    environment = fleet.fleet_of(tmp_path, hosts=2, size_mb=0)
    done = playbook("tune_and_probe.yml", "-i", str(tmp_path / "inventory/hosts.yml"), env=environment)
    assert done.code == 0, done.output
    ran = fleet.executions(tmp_path)
    assert ran["slm_probe"] == 2
    assert sum(ran.values()) <= MODULES_MOST, ran
