"""Reading what the playbook and the nodes left, the broken and the hostile above all."""

import json

import pytest

from probe_agent import foreign
from reports import fleet, run_folder


def the_host(folder):
    return next(run_folder.read(folder).hosts())


def test_reads_a_real_run_in_inventory_order(sample_run):
    hosts = list(run_folder.read(sample_run).hosts())
    assert [(host.name, host.state) for host in hosts] == [
        ("node1", "ok"),
        ("node2", "unreachable"),
        ("node3", "skipped"),
    ]
    assert hosts[0].result.model == "synthetic:tiny"
    assert len(hosts[0].result.samples("allocator")) == 9
    assert hosts[0].comparable
    assert hosts[1].measured is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is not valid JSON"),
        (b"{", "it is not valid JSON"),
        (b"\xff\xfe", "it is not valid JSON"),
        (b"[NaN]", "NaN is no figure a node can have"),
        (b"[1e999]", "1e999 is no figure a node can have"),
        (b"1" * 5000, "is no figure a node can have"),
        (b"[" * 100_000, "it is nested more than 20 levels deep"),
        (b"[" * 30 + b"]" * 30, "it is nested more than 20 levels deep"),
        (b"{}", "result does not match its schema at $"),
        (b"null", "result does not match its schema at $"),
        (b" " * (foreign.LIMIT_BYTES + 1), "it is larger than 16 MiB"),
    ],
)
def test_an_unusable_result_costs_its_own_host_a_sentence(make_run, document, content, reason):
    run = make_run({"bad": {"result": content}, "good": {"result": document}})
    bad, good = run_folder.read(run).hosts()
    assert bad.result is None
    assert bad.broken[0].startswith("result.json cannot be used: ")
    assert reason in bad.broken[0]
    assert fleet.judge(bad) == ("failed", bad.broken[0])
    assert fleet.judge(good) == ("ok", "")


def test_a_result_of_the_wrong_kind_names_the_place(make_run, document):
    document["probes"]["load"]["samples"][0]["rss_mb"] = "much"
    assert "$.probes.load.samples[0].rss_mb" in the_host(make_run({"n": {"result": document}})).broken[0]


@pytest.mark.parametrize("name", ["../evil", "a/b", "..", ".", "", "a\\b", "x" * 300, "nul\0", "\ud800"])
def test_a_name_that_is_no_folder_leads_nowhere(make_run, name):
    host = the_host(make_run({name: {}}))
    assert (host.folder, host.raw) == (None, ())
    assert fleet.judge(host)[0] == "failed"
    assert fleet.row(host).files == {}


def test_links_are_not_followed(make_run, document, tmp_path):
    run = make_run({"file": {"result": document}, "folder": {}, "pipe": {"result": document}})
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "result.json").write_text(json.dumps(document))
    (run / "hosts/file/result.json").unlink()
    (run / "hosts/file/result.json").symlink_to(elsewhere / "result.json")
    (run / "hosts/folder").symlink_to(elsewhere)
    (run / "hosts/pipe/result.json").unlink()
    (run / "hosts/pipe/result.json").mkdir()
    file, folder, pipe = run_folder.read(run).hosts()
    assert file.broken == ("result.json cannot be used: it is a link or no regular file, which is not read",)
    assert folder.broken == ("its folder is a symbolic link, which is not followed",)
    assert pipe.broken == ("result.json cannot be used: it is a link or no regular file, which is not read",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "it has no run.json"), ("{", "not valid JSON"), ('{"hosts": 1}', "run.json does not match its schema")],
)
def test_a_folder_that_is_no_run_says_why(tmp_path, content, reason):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(ValueError, match=reason):
        run_folder.read(tmp_path)


def test_a_missing_folder_says_so(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere is no run folder: there is no such folder"):
        run_folder.read(tmp_path / "nowhere")
