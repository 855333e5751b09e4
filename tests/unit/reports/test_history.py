"""The history: written once, whole or not at all, and never at the cost of what was there."""

import datetime
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys

import pytest
from support import ROOT

from reports import certificate, certified, history, run_folder
from reports.__main__ import main
from reports.history import NAME
from reports.trend import Verdict

# Records the run in its first argument with a tiny cache, so that pages go to the disk early, and dies at an INSERT.
KILLED = """
import os, signal, sys
from pathlib import Path
from reports import history, run_folder
folder, dies_at, inserts = Path(sys.argv[1]), int(sys.argv[2]), 0
def seen(statement):
    global inserts
    inserts += statement.startswith("INSERT")
    if inserts == dies_at:
        os.kill(os.getpid(), signal.SIGKILL)
with history.open_(folder.parent) as opened:
    opened.connection.execute("PRAGMA cache_size = 1")
    opened.connection.set_trace_callback(seen)
    opened.record(run_folder.read(folder))
"""


@pytest.fixture
def make_runs(tmp_path, document):
    """Return a function that writes run folders r0, r1 … a day apart, of one node, with that many seconds a load."""

    def make(*loads_s, host="node1"):
        for number, load_s in enumerate(loads_s):
            add(tmp_path, document, number, load_s, host)
        return tmp_path

    return make


def add(runs, document, number, load_s=0.5, host="node1"):
    began = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(days=number)
    for row in document["probes"]["load"]["samples"]:
        row["load_s"] = load_s
    folder = runs / f"r{number}"
    (folder / "hosts" / host).mkdir(parents=True)
    (folder / "hosts" / host / "result.json").write_text(json.dumps(document))
    entry = {"state": "ok", "phase": "probe", "reason": ""}
    run = {"schema_version": 1, "run_id": folder.name, "started": began.isoformat(), "finished": None}
    (folder / "run.json").write_text(json.dumps({**run, "hosts": {host: entry}}))
    return folder


def imported(runs):
    with history.open_(runs) as opened:
        return opened.import_(runs)


def content(runs):
    """Everything in the history, as SQL."""
    connection = sqlite3.connect(runs / NAME)
    dump = list(connection.iterdump())
    connection.close()
    return dump


def kind_of(document):
    return document["fingerprint"]["id"]


def test_it_has_every_certificate_figure_and_setting(make_runs, document):
    runs = make_runs(0.5)
    with history.open_(runs) as opened:
        assert opened.record(run_folder.read(runs / "r0"))
        (entry,) = opened.runs("node1")
        metrics = {metric.key: metric for metric in opened.metrics("node1")}
        points = opened.points("node1", "warm_load_s", kind_of(document))
    host = next(run_folder.read(runs / "r0").hosts())
    assert entry.certificate == json.loads(json.dumps(certificate.document(run_folder.read(runs / "r0"), host)))
    assert (entry.run_id, entry.state, entry.fingerprint_id) == ("r0", "ok", kind_of(document))
    assert entry.fingerprint == document["fingerprint"]
    assert entry.settings["THP enabled"] == "always"
    assert set(metrics) == set(entry.certificate["figures"])
    assert metrics["warm_load_s"].lower_is_better
    assert [(point.run_id, point.when, point.value) for point in points] == [("r0", "2026-01-01T00:00:00+00:00", 0.5)]


def test_recording_again_changes_nothing(make_runs):
    runs = make_runs(0.5)
    assert imported(runs) == ["r0: recorded"]
    before = content(runs)
    assert imported(runs) == []
    with history.open_(runs) as opened:
        assert not opened.record(run_folder.read(runs / "r0"))
    assert content(runs) == before


def test_points_are_oldest_first_and_of_one_fingerprint(make_runs, document):
    runs = make_runs(0.5, 0.6, 0.7)
    kind = kind_of(document)
    document["fingerprint"]["id"] = "another"
    add(runs, document, 3)
    imported(runs)
    with history.open_(runs) as opened:
        assert [point.value for point in opened.points("node1", "warm_load_s", kind)] == [0.5, 0.6, 0.7]
        assert [point.run_id for point in opened.points("node1", "warm_load_s", "another")] == ["r3"]
        assert opened.points("node1", "warm_load_s", "none") == []
        assert opened.points("other", "warm_load_s", kind) == []


