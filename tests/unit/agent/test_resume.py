"""What of an earlier result holds for this run, and what is only fit to be ignored."""

import copy
import json
import os

import pytest
from support import ROOT

from probe_agent import foreign, resume, run, schema
from probe_agent.spec import Spec

SAMPLE = ROOT / "tests/unit/reports/samples/run/hosts/node1"


@pytest.fixture
def previous():
    return {**json.loads((SAMPLE / "result.json").read_text()), "gpus": ["GPU-1"]}


@pytest.fixture
def document(previous):
    """A run of the same that has not measured anything yet."""
    fresh = copy.deepcopy(previous)
    fresh["started"] = "2030-01-01T00:00:00+00:00"
    for part in fresh["probes"].values():
        part.update(status="failed", reason="not yet", samples=[], evidence={}, headline={})
    return fresh


def test_what_finished_is_kept_whole_and_says_when_it_was_measured(previous, document):
    kept = resume.kept(previous, document)
    assert set(kept) == set(previous["probes"])
    for name, part in kept.items():
        assert part == {**previous["probes"][name], "resumed": True, "measured": previous["started"]}
    document["probes"].update(kept)
    schema.check("result", document)


def test_a_part_resumed_twice_keeps_the_time_it_was_measured(previous, document):
    first = copy.deepcopy(document)
    first["probes"].update(resume.kept(previous, document))
    again = resume.kept(first, document)
    assert {part["measured"] for part in again.values()} == {previous["started"]}


def test_only_probes_that_are_asked_for_and_were_measured(previous, document):
    previous["probes"]["load"]["status"] = "failed"
    assert "load" not in resume.kept(previous, document)
    del document["probes"]["allocator"]
    assert "allocator" not in resume.kept(previous, document)


def test_what_the_kernel_counts_is_no_setting(previous, document):
    document["host_memory"]["pools"][0]["free"] += 3
    document["host_memory"]["memory_available_mb"] = 7
    document["host_memory"]["thp"]["khugepaged"] |= {"full_scans": "332", "pages_collapsed": "539"}
    assert resume.kept(previous, document)


def other_thp(document):
    document["host_memory"]["thp"]["enabled"] = "another"


def other_thp_size(document):
    document["host_memory"]["thp"]["per_size"] = {"hugepages-64kB": {"enabled": "always"}}


def other_pool(document):
    document["host_memory"]["pools"][0]["total"] += 1


def other_allocator(document):
    document["host_memory"]["allocators"] = {"mimalloc": "/usr/lib/libmimalloc.so.2"}


def other_label(document):
    document["label"] = "another"


def other_fingerprint(document):
    document["fingerprint"]["id"] = "another"


def other_gpus_asked_for(document):
    document["spec"]["gpus"] = ["1"]


def other_gpus_of_the_same_name(document):
    document["gpus"] = ["GPU-2"]


def no_fingerprint(document):
    document["fingerprint"] = {"id": ""}


@pytest.mark.parametrize(
    "change",
    [
        other_thp,
        other_thp_size,
        other_pool,
        other_allocator,
        other_label,
        other_fingerprint,
        other_gpus_asked_for,
        other_gpus_of_the_same_name,
        no_fingerprint,
    ],
    ids=lambda change: change.__name__,
)
def test_a_node_that_is_set_up_otherwise_is_measured_again(previous, document, change):
    change(document)
    assert resume.kept(previous, document) == {}


def test_a_run_that_ended_before_its_fingerprint_passes_for_nothing(previous, document):
    previous["fingerprint"] = {}
    document["fingerprint"] = {"id": None}
    assert resume.kept(previous, document) == {}


def test_an_older_result_is_set_aside_and_read_again(tmp_path, previous):
    out = tmp_path / "baseline.json"
    out.write_text(json.dumps(previous))
    resume.set_aside(out)
    assert not out.exists()
    assert resume.previous_of(out).name == "baseline.previous.json"
    assert resume.read(resume.previous_of(out)) == previous


def test_without_an_older_result_there_is_nothing_to_do(tmp_path):
    resume.set_aside(tmp_path / "result.json")
    assert list(tmp_path.iterdir()) == []
    assert resume.read(tmp_path / "result.previous.json") is None


def test_a_result_in_which_nothing_finished_does_not_replace_a_good_one(tmp_path, previous, document):
    """A second run killed while it prepared the model once cost what the first had measured."""
    out = tmp_path / "result.json"
    out.write_text(json.dumps(previous))
    resume.set_aside(out)
    out.write_text(json.dumps(document))
    resume.set_aside(out)
    assert not out.exists()
    assert resume.read(resume.previous_of(out)) == previous


BROKEN = {
    "empty": (b"", "Expecting value"),
    "cut short": (b'{"schema_version": 1, "probes": {', "Expecting"),
    "not text": (b"\xff\xfe\x00", "can't decode"),
    "endless": (b"[" * 100_000, "nested too deeply"),
    "not a number": (b'{"started": NaN}', "it has the figure NaN"),
    "another document": (b'{"probes": {"load": {"status": "ok"}}}', "result does not match its schema"),
    "no object": (b"[1, 2]", "result does not match its schema"),
}


@pytest.mark.parametrize(("content", "words"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_result_is_refused_in_a_sentence(tmp_path, content, words):
    out = tmp_path / "result.json"
    out.write_bytes(content)
    resume.set_aside(out)
    with pytest.raises(ValueError, match=f"result.previous.json cannot be resumed from: .*{words}"):
        resume.read(resume.previous_of(out))


def test_a_pipe_a_link_and_a_flood_are_not_read(tmp_path, previous):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "real.json").write_text(json.dumps(previous))
    (tmp_path / "link").symlink_to("real.json")
    with (tmp_path / "flood").open("wb") as stream:
        stream.truncate(foreign.LIMIT_BYTES + 1)
    for name, words in (("pipe", "no regular file"), ("link", "no regular file"), ("flood", "larger than 16 MiB")):
        with pytest.raises(ValueError, match=words):
            resume.read(tmp_path / name)


def test_the_agent_says_what_it_cannot_resume_from_and_measures(tmp_path, capsys):
    (tmp_path / "result.json").write_text("{")
    assert run._previous(Spec(resume=True), tmp_path / "result.json") is None
    assert "result.previous.json cannot be resumed from: " in capsys.readouterr().err


def test_without_resume_nothing_is_read_or_moved(tmp_path, previous):
    (tmp_path / "result.json").write_text(json.dumps(previous))
    assert run._previous(Spec(), tmp_path / "result.json") is None
    assert (tmp_path / "result.json").exists()
    assert run._previous(Spec(resume=True), tmp_path / "result.json") == previous
