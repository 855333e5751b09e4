"""A fleet before it gets work: certificates kept between runs, twins, first baselines, and the verdict's file."""

import datetime
import json

import pytest

from reports import certificate, certified, preflight, render, run_folder, summary
from reports.__main__ import main

NOW = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)


@pytest.fixture
def quick(gpu_document):
    """A result that nothing is wrong with: no GPU, three probes."""
    gpu_document["fingerprint"]["hardware"]["gpus"] = []
    gpu_document["probes"] = {
        name: part for name, part in gpu_document["probes"].items() if name in ("load", "allocator", "bandwidth")
    }
    evidence = gpu_document["probes"]["bandwidth"]["evidence"]
    evidence["gpus"] = []
    evidence["generation"]["rss_drift_mb"] = 0.0
    return gpu_document


@pytest.fixture
def judge(make_run, tmp_path):
    """Return a function that makes a run of results by host, judges it and returns preflight.json."""

    def run(**hosts):
        made = run_folder.read(make_run({name: {"result": result} for name, result in hosts.items()}))
        return preflight.document(made, tmp_path / "certified", NOW)

    return run


@pytest.fixture
def certify(make_run, tmp_path):
    """Return a function that certifies results by host, in a run that began at a given day."""

    def run(day="21", state="ok", put_back=False, **hosts):
        times = {"started": f"2026-11-{day}T02:01:00+00:00", "finished": f"2026-11-{day}T02:03:00+00:00"}
        folder = make_run({name: {"result": {**result, **times}, "state": state} for name, result in hosts.items()})
        document = json.loads((folder / "run.json").read_text())
        for entry in document["hosts"].values():
            entry["put_back"] = put_back
        (folder / "run.json").write_text(json.dumps({**document, "started": f"2026-11-{day}T02:00:00+00:00"}))
        return list(certified.certify(run_folder.read(folder), tmp_path / "certified"))

    return run


def wrong(found, host="n"):
    return {each["subject"]: each["sentence"] for each in found["hosts"][host]["findings"] if each["word"] != "fit"}


def test_a_certificate_has_a_limit_for_each_figure_of_a_quick_run(make_run, quick):
    folder = make_run({"n": {"result": quick}})
    render.render(run_folder.read(folder))
    found = certificate.read(folder / "hosts/n/certificate.json").document["limits"]
    assert found["cold_load_s"]["lower_is_better"]
    assert found["cold_load_s"]["limit"] == pytest.approx(1.5 * found["cold_load_s"]["centre"], rel=0.4)
    assert found["read_cold_gib_per_s"]["limit"] < found["read_cold_gib_per_s"]["centre"]
    assert found["generation_rss_drift_mb"] == {
        "limit": 1.0,
        "lower_is_better": True,
        "centre": 0.0,
        "spread": 0.0,
        "n": 1,
        "source": "certificate",
    }
    assert "kv_capacity_tokens" not in found


def test_a_node_is_held_against_its_own_certificate(certify, judge, quick):
    assert certify(n=quick)[0].startswith("n: certified in ")
    assert (judge(n=quick)["code"], wrong(judge(n=quick))) == (0, {})
    quick["host_memory"]["thp"]["enabled"] = "never"
    found = judge(n=quick)
    assert found["code"] == 2
    assert wrong(found) == {"THP enabled": "is never, and was certified as always"}
    assert preflight.sentences(found) == [
        "Pre-flight, 1 node: 1 not fit.",
        "n: not fit: THP enabled: is never, and was certified as always.",
    ]


def test_a_quick_run_compares_with_a_standard_one(certify, judge, quick):
    certify(n=quick)
    quick["fingerprint"]["hashes"]["probe"] = quick["fingerprint"]["id"] = "other"
    quick["fingerprint"]["probe"]["profile"] = "quick"
    assert judge(n=quick)["code"] == 0
    quick["fingerprint"]["hashes"]["kernel"] = "other"
    found = judge(n=quick)
    assert found["code"] == 1
    assert "another kernel" in wrong(found)["certificate"]