def test_a_run_in_which_the_host_failed_is_no_point(make_runs, document):
    runs = make_runs(0.5, 9.9)
    run = json.loads((runs / "r1/run.json").read_text())
    run["hosts"]["node1"] |= {"state": "failed", "reason": "disk full"}
    (runs / "r1/run.json").write_text(json.dumps(run))
    imported(runs)
    with history.open_(runs) as opened:
        assert [entry.state for entry in opened.runs("node1")] == ["ok", "failed"]
        assert opened.runs("node1")[1].certificate is None
        assert [point.value for point in opened.points("node1", "warm_load_s", kind_of(document))] == [0.5]


@pytest.mark.parametrize("host", ["'; DROP TABLE hosts; --", "%", "node\x001", "é" * 80, "a\x1b[2Jb"])
def test_hostile_names_are_names(make_runs, document, host):
    folder = host if run_folder.is_folder_name(host) else "node1"
    runs = make_runs(0.5, host=folder)
    run = json.loads((runs / "r0/run.json").read_text())
    run["hosts"] = {host: run["hosts"][folder], "\ud800": {"state": "failed", "phase": "", "reason": "\udfff"}}
    (runs / "r0/run.json").write_text(json.dumps(run))
    imported(runs)
    with history.open_(runs) as opened:
        assert len(opened.hosts()) == 2
        assert len(opened.runs(host)) == len(opened.runs("\ud800")) == 1
        assert len(opened.points(host, "warm_load_s", kind_of(document))) == (folder == host)
    assert imported(runs) == []


@pytest.mark.parametrize("dies_at", [1, 2, 3, 9])
def test_a_kill_in_the_middle_of_writing_loses_that_run_alone(make_runs, document, dies_at):
    runs = make_runs(0.5)
    imported(runs)
    before = content(runs)
    folder = add(runs, document, 1, 0.6)
    killed = subprocess.run([sys.executable, "-c", KILLED, folder, str(dies_at)], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (runs / f"{NAME}-journal").exists() or dies_at == 1  # it really had begun to write
    with history.open_(runs) as opened:
        assert opened.said == ()
        assert [entry.run_id for entry in opened.runs("node1")] == ["r0"]
    assert content(runs) == before
    assert imported(runs) == ["r1: recorded"]


def truncated(path):
    os.truncate(path, path.stat().st_size // 2 + 100)


def overwritten(path):
    path.write_bytes(b"<html>quota exceeded</html>" * 100)


def page_lost(path):
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))


def newer(path):
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 7")
    connection.close()


def of_something_else(path):
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE moz_places (url)")
    connection.close()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (truncated, "malformed"),
        (overwritten, "not a database"),
        (page_lost, "it is damaged: "),
        (newer, "its schema version is 7, and this version of Stethos reads 1"),
        (of_something_else, "it is the database of something else"),
    ],
)
def test_what_cannot_be_used_is_set_aside_and_built_again(make_runs, harm, words):
    runs = make_runs(0.5, 0.6)
    imported(runs)
    whole = content(runs)
    for times in (1, 2):
        harm(runs / NAME)
        harmed = (runs / NAME).read_bytes()
        with history.open_(runs) as opened:
            said = opened.said
        assert words in said[0]
        assert f"it is kept as {NAME}.unusable-{times}" in said[0]
        assert said[1:] == ("r0: recorded", "r1: recorded")
        assert (runs / f"{NAME}.unusable-{times}").read_bytes() == harmed
        assert content(runs) == whole


def test_an_empty_file_is_a_history_that_was_never_begun(make_runs):
    runs = make_runs(0.5)
    (runs / NAME).touch()
    assert imported(runs) == ["r0: recorded"]


def test_a_locked_history_is_not_set_aside(make_runs, monkeypatch):
    runs = make_runs(0.5)
    imported(runs)
    monkeypatch.setattr(history, "WAIT_S", 0)
    other = sqlite3.connect(runs / NAME)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(OSError, match="cannot be used now: database is locked"), history.open_(runs):
        pass
    other.close()
    assert not list(runs.glob("*unusable*"))


def test_readers_see_the_last_whole_run_while_another_is_written(make_runs, document):
    runs = make_runs(0.5)
    imported(runs)
    with history.open_(runs) as writer, history.open_(runs) as reader:
        writer.connection.execute("BEGIN IMMEDIATE")
        writer.connection.execute("DELETE FROM hosts")
        assert len(reader.runs("node1")) == 1
        writer.connection.execute("ROLLBACK")


