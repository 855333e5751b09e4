"""The end of a run in one process: what is written, what is said where, and whose verdict is the exit status."""

import collections
import copy
import json

import pytest

from reports import conclude, drift, run_folder
from reports.__main__ import main


@pytest.mark.parametrize("by", conclude.VERDICTS)
def test_a_run_is_judged_rendered_and_recorded(sample_run, capsys, by):
    assert main(["conclude", str(sample_run), "--by", by]) == 1  # node2 is unreachable
    said = capsys.readouterr()
    assert (sample_run / "index.html").is_file()
    assert (sample_run.parent / "history.sqlite").is_file()
    assert (sample_run / "drift.json").is_file() == (by == "drift")  # nobody is certified
    assert "recorded" in said.err
    assert "node2" in said.out
    assert "node2" in (sample_run / "index.html").read_text()


def test_a_result_is_read_once_whatever_is_made_of_it(sample_run, monkeypatch):
    read, measurement = collections.Counter(), run_folder.measurement

    def counted(path):
        read[path] += 1
        return measurement(path)

    monkeypatch.setattr(run_folder, "measurement", counted)
    main(["conclude", str(sample_run)])
    assert read[sample_run / "hosts/node1/result.json"] == 1
    assert set(read.values()) == {1}


def test_a_certified_node_is_held_against_its_certificate_and_the_pages_say_so(sample_run, capsys):
    conclude.certify(sample_run)
    assert main(["conclude", str(sample_run)]) == 1
    assert "Drift, " in capsys.readouterr().out
    assert 'id="drift"' in (sample_run / "hosts/node1/index.html").read_text()


def test_a_verdict_that_cannot_be_told_costs_no_page(sample_run, monkeypatch, capsys):
    def broken(*_):
        raise ValueError("the history cannot be read")

    monkeypatch.setattr(drift, "document", broken)
    assert main(["conclude", str(sample_run), "--by", "drift"]) == 1
    assert capsys.readouterr().out == "the history cannot be read\n"
    assert (sample_run / "index.html").is_file()


def test_a_node_that_was_put_back_is_not_certified(sample_run, capsys):
    record = json.loads((sample_run / "run.json").read_text())
    record["hosts"]["node1"]["put_back"] = True
    (sample_run / "run.json").write_text(json.dumps(record))
    main(["conclude", str(sample_run)])
    assert "node1: not certified, for its settings were put back after it was measured" in capsys.readouterr().err
    assert not (sample_run.parent / "certified").exists()


@pytest.mark.parametrize("by", ["drift", "preflight"])
def test_a_node_with_a_slow_figure_is_measured_again_and_what_goes_away_is_not_held_against_it(
    make_run, gpu_document, capsys, by
):
    conclude.certify(make_run({"slow": {"result": gpu_document}, "sound": {"result": gpu_document}}))
    slow = copy.deepcopy(gpu_document)
    for row in slow["probes"]["load"]["samples"]:
        row["load_s"] *= 3
    run = make_run({"slow": {"result": slow}, "sound": {"result": gpu_document}})
    assert main(["doubtful", str(run), "--by", by]) == 0
    assert json.loads(capsys.readouterr().out) == ["slow"]
    assert main([by, str(run)]) == 2
    capsys.readouterr()
    make_run({"slow": {"result": slow, "again": slow}, "sound": {"result": gpu_document}})
    assert main([by, str(run)]) == 2
    assert "cold_load_s" in (said := capsys.readouterr().out)
    assert "at best, in two runs" in said
    make_run({"slow": {"result": slow, "again": gpu_document}, "sound": {"result": gpu_document}})
    main([by, str(run)])
    assert "cold_load_s" not in capsys.readouterr().out
