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
        (b"[NaN]", "nan is no figure a node can have"),
        (b"[1e999]", "inf is no figure a node can have"),
        (b"1" * 5000, "is no figure a node can have"),
        (b"[" * 100_000, "it is nested more than 20 levels deep"),
        (b"[" * 30 + b"]" * 30, "it is nested more than 20 levels deep"),
        (b"{}", "result does not match its schema at $"),
        (b"null", "result does not match its schema at $"),
        (b'{"schema_version": 1, "host": "n', "it is not valid JSON"),  # cut short
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "it is nested more than 20 levels deep"),
        (b'{"schema_version": -Infinity}', "-inf is no figure a node can have"),
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


@pytest.mark.parametrize(
    ("started", "finished", "sentence"),
    [
        ("2026-11-21T01:00:00+00:00", "2026-11-21T01:02:00+00:00", "begun 3,600 s before this run"),
        ("2026-11-21T03:00:00+00:00", "2026-11-21T03:02:00+00:00", "finished 3,120 s after this run had ended"),
        ("2026-02-31T03:00:00+00:00", None, "result.json has a time that does not exist"),
    ],
)
def test_a_measurement_outside_of_its_run_is_doubted(make_run, document, started, finished, sentence):
    folder = make_run({"n": {"result": {**document, "started": started, "finished": finished}}})
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**run, "finished": "2026-11-21T02:10:00+00:00"}))
    [doubt] = the_host(folder).doubts
    assert sentence in doubt
    assert fleet.judge(the_host(folder)) == ("degraded", doubt)


def test_a_clock_that_is_a_minute_off_is_believed(make_run, document):
    times = {"started": "2026-11-21T01:59:00+00:00", "finished": "2026-11-21T02:03:00+00:00"}
    assert the_host(make_run({"n": {"result": {**document, **times}}})).doubts == ()


@pytest.mark.parametrize("name", ["../evil", "a/b", "..", ".", "", "a\\b", "x" * 300, "nul\0", "\ud800"])
def test_a_name_that_is_no_folder_leads_nowhere(make_run, name):
    host = the_host(make_run({name: {}}))
    assert (host.folder, host.raw) == (None, ())
    assert fleet.judge(host)[0] == "failed"
    assert fleet.row(host).files == {}


def test_a_sparse_giant_is_not_read(make_run, document):
    run = make_run({"n": {"result": document}})
    with (run / "hosts/n/result.json").open("r+b") as file:
        file.truncate(100 << 20)
    assert the_host(run).broken == ("result.json cannot be used: it is larger than 16 MiB",)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("host",), ["n"]),
        (("started",), 1763700000),
        (("probes",), []),
        (("probes", "load"), None),
        (("probes", "load", "status"), "splendid"),
        (("probes", "load", "samples"), {"0": {}}),
        (("probes", "load", "samples", 0), "fast"),
        (("probes", "load", "samples", 0, "load_s"), "-1"),
        (("probes", "load", "samples", 0, "load_s"), -1),
        (("probes", "load", "reason"), {"html": "<script>"}),
        (("host_memory",), "much"),
        (("spec",), None),
    ],
)
def test_a_wrong_type_anywhere_is_refused_with_its_place(make_run, document, path, value):
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    [sentence] = the_host(make_run({"n": {"result": document}})).broken
    assert sentence.startswith("result.json cannot be used: result does not match its schema at $")


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
