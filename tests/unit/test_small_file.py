"""A small file arrives whole, in one step, and what cannot be written is said."""

import json
import os
import subprocess
import sys

import pytest
from support import ROOT


@pytest.fixture
def small_file():
    """Return a function that runs the module as Ansible does, and returns its answer."""

    def run(**arguments):
        done = subprocess.run(
            [sys.executable, ROOT / "library/small_file.py"],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        return json.loads(done.stdout)

    return run


def test_it_writes_once_and_leaves_nothing_beside_it(small_file, tmp_path):
    path = tmp_path / "certificate.json"
    assert small_file(content='{"a": 1}\n', dest=str(path))["changed"]
    assert path.read_text() == '{"a": 1}\n'
    assert path.stat().st_mode & 0o777 == 0o644
    assert not small_file(content='{"a": 1}\n', dest=str(path))["changed"]
    assert list(tmp_path.iterdir()) == [path]


def test_check_mode_writes_nothing(small_file, tmp_path):
    assert small_file(content="new", dest=str(tmp_path / "file"), _ansible_check_mode=True)["changed"]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(small_file, tmp_path):
    found = small_file(content="new", dest=str(tmp_path / "absent/file"))
    assert found["failed"]
    assert found["msg"] == f"{tmp_path}/absent/file cannot be written: No such file or directory"
