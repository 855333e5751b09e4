"""Slices of a fleet, each run on its own, become one run folder."""

import json

import pytest

from reports.__main__ import main


def slice_of(make_run, tmp_path, name, hosts):
    folder = make_run(hosts)
    return folder.rename(tmp_path / name)


@pytest.fixture
def slices(make_run, tmp_path, document):
    left_out = {"state": "skipped", "phase": "", "reason": "left out by --limit"}
    one = slice_of(make_run, tmp_path, "one", {"a": {"state": "ok", "result": document}, "b": left_out})
    lost = {"state": "unreachable", "phase": "tune", "reason": "no route"}
    return [one, slice_of(make_run, tmp_path, "two", {"a": left_out, "b": lost})]


def test_each_host_has_the_row_and_files_of_its_own_slice(slices, tmp_path):
    assert main(["merge", str(tmp_path / "whole"), *map(str, slices)]) == 0
    found = json.loads((tmp_path / "whole/fleet.json").read_text())
    assert {row["host"]: row["state"] for row in found["hosts"]} == {"a": "ok", "b": "unreachable"}
    assert (tmp_path / "whole/hosts/a/index.html").exists()
    assert (tmp_path / "whole/hosts/a/result.json").read_bytes() == (slices[0] / "hosts/a/result.json").read_bytes()


def test_a_host_of_two_slices_is_refused(slices, tmp_path, capsys):
    assert main(["merge", str(tmp_path / "whole"), str(slices[0]), str(slices[0])]) == 1
    assert "a was run in" in capsys.readouterr().err
    assert not (tmp_path / "whole").exists()


def test_a_folder_that_is_there_is_not_written_into(slices, capsys):
    assert main(["merge", str(slices[1]), str(slices[0])]) == 1
    assert "is there already" in capsys.readouterr().err
