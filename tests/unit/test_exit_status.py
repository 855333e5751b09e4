"""The exit status of a playbook whose plays carry `__exit_by`: the verdict's, not Ansible's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support import ROOT


@pytest.fixture
def play(tmp_path):
    """Return a function that plays tasks and returns the exit status; `verdict` is what preflight.json says."""

    def run(tasks, *arguments, verdict=None, exit_by="preflight"):
        folder = tmp_path / "runs/r1"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "index.html").touch()
        if verdict is not None:
            (folder / "preflight.json").write_text(json.dumps(verdict))
        opened = {"ansible.builtin.set_fact": {"stethos_run": {"id": "r1", "dir": str(folder), "root": "/"}}}
        first = {"hosts": "all", "gather_facts": False, "vars": {"__exit_by": exit_by}, "tasks": [opened, *tasks]}
        (tmp_path / "first.yml").write_text(yaml.safe_dump([first]))
        imported = {"ansible.builtin.import_playbook": "first.yml"}
        (tmp_path / "play.yml").write_text(yaml.safe_dump([imported]))
        hosts = {
            "here": {"ansible_connection": "local"},
            "closed": {"ansible_host": "127.0.0.9", "ansible_port": 9},
        }
        (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
        command = [Path(sys.executable).with_name("ansible-playbook"), "-i", tmp_path / "hosts.yml", *arguments]
        done = subprocess.run(
            [*command, tmp_path / "play.yml"],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "playbooks/callback_plugins")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr
        assert "PLAY RECAP" in done.stdout
        return done.returncode

    return run


HERE = ("--limit", "here")
FAIL = {"ansible.builtin.fail": {"msg": "not fit"}}


@pytest.mark.parametrize(
    ("tasks", "verdict", "status"),
    [
        ([], {"code": 0}, 0),
        ([FAIL], {"code": 2}, 2),
        ([FAIL], {"code": 0}, 1),  # fit, but the report failed
        ([FAIL], None, 1),  # lost before there was a verdict
    ],
)
def test_the_verdict_is_the_status(play, tasks, verdict, status):
    assert play(tasks, *HERE, verdict=verdict) == status


def test_an_unreachable_node_could_not_be_told(play):
    assert play([{"ansible.builtin.ping": {}}], verdict={"code": 0}) == 1


def test_in_check_mode_nothing_was_judged(play):
    assert play([], *HERE, "--check", verdict={"code": 2}) == 0


def test_other_playbooks_keep_ansibles_own(play):
    assert play([FAIL], *HERE, exit_by="") == 2
