"""The probe's task on this machine, with an agent that only pretends: what is shown, what is kept, what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support import OUR_ACTIONS, ROOT

SAMPLE = ROOT / "tests/unit/reports/samples/run/hosts/node1/result.json"
PRETENDS = """
import json, os, pathlib, shutil, sys, time

folder = pathlib.Path(sys.argv[-1]).parent
state = {"phases": ["model", "load"], "phase": "load", "phase_number": 2, "message": "cold load 1 of 3",
         "phase_left_s": 40.0, "left_s": 40.0, "finished": False, "pid": os.getpid()}
if (folder / "dies").exists():
    os.kill(os.getpid(), 9)
(folder / "progress.json").write_text(json.dumps(state))
for _ in range(600):
    if (folder / "go").exists():
        break
    time.sleep(0.1)
if (folder / "dies later").exists():
    os.kill(os.getpid(), 9)
shutil.copy(folder / "sample.json", sys.argv[-1])
"""
LINE = "node7: load 2/2, cold load 1 of 3, about 40 s left"


@pytest.fixture
def node(tmp_path):
    """A folder with an agent that pretends, what an earlier run left, and a playbook that starts it."""
    (tmp_path / "agent/probe_agent").mkdir(parents=True)
    (tmp_path / "agent/probe_agent/__main__.py").write_text(PRETENDS)
    state = tmp_path / "state"
    state.mkdir()
    (state / "sample.json").write_text(SAMPLE.read_text())
    (state / "result.json").write_text(SAMPLE.read_text())
    stale = {"phases": ["load"], "phase": "load", "phase_number": 1, "message": "stale", "pid": 1, "finished": False}
    (state / "progress.json").write_text(json.dumps({**stale, "phase_left_s": None, "left_s": None}))
    arguments = {
        "python": sys.executable,
        "agent": str(tmp_path / "agent"),
        "spec": {"model": "synthetic:tiny", "probes": ["load"]},
        "result": str(state / "result.json"),
    }
    play = {"hosts": "all", "gather_facts": False, "tasks": [{"name": "Measure", "slm_probe": arguments}]}
    (tmp_path / "measure.yml").write_text(yaml.safe_dump([play]))
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"node7": host}}}))
    return tmp_path


@pytest.fixture
def measure(node):
    """Return a function that runs the playbook, lets the agent go when its line is shown, and returns all lines."""

    def run(*arguments: str) -> list[str]:
        command = [Path(sys.executable).with_name("ansible-playbook"), "-i", node / "hosts.yml", node / "measure.yml"]
        lines = []
        with subprocess.Popen(
            [*map(str, command), *arguments],
            cwd=ROOT,
            env={**os.environ, **OUR_ACTIONS, "ANSIBLE_NOCOLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as playing:
            for line in playing.stdout:
                lines.append(line.rstrip())
                if LINE in line:
                    (node / "state/go").touch()
        return lines

    return run


def test_a_node_says_how_far_it_is_while_it_measures(node, measure):
    lines = measure()
    assert lines.index(LINE) < lines.index("ok: [node7]")
    assert not any("stale" in line for line in lines)
    assert json.loads((node / "state/result.previous.json").read_text()) == json.loads(SAMPLE.read_text())


def test_check_mode_looks_at_nothing_and_leaves_the_older_result(node, measure):
    lines = measure("--check")
    assert "ok: [node7]" in lines
    assert not any(line.startswith("node7: load") for line in lines)
    assert (node / "state/result.json").exists()


def test_an_agent_that_dies_is_placed_by_its_own_progress(node, measure):
    """The progress an earlier run had left once told where this one ended."""
    (node / "state/dies").touch()
    assert "killed by SIGKILL before it measured anything" in " ".join(measure())
    assert not (node / "state/result.json").exists()
    (node / "state/dies").unlink()
    (node / "state/dies later").touch()
    assert "killed by SIGKILL while measuring load (cold load 1 of 3)" in " ".join(measure())


def test_a_missing_argument_is_the_modules_to_refuse(node, measure):
    text = (node / "measure.yml").read_text()
    (node / "measure.yml").write_text("\n".join(line for line in text.splitlines() if "result:" not in line))
    assert "missing required arguments: result" in " ".join(measure())