def test_the_first_run_without_any_certificate_is_the_baseline(judge, quick, tmp_path):
    found = judge(n=quick)
    assert found["code"] == 0
    assert "recorded, for the next time" in wrong(found)["first baseline"]
    assert found["hosts"]["n"]["certified_until"] == "2027-02-19T02:00:00+00:00"
    assert certificate.read(tmp_path / "certified/n.json").host == "n"
    judged = judge(n=quick)["hosts"]["n"]
    assert (judged["against"], judged["certified_until"]) == (
        "its certificate of 2026-11-21",
        "2027-02-19T02:00:00+00:00",
    )


def test_an_unfit_node_is_no_baseline(judge, quick, tmp_path):
    quick["probes"]["load"].update(status="failed", reason="disk full")
    assert judge(n=quick)["code"] == 1
    assert not (tmp_path / "certified/n.json").exists()


def test_twins_stand_in(certify, judge, quick, tmp_path):
    certify(a=quick, b=quick)
    other = json.loads(json.dumps(quick))
    other["host_memory"]["thp"]["enabled"] = "never"
    found = judge(new=other)
    assert found["hosts"]["new"]["against"] == "2 nodes with the same fingerprint"
    assert found["code"] == 2
    certify(day="23", c=other)  # twins that differ say nothing of a setting
    assert judge(new=other)["code"] == 0
    assert not (tmp_path / "certified/new.json").exists()


def test_an_older_certificate_never_replaces_a_newer_one(certify, quick, tmp_path):
    certify(day="21", n=quick)
    first = (tmp_path / "certified/n.json").read_bytes()
    assert "is newer (2026-11-21 02:00)" in certify(day="20", n=quick)[0]
    assert (tmp_path / "certified/n.json").read_bytes() == first
    certify(day="22", n=quick)
    assert (tmp_path / "certified/n.json").read_bytes() != first
    (tmp_path / "certified/n.json").write_text("{")
    assert "certified in" in certify(day="19", n=quick)[0]  # nothing is older than what is broken
    assert [path.name for path in (tmp_path / "certified").iterdir()] == ["n.json"]


def test_who_is_not_certified(certify, quick, tmp_path):
    assert certify(state="failed", n=quick) == []
    assert certify(put_back=True, n=quick) == ["n: not certified, for its settings were put back after it was measured"]
    assert not (tmp_path / "certified").exists()


def test_a_broken_certificate_cannot_tell_and_stays(judge, quick, tmp_path):
    (tmp_path / "certified").mkdir()
    (tmp_path / "certified/n.json").write_text("{")
    found = judge(n=quick)
    assert found["code"] == 1
    assert "n.json is no certificate" in wrong(found)["certificate"]
    assert (tmp_path / "certified/n.json").read_text() == "{"


def test_hosts_that_were_lost_or_left_out(make_run, quick, tmp_path):
    hosts = {
        "gone": {"state": "unreachable", "phase": "preflight", "reason": "no route"},
        "resting": {"state": "skipped"},
        "silent": {},
        "odd": {"result": b"{"},
        "n": {"result": quick},
    }
    found = preflight.document(run_folder.read(make_run(hosts)), tmp_path / "certified", NOW)
    assert {name: host["code"] for name, host in found["hosts"].items()} == {
        "gone": 1,
        "silent": 1,
        "odd": 1,
        "n": 0,
    }
    assert found["code"] == 1
    said = preflight.sentences(found)
    assert said[0] == "Pre-flight, 4 nodes: 3 could not tell, 1 fit."
    assert "gone: could not tell: run, in preflight: unreachable: no route." in said


def test_the_command_writes_what_the_summary_says(make_run, quick, tmp_path, capsys):
    folder = make_run({"n": {"result": quick}})
    assert main(["preflight", str(folder)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert json.loads((folder / "preflight.json").read_text())["code"] == 0
    assert summary.lines(run_folder.read(folder))[0][-len(said) :] == said
    assert (tmp_path / "certified/n.json").is_file()
    assert main(["certify", str(folder)]) == 0
    assert main(["preflight", str(tmp_path)]) == 1  # no run folder


@pytest.mark.parametrize("junk", [{}, {"hosts": 3}, {"hosts": {"n": None}}, {"hosts": {"n": {"findings": [3]}}}])
def test_a_verdict_somebody_changed_is_still_summed_up(junk):
    assert preflight.sentences(junk)
