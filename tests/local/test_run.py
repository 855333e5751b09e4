"""The main job on this machine: one command, a run folder that can be trusted, and a machine that is as it was."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from support import ROOT, machine_state

from probe_agent import paths, schema
from probe_agent.host import snapshot

LOAD_ONLY = {"probe_profile": "quick", "probe_probes": ["load"]}


def rows_of(folder):
    return {row["host"]: row for row in json.loads((folder / "latest/fleet.json").read_text())["hosts"]}


def render_again(run):
    subprocess.run([sys.executable, "-m", "reports", "render", run], cwd=ROOT, check=True)


def bytes_of(run):
    return {str(path): path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("machine", "node_python")
def test_one_command_measures_before_and_after_and_puts_the_machine_back(playbook, tmp_path):
    before = machine_state()
    done = playbook("tune_and_probe.yml", reports_dir=str(tmp_path), probe_profile="quick")
    assert done.code == 0, done.output
    assert machine_state() == before
    assert not Path("/mnt/huge").exists()

    run = (tmp_path / "latest").resolve()
    host = run / "hosts/local"
    results = {name: json.loads((host / f"{name}.json").read_text()) for name in ("baseline", "result")}
    for document in results.values():
        schema.check("result", document)
    assert results["baseline"]["host_memory"]["thp"]["enabled"] == before["thp"]["enabled"]
    assert results["result"]["host_memory"]["thp"]["enabled"] == "always"
    assert results["result"]["host_memory"]["pools"][0]["total"] > 0
    assert results["result"]["host_memory"]["hugetlbfs_mounts"][0]["target"] == "/mnt/huge"
    assert (
        (host / "allocator_latency_comparison.csv")
        .read_text()
        .startswith("allocator,gen_latency_s,wall_real_s,rss_mb\n")
    )
    assert rows_of(tmp_path)["local"]["state"] == "ok"
    assert {"index.html", "report.md"} <= {path.name for path in host.iterdir()}

    first = bytes_of(run)
    render_again(run)
    assert bytes_of(run) == first


@pytest.mark.usefixtures("machine", "node_python")
def test_check_mode_measures_nothing_and_changes_nothing(playbook, tmp_path):
    before = machine_state()
    done = playbook("tune_and_probe.yml", "--check", "--diff", reports_dir=str(tmp_path / "runs"))
    assert done.code == 0, done.output
    assert "enabled = always" in done.output
    assert machine_state() == before
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("machine")
def test_a_broken_environment_is_named_and_the_settings_are_put_back(playbook, tmp_path, broken_python):
    before = machine_state()
    done = playbook("tune_and_probe.yml", reports_dir=str(tmp_path), probe_python=str(broken_python), **LOAD_ONLY)
    assert done.code == 2
    row = rows_of(tmp_path)["local"]
    assert row["state"] == "failed"  # no probe was left
    assert "probe load failed: the process ended with status 1: ImportError: libcudart.so.13" in row["reason"]
    assert machine_state() == before


@pytest.mark.usefixtures("machine", "node_python")
def test_a_killed_agent_is_named_its_samples_kept_and_the_settings_put_back(tmp_path):
    """Killed while it measures the tuned machine: what it had measured comes home all the same."""
    before = machine_state()
    variables = {**LOAD_ONLY, "probe_profile": "standard", "reports_dir": str(tmp_path)}
    command = [Path(sys.executable).with_name("ansible-playbook"), "tune_and_probe.yml", "--skip-tags", "baseline"]
    result = paths.STATE / "probe/result.json"
    result.unlink(missing_ok=True)
    with subprocess.Popen(
        [*command, "-e", json.dumps(variables)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        for _ in range(600):
            if result.exists() and json.loads(result.read_text())["probes"]["load"]["samples"]:
                break
            time.sleep(0.1)
        agents = subprocess.run(
            ["pgrep", "-f", f"probe_agent run .*{result}"], capture_output=True, text=True, check=True
        )
        os.kill(int(agents.stdout.split()[0]), signal.SIGKILL)
        output = run.communicate(timeout=120)[0]
    assert run.returncode == 2, output
    row = rows_of(tmp_path)["local"]
    assert row["state"] == "failed"
    assert row["phase"] == "probe"
    assert "the agent was killed by SIGKILL while measuring load" in row["reason"]
    kept = json.loads((tmp_path / "latest/hosts/local/result.json").read_text())
    assert kept["probes"]["load"]["samples"]
    assert machine_state() == before


@pytest.fixture
def inventory(tmp_path):
    """This machine, one whose SSH port is closed, and one that a limit leaves out."""
    closed = {"ansible_host": "127.0.0.9", "ansible_port": 9, "ansible_ssh_common_args": "-o ConnectTimeout=3"}
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    hosts = {"here": local, "dead": closed, "resting": closed}
    path = tmp_path / "inventory.yml"
    variables = {
        "tuning_keep": False,
        "probe_state": str(tmp_path / "state"),
        **LOAD_ONLY,
    }  # no certificate of `here` stays
    path.write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": variables}}))
    return path


@pytest.mark.usefixtures("machine", "node_python")
def test_every_inventory_host_has_a_row(playbook, tmp_path, inventory):
    arguments = ("-i", str(inventory), "--limit", "here:dead", "--skip-tags", "baseline")
    done = playbook("tune_and_probe.yml", *arguments, reports_dir=str(tmp_path / "runs"))
    assert done.code != 0
    rows = rows_of(tmp_path / "runs")
    assert {name: row["state"] for name, row in rows.items()} == {
        "here": "ok",
        "dead": "unreachable",
        "resting": "skipped",
    }
    assert "Connection refused" in rows["dead"]["reason"]
    assert "--limit" in rows["resting"]["reason"]


def test_a_run_that_lost_every_node_still_has_its_page(playbook, tmp_path, inventory):
    done = playbook("tune_and_probe.yml", "-i", str(inventory), "--limit", "dead", reports_dir=str(tmp_path / "runs"))
    assert done.code == 4
    assert "Connection refused" in (tmp_path / "runs/latest/index.html").read_text()


@pytest.mark.usefixtures("machine", "node_python")
def test_an_interrupted_run_ends_its_probe_and_puts_the_machine_back(tmp_path):
    before = machine_state()
    variables = json.dumps({**LOAD_ONLY, "reports_dir": str(tmp_path)})
    command = [sys.executable, "-m", "reports", "run", "--", "--skip-tags", "baseline", "-e", variables]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as console:
        for _ in range(600):
            if machine_state() != before:
                break
            time.sleep(0.1)
        time.sleep(3)  # into the measurement
        console.send_signal(signal.SIGINT)
        output = console.communicate(timeout=120)[0]
    assert console.returncode == 130, output
    assert machine_state() == before
    assert snapshot.read() == []
    found = subprocess.run(["pgrep", "-f", "probe_agent run"], capture_output=True, text=True, check=False)
    assert found.stdout == ""
