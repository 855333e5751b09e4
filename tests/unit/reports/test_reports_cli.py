"""python -m reports, as a person or the playbook calls it."""

import json

from reports.__main__ import main


def test_renders_and_sums_up_in_three_lines(sample_run, capsys):
    assert main(["render", str(sample_run)]) == 0
    assert capsys.readouterr().out == ""
    assert main(["summary", str(sample_run)]) == 1  # node2 is unreachable
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[0] == f"Report: {sample_run}/index.html"
    assert lines[1].startswith("3 hosts: 1 ok, 1 unreachable, 1 skipped. node2 unreachable (ssh: connect")
    assert lines[2] == "node1: THP madvise → always, model loads in 0.589 s cold, 0.464 s warm."
    assert lines[3] == "node1: levers against glibc: jemalloc +0.2 %, inconclusive. Nothing to do by these figures."


def test_status_is_0_when_every_host_is_ok_or_skipped(sample_run, capsys):
    run = json.loads((sample_run / "run.json").read_text())
    del run["hosts"]["node2"]
    (sample_run / "run.json").write_text(json.dumps(run))
    assert main(["summary", str(sample_run)]) == 0
    assert "No report yet: python -m reports render" in capsys.readouterr().out


def test_a_run_without_measurements_is_summed_up(make_run, capsys):
    assert main(["summary", str(make_run({"n": {"state": "unreachable", "reason": "\x1b[2J no route"}}))]) == 1
    out = capsys.readouterr().out
    assert "No host has a result." in out
    assert "\x1b" not in out


def test_what_is_no_run_folder_is_refused_in_one_sentence(tmp_path, capsys):
    for command in ("render", "summary"):
        assert main([command, str(tmp_path)]) == 1
        assert capsys.readouterr().err == f"{tmp_path} is no run folder: it has no run.json\n"
    assert list(tmp_path.iterdir()) == []
