"""Small files arrive whole, in one step, and what cannot be written is said."""

import json
import os
import subprocess
import sys

import pytest
from support import OUR_ACTIONS, ROOT


@pytest.fixture
def small_files():
    """Return a function that runs the module as Ansible does, and returns its answer."""

    def run(**arguments):
        done = subprocess.run(
            [sys.executable, ROOT / "library/small_files.py"],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        return json.loads(done.stdout)

    return run


def test_each_is_written_once_and_nothing_is_left_beside_it(small_files, tmp_path):
    first, second = tmp_path / "certificate.json", tmp_path / "stethos.prom"
    both = [{"content": '{"a": 1}\n', "dest": str(first)}, {"content": "a 1\n", "dest": str(second)}]
    assert small_files(files=both[:1])["written"] == [str(first)]
    assert first.read_text() == '{"a": 1}\n'
    assert first.stat().st_mode & 0o777 == 0o644
    assert small_files(files=both)["written"] == [str(second)]
    assert not small_files(files=both)["changed"]
    assert set(tmp_path.iterdir()) == {first, second}


def test_check_mode_writes_nothing(small_files, tmp_path):
    one = {"content": "new", "dest": str(tmp_path / "file")}
    assert small_files(files=[one], _ansible_check_mode=True)["changed"]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(small_files, tmp_path):
    found = small_files(files=[{"content": "new", "dest": str(tmp_path / "absent/file")}])
    assert found["failed"]
    assert found["msg"] == f"{tmp_path}/absent/file cannot be written: No such file or directory"


@pytest.mark.parametrize("there", [True, False])
def test_a_playbook_sends_the_files_that_there_are(playbook, tmp_path, there):
    made, place = tmp_path / "made", tmp_path / "node/made"
    place.parent.mkdir()
    if there:
        made.write_text("of the controller\n")
    files = [
        {"src": str(made), "dest": str(place)},
        {"src": str(tmp_path / "absent"), "dest": str(tmp_path / "node/absent")},
        {"src": str(made), "dest": ""},
    ]
    task = {"name": "Leave the files", "small_files": {"files": files}}
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    done = playbook(str(tmp_path / "play.yml"), env=OUR_ACTIONS)
    assert (done.code, "skipping: [localhost]" in done.output) == (0, not there), done.output
    assert list(place.parent.iterdir()) == ([place] if there else [])
