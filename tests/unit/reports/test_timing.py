"""Where the time of a run went, and how the GPUs of a node stand beside each other."""

import pytest

from reports import render, run_folder, sections
from reports.sections import gpus, timing


@pytest.fixture
def host(make_run):
    def read(result, **more):
        (found,) = run_folder.read(make_run({"n": {"result": result, **more}})).hosts()
        assert found.broken == ()
        return found

    return read


@pytest.fixture
def timed(document):
    """The real result, as a run of 120 s: 20 s for the model, 95 s of work, 5 s ours, of which 1 s between probes."""
    document["timing"] = {"took_s": 120.0, "spent_s": {"model": 20.0, "processes": 95.0, "settle": 3.0, "other": 2.0}}
    document["probes"]["load"]["timing"] = {"took_s": 40.5, "spent_s": {"processes": 40.0, "other": 0.5}}
    document["probes"]["allocator"]["timing"] = {
        "took_s": 58.5,
        "spent_s": {"processes": 55.0, "settle": 3.0, "other": 0.5},
    }
    return document


def rows_of(table):
    return [[cell.text for cell in row] for row in table.rows]


def test_work_and_overhead_by_probe(host, timed):
    section = timing.section(host(timed))
    assert section.sentences[0] == (
        "Measuring took 100 s: model and engine were at work for 95.000 s of them, and 5.000 s were ours, 5.0 %, which "
        "is no more than the 5 % allowed. Making the model ready took another 20.000 s."
    )
    table = section.tables[0]
    assert [column.title for column in table.columns] == [
        *("Probe", "All", "Processes", "Model prepared", "Settling", "Rest of ours", "Ours"),
    ]
    assert rows_of(table) == [
        ["load", "40.500", "40.000", "–", "–", "0.500", "1.2"],
        ["allocator", "58.500", "55.000", "–", "3.000", "0.500", "6.0"],
        ["between probes", "21.000", "–", "20.000", "–", "1.000", "–"],
        ["whole run", "120", "95.000", "20.000", "3.000", "2.000", "5.0"],
    ]


def test_the_stages_of_processes_are_summed(host, timed):
    table = timing.section(host(timed)).tables[1]
    loads = timed["probes"]["load"]["samples"]
    row = dict(zip((column.title for column in table.columns), rows_of(table)[0], strict=True))
    assert row["Processes"] == str(len(loads))
    assert float(row["Imports"]) == pytest.approx(sum(each["imports_s"] for each in loads), abs=0.001)


def test_a_run_that_is_too_busy_with_itself_says_so(host, timed):
    timed["timing"]["spent_s"]["other"] = 20.0
    assert "which is more than the 5 % allowed" in timing.section(host(timed)).sentences[0]


def test_a_resumed_probe_took_no_time_of_this_run(host, timed):
    timed["probes"]["load"] |= {"resumed": True, "measured": "2026-11-20T02:00:00+00:00"}
    table = timing.section(host(timed)).tables[0]
    assert table.rows[0][0].text == "allocator"


@pytest.mark.parametrize("spent", [{}, {"model": 3.0}])
def test_a_run_that_measured_nothing_has_no_share(host, timed, spent):
    timed["timing"]["spent_s"] = spent
    assert timing.section(host(timed)).sentences == ()


def test_an_older_result_has_no_such_section(host, document):
    assert timing.section(host(document)) is None


@pytest.mark.parametrize("value", ["1", -1.0, None])
def test_seconds_that_are_none_are_refused(make_run, timed, value):
    timed["timing"]["spent_s"]["other"] = value
    (found,) = run_folder.read(make_run({"n": {"result": timed}})).hosts()
    assert found.result is None


def generated(uuid, seconds, measure="gpu_generation"):
    row = {"measure": measure, "bytes": None, "seconds": seconds, "gpu": uuid, "rss_mb": 1.0}
    return [{**row, "repeat": repeat, "seconds": 9.0 if repeat < 3 else seconds} for repeat in range(6)]


def test_gpus_stand_side_by_side_where_the_model_ran_on_several(host, gpu_document):
    probe = gpu_document["probes"]["bandwidth"]
    first = probe["evidence"]["gpus"][0] | {"index": 0}
    probe["evidence"]["gpus"] = [first, first | {"uuid": "GPU-2", "index": 1, "numa_node": 0, "process_is_near": "all"}]
    probe["samples"] = [row for row in probe["samples"] if row["measure"] != "generation"]
    probe["samples"] += [*generated(first["uuid"], 0.5, "generation"), *generated("GPU-2", 0.55)]
    probe["samples"].append({**generated("GPU-3", 1.0)[4], "error": "CUDA error"})
    found = gpus.section(host(gpu_document))
    assert found.sentences == (
        f"The model generates on GPU-2 for 10 % longer than on the fastest, {first['uuid']}: GPUs of one kind differ "
        "by less.",
    )
    assert rows_of(found.tables[0])[1] == ["1", "GPU-2", "0", "all", "0.550", "–", "–"]


def test_one_gpu_stands_beside_none(host, gpu_document):
    assert gpus.section(host(gpu_document)) is None


def test_a_page_with_all_of_it_is_rendered(host, timed, make_run):
    run = run_folder.read(make_run({"n": {"result": timed}}))
    render.render(run)
    (found,) = run.hosts()
    assert "timing" in [section.anchor for section in sections.of(found)]
    for name in ("index.html", "report.md"):
        assert "Where the time went" in (run.path / "hosts/n" / name).read_text()
