"""A node's progress as lines on the controller: only what is new, only of this run, and never in the way."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml
from action_plugins.slm_probe import Watch
from support import OUR_ACTIONS, ROOT


def state(message, **other):
    known = {"phases": ["model", "load"], "phase": "load", "phase_number": 2, "phase_left_s": None, "left_s": None}
    return json.dumps({**known, "message": message, "finished": False, **other})


@pytest.fixture
def watch():
    """Return a function that shows a watch one text after the other and returns the lines it gave."""

    def follow(*texts):
        given, shown, all_seen = iter(texts), [], threading.Event()

        def look():
            for text in given:
                if isinstance(text, Exception):
                    raise text
                return text
            all_seen.set()
            return ""

        with Watch("node7", 0.001, look, shown.append):
            assert all_seen.wait(30)
        return shown

    return follow


def test_a_line_for_each_change(watch):
    assert watch("", state("one"), state("one"), state("two")) == ["node7: load 2/2, one", "node7: load 2/2, two"]


def test_what_an_earlier_run_left_is_not_shown(watch):
    assert watch(state("old"), state("old"), state("new")) == ["node7: load 2/2, new"]
    assert watch(state("old", finished=True), state("new")) == ["node7: load 2/2, new"]


def test_the_end_of_a_run_is_said_by_its_result(watch):
    assert watch("", state("one"), state("one", finished=True)) == ["node7: load 2/2, one"]


def test_a_node_that_cannot_be_read_or_talks_nonsense_is_passed_over(watch):
    nonsense = ("{", "[]", "null", '"load"', "{}", "[" * 100_000, state("x", phase="a\nb"), OSError("no route to host"))
    assert watch("", *nonsense, state("one")) == ["node7: load 2/2, one"]


def test_the_measurement_does_not_wait_for_a_look_that_hangs(monkeypatch):
    monkeypatch.setattr("action_plugins.slm_probe.WAIT_S", 0.01)
    hangs = threading.Event()
    with Watch("node7", 0.001, lambda: hangs.wait(60) or "", print):
        measured = True
    assert measured
    hangs.set()


def test_a_measurement_that_fails_is_not_held_back():
    with pytest.raises(RuntimeError), Watch("node7", 0.001, lambda: "", print):
        raise RuntimeError("the connection broke")


@pytest.mark.parametrize(
    ("profile", "status", "said"),
    [("quick", 0, "ok: [node7]"), ("fast", 2, "probe_profile is fast, and must be one of quick, standard, certify")],
)
def test_in_check_mode_the_spec_is_read_without_asking_the_node(tmp_path, profile, status, said):
    spec = {"model": "synthetic:tiny", "probes": ["load"], "profile": "{{ profile }}", "deadline_s": "{{ 60 | int }}"}
    task = {"slm_probe": {"python": "/p", "agent": "/a", "result": "/r", "spec": spec}}
    play = {"hosts": "all", "gather_facts": False, "vars": {"profile": profile}, "tasks": [task]}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    closed = {"ansible_host": "127.0.0.9", "ansible_port": 9}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"node7": closed}}}))
    command = [Path(sys.executable).with_name("ansible-playbook"), "--check", "-i", tmp_path / "hosts.yml"]
    done = subprocess.run(
        [*command, tmp_path / "play.yml"],
        cwd=ROOT,
        env={**os.environ, **OUR_ACTIONS},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert said in " ".join((done.stdout + done.stderr).split())