def test_two_that_record_the_same_run_record_it_once(make_runs, monkeypatch):
    runs = make_runs(0.5)
    run = run_folder.read(runs / "r0")
    with history.open_(runs) as first, history.open_(runs) as second:
        hosts = type(run).hosts

        def meanwhile(self):
            monkeypatch.setattr(type(run), "hosts", hosts)
            assert second.record(run)
            return hosts(self)

        monkeypatch.setattr(type(run), "hosts", meanwhile)
        assert not first.record(run)
        assert len(first.runs("node1")) == 1


def test_what_is_no_run_folder_is_said_and_left_out(make_runs):
    runs = make_runs(0.5)
    (runs / "broken").mkdir()
    (runs / "broken/run.json").write_text("{")
    (runs / "notes.txt").touch()
    (runs / "latest").symlink_to("r0")
    said = imported(runs)
    assert said[0].startswith("broken: not recorded: ")
    assert said[1:] == ["r0: recorded"]


def test_retention_keeps_the_newest_and_the_certified_run(make_runs):
    runs = make_runs(0.5, 0.6, 0.7, 0.8, 0.9)
    run = run_folder.read(runs / "r1")
    list(certified.certify(run, certified.folder_of(run)))
    imported(runs)
    with history.open_(runs) as opened:
        assert opened.keep(2, history.baselines(runs)) == 2
        assert [entry.run_id for entry in opened.runs("node1")] == ["r1", "r3", "r4"]
        assert opened.keep(1, history.baselines(runs)) == 1
        assert [entry.run_id for entry in opened.runs("node1")] == ["r1", "r4"]
        left = opened.connection.execute("SELECT DISTINCT run_id FROM figures ORDER BY run_id").fetchall()
        assert left == [("r1",), ("r4",)]
        with pytest.raises(ValueError, match="--keep is 0, and must be 1 or more"):
            opened.keep(0, {})


def test_trends_are_of_the_newest_measurement(make_runs):
    runs = make_runs(*[0.5, 0.51, 0.49, 0.5, 0.52, 0.5, 0.49], *[1.0] * 3)
    imported(runs)
    with history.open_(runs) as opened:
        found = {each.metric: each for each in opened.trends("node1")}
        assert (found["warm_load_s"].verdict, found["warm_load_s"].since) == (Verdict.WORSE, "r7")
        assert {each.verdict for name, each in found.items() if "load_s" not in name} == {Verdict.STEADY}
        assert opened.trends("nobody") == []


def test_the_command_records_and_shows(make_runs, capsys):
    runs = make_runs(0.5, 0.5)
    for _ in range(2):
        assert main(["record", str(runs / "r0")]) == 0
    assert capsys.readouterr().out == "r0: recorded\nr0: was recorded already\n"
    assert main(["history", "--runs", str(runs), "--import", str(runs)]) == 0
    assert capsys.readouterr() == ("node1\n", "r1: recorded\n")

    assert main(["history", "node1", "--runs", str(runs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "node1: 2 runs, 2 certificates."
    assert "  warm_load_s: 0.50 0.50. Not enough history" in lines

    assert main(["history", "node1", "--runs", str(runs), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["run_id"] for entry in found["runs"]] == ["r0", "r1"]
    assert found["figures"]["warm_load_s"]["trend"]["verdict"] == "not enough history"


def test_the_command_refuses_in_a_sentence(make_runs, tmp_path, capsys):
    runs = make_runs(0.5)
    imported(runs)
    assert main(["history", "node\x1b9", "--runs", str(runs)]) == 1
    assert capsys.readouterr().err == f"'node\\x1b9' is in no run that was recorded in {runs}; known: node1\n"
    assert main(["history", "node1", "--runs", str(tmp_path / "none")]) == 1
    assert "must be a folder of run folders" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_history_that_is_gone_is_only_an_index(make_runs):
    runs = make_runs(0.5, 0.6)
    imported(runs)
    whole = content(runs)
    (runs / NAME).unlink()
    shutil.copytree(runs / "r0", runs / "copy")  # the same run under another name is the same run
    imported(runs)
    assert content(runs) == whole
