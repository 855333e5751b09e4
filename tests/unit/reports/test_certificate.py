"""Certificates: the same run gives the same bytes, who gets none, and what is refused as one."""

import datetime
import json

import pytest

from probe_agent.arms import COMPARED
from reports import certificate, render, run_folder, schema
from reports.certificate import NAME, doubts, known, of_kind, read
from reports.fingerprints import differences

DAY = datetime.timedelta(days=1)


@pytest.fixture
def certified(sample_run):
    """The certificate of node1 in the real run, where it stands."""
    render.render(run_folder.read(sample_run))
    return sample_run / "hosts/node1" / NAME


def test_it_carries_what_the_node_was_found_to_be(certified):
    document = json.loads(certified.read_text())
    schema.check("certificate", document)
    assert document["issued"] == json.loads((certified.parents[2] / "run.json").read_text())["started"]
    assert document["settings"]["THP enabled"] == "always"
    assert document["verdicts"]["jemalloc"]["rss_mb"]["verdict"] == "worse"
    assert document["thresholds"]["practical_threshold_percent"] == 3
    assert document["figures"]["warm_load_s"]["n"] == 3
    assert document["figures"]["glibc_gen_latency_s"]["n"] == 6  # the control runs under two names
    assert {each["what"] for each in document["not_tested"]} >= {"probe serving", "arm glibc-thp"}


def test_rendering_again_gives_the_same_bytes(certified):
    first = certified.read_bytes()
    render.render(run_folder.read(certified.parents[2]))
    assert certified.read_bytes() == first


def test_reading_gives_back_what_was_written(certified):
    found = read(certified)
    assert (found.host, found.until - found.issued) == ("node1", 90 * DAY)
    assert found.figures["warm_load_s"].lower_is_better
    assert found.figures["warm_load_s"].mad >= 0


def test_probes_and_arms_without_a_verdict_are_named_with_the_reason(make_run, document):
    document["probes"]["load"] |= {"status": "failed", "reason": "disk full"}
    document["probes"]["allocator"]["evidence"] = {"skipped_arms": {"tcmalloc": "no tcmalloc library"}}
    host = next(run_folder.read(make_run({"n": {"result": document}})).hosts())
    found = dict(certificate.not_tested(host.result))
    assert found["probe load"] == "failed after some of its samples: disk full"
    assert found["arm tcmalloc"] == "skipped: no tcmalloc library"
    assert found["probe kv"] == "it was not asked for"
    assert {f"arm {name}" for name in COMPARED if name != "jemalloc"} <= set(found)
    assert "arm jemalloc" not in found


@pytest.mark.parametrize(
    "host",
    [
        {"state": "failed", "reason": "no disk"},
        {"state": "unreachable"},
        {"state": "skipped"},
        {"baseline": b"{"},
        {"result": {"fingerprint": {}}},
        {"result": {"fingerprint": {"id": "x"}}},
    ],
)
def test_a_node_that_failed_or_is_not_known_gets_none(make_run, document, host):
    run = run_folder.read(make_run({"n": {"result": document}}))
    render.render(run)
    assert (run.path / "hosts/n" / NAME).is_file()
    changed = {**host, "result": {**document, **host.get("result", {})}}
    (row,) = render.render(run_folder.read(make_run({"n": changed})))
    assert "certificate" not in row.files
    assert not (run.path / "hosts/n" / NAME).exists()


def test_a_degraded_node_gets_one_that_says_what_is_missing(make_run, document):
    document["probes"]["load"] |= {"status": "failed", "reason": "disk full"}
    folder = make_run({"n": {"result": document}})
    (row,) = render.render(run_folder.read(folder))
    assert (row.state, "certificate" in row.files) == ("degraded", True)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "it is not valid JSON"),
        (b"[]", "certificate.json does not match its schema at $"),
        (b"{}", "certificate.json does not match its schema at $"),
        (b'{"schema_version": 2}', "its schema version is 2, and this version of Stethos reads 1"),
        (b"[" * 30 + b"]" * 30, "it is nested more than"),
        (b"\xff", "it is not valid JSON"),
        (b'{"figures": NaN}', "nan is no figure"),
    ],
)
def test_what_is_no_certificate_is_refused_in_one_sentence(tmp_path, content, sentence):
    path = tmp_path / NAME
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{path} is no certificate: ") as refused:
        read(path)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"issued": "2026-02-31T00:00:00+00:00"}, "day is out of range"),
        ({"figures": {"x_s": {"median": 1}}}, "does not match its schema at $.figures.x_s"),
        ({"host": 3}, "does not match its schema at $.host"),
        ({"more": 1}, "does not match its schema at $"),
    ],
)
def test_a_certificate_somebody_changed_is_refused(certified, change, sentence):
    certified.write_text(json.dumps({**json.loads(certified.read_text()), **change}))
    with pytest.raises(ValueError, match="is no certificate") as refused:
        read(certified)
    assert sentence in str(refused.value)


def test_none_there_is_said(tmp_path):
    with pytest.raises(ValueError, match="is no certificate: there is no such file"):
        read(tmp_path / NAME)
    (tmp_path / NAME).symlink_to("/dev/zero")
    with pytest.raises(ValueError, match="it is a link"):
        read(tmp_path / NAME)


def test_it_holds_for_its_fingerprint_and_its_time(certified):
    found = read(certified)
    same = found.fingerprint
    assert doubts(found, same, found.issued + DAY) == []
    assert doubts(found, same, found.issued + 91 * DAY) == ["The certificate of node1 ended 2027-02-19."]
    other = {**same, "hashes": {**same["hashes"], "kernel": "other", "packages": "other"}}
    assert doubts(found, other, found.issued) == ["The certificate of node1 is for another kernel and packages."]


def test_how_often_it_was_repeated_does_not_part_two_measurements(certified):
    found = read(certified).fingerprint
    quick = {**found, "hashes": {**found["hashes"], "probe": "other"}, "probe": {**found["probe"], "profile": "quick"}}
    assert differences(found, quick) == []
    dropped = {**quick, "probe": {**quick["probe"], "drop_caches": True}}
    assert differences(found, dropped) == ["way of measuring"]
    assert differences({}, {}) == ["hardware", "kernel", "driver", "packages", "model"]


def test_of_all_certificates_the_newest_that_holds_stands_for_its_node(make_run, document, tmp_path):
    runs = tmp_path / "runs"
    runs.mkdir()
    for number, kernel in enumerate(("same", "same", "other")):
        document["fingerprint"]["hashes"]["kernel"] = kernel
        folder = make_run({name: {"result": document} for name in ("one", "two")})
        render.render(run_folder.read(folder))
        folder.rename(runs / f"r{number}")
    (runs / "r0/hosts/two" / NAME).write_text("{")
    (runs / "latest").symlink_to("r2")
    found = list(known(runs))
    assert [certificate.host for certificate in found] == ["one", "two", "one", "two", "one"]
    fingerprint = {**document["fingerprint"], "hashes": {**document["fingerprint"]["hashes"], "kernel": "same"}}
    own, twins = of_kind(found, "one", fingerprint, found[0].issued)
    assert own is found[2]
    assert twins == [found[3]]
    assert list(known(tmp_path / "none")) == []
