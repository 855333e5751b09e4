"""What a whole run asks of a node that is as the inventory wants it, and how many nodes it takes at once."""

import pytest
from bench import fleet

MODULES_MOST = 30


def test_a_converged_node_runs_few_modules(playbook, tmp_path):
    environment = fleet.fleet_of(tmp_path, hosts=2, size_mb=0)
    done = playbook("tune_and_probe.yml", "-i", str(tmp_path / "inventory/hosts.yml"), env=environment)
    assert done.code == 0, done.output
    ran = fleet.executions(tmp_path)
    assert ran["slm_probe"] == 1  # before and after are the same on a node that is to stay as it is
    assert sum(ran.values()) <= MODULES_MOST, ran


@pytest.mark.parametrize("most", [1, 4])
def test_no_more_nodes_than_allowed_restart_services_at_once(playbook, tmp_path, most):
    hosts = 4
    environment = {**fleet.fleet_of(tmp_path, hosts, size_mb=0), "STETHOS_BENCH_SLOW": "service_levers"}
    done = playbook(
        "playbooks/tune.yml",
        *("-i", str(tmp_path / "inventory/hosts.yml"), "--tags", "jemalloc"),
        env=environment,
        jemalloc_services=[{"name": "vllm"}],
        jemalloc_levers=["glibc-thp"],
        jemalloc_install=False,
        tuning_restart_allowed=True,
        tuning_max_unavailable=most,
    )
    assert done.code == 0, done.output
    turns = (tmp_path / "turns").read_text().split()[-2 * hosts :]  # the plan in check mode goes before
    assert (turns == ["begin", "end"] * hosts) == (most == 1), turns
