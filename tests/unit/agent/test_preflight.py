"""The verdict on a node: each finding, which of them wins, and documents that somebody broke."""

import copy
import datetime
import json
import sys

import pytest
from support import ROOT

from probe_agent import __main__ as cli
from probe_agent import figures, preflight
from probe_agent.preflight import FIT, NO_BASELINE, UNFIT, UNKNOWN, Finding
from reports import headlines, limits, run_folder

NOW = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)
SAMPLE = ROOT / "reports/samples/h200"
RESULT = json.loads((SAMPLE / "hosts/local/result.json").read_text())


@pytest.fixture
def result():
    """What an H200 gave, with nothing else on it."""
    document = copy.deepcopy(RESULT)
    document["probes"]["bandwidth"]["evidence"]["gpu_memory"] = [
        {"uuid": "GPU-1", "used_mb": 4, "total_mb": 143000, "holders": []}
    ]
    return document


@pytest.fixture
def certificate():
    return {**preflight.first_baseline(copy.deepcopy(RESULT)), "validity": {"until": "2027-01-01T00:00:00+00:00"}}


def judged(result, certificate=None):
    """Return the exit code and what was not fit, by subject."""
    findings = preflight.judge(result, certificate, NOW)
    return preflight.exit_code(findings), {each.subject: each.sentence for each in findings if each.word != FIT}


def gpu_of(result):
    return result["probes"]["bandwidth"]["evidence"]["gpus"][0]


def test_a_node_that_is_as_certified_is_fit(result, certificate):
    assert judged(result, certificate) == (0, {})


def test_the_figures_are_those_of_a_certificate():
    host = next(run_folder.read(SAMPLE).hosts())
    known = {each.name: each.median for each in headlines.of(host.result)}
    assert figures.of(RESULT) == {name: known[name] for name in figures.NAMES}
    assert preflight.FIRST_MARGIN == limits.MARGIN_UNKNOWN


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("enabled", "madvise", "is madvise, and was certified as always"),
        ("defrag", "never", "is never, and was certified as madvise"),
    ],
)
def test_thp_other_than_certified(result, certificate, setting, value, sentence):
    result["host_memory"]["thp"][setting] = value
    certificate["settings"][f"THP {setting}"] = sentence.split()[-1]
    assert judged(result, certificate) == (2, {f"THP {setting}": sentence})


def test_huge_pages_and_mounts_that_are_missing(result, certificate):
    result["host_memory"]["pools"][0]["total"] = 12
    result["host_memory"]["hugetlbfs_mounts"] = []
    code, said = judged(result, certificate)
    assert code == 2
    assert said["Pool of 2 MiB pages"] == "is 12 pages, and was certified as 1288 pages"
    assert [name for name in said if name.startswith("hugetlbfs at ")]


def test_what_the_kernel_sets_by_itself_is_no_finding(result, certificate):
    result["host_memory"]["kernel"]["min_free_kb"] = 1
    result["host_memory"]["thp"]["of a later kernel"] = "x"
    assert judged(result, certificate)[0] == 0


def test_a_gpu_that_does_not_answer_makes_a_node_unfit(result, certificate):
    said = "GPU 3 of 8 does not answer the driver: GPU is lost"
    result["probes"]["bandwidth"]["evidence"]["gpus_lost"] = [said]
    assert judged(result, certificate) == (2, {"GPUs": said})


COPIES = ("h2d_pinned", "d2h_pinned", "h2d_pageable", "d2h_pageable")


def fail(result, measures, error="AcceleratorError: CUDA error: unspecified launch failure", **fields):
    """Turn the rows of some measures into those of work that failed."""
    for row in result["probes"]["bandwidth"]["samples"]:
        if row["measure"] in measures:
            row.update(bytes=None, error=error, **fields)


def test_a_gpu_that_fails_its_work_is_unfit_beside_one_that_does_it(result, certificate):
    broken = copy.deepcopy(result)
    fail(broken, COPIES, gpu="GPU-broken")
    broken["probes"]["bandwidth"]["samples"] += RESULT["probes"]["bandwidth"]["samples"]
    code, said = judged(broken, certificate)
    assert (code, list(said)) == (2, ["work of GPU-broken"])
    assert said["work of GPU-broken"].endswith("failed: AcceleratorError: CUDA error: unspecified launch failure")
    findings = preflight.judge(result, certificate, NOW, again=broken)  # of its figures, the sound GPU's are taken
    assert preflight.exit_code(findings) == 2


def test_each_cause_is_said_once(result):
    fail(result, COPIES[:2])
    fail(result, COPIES[2:], "OutOfMemoryError: CUDA out of memory")
    found = [each.sentence for each in preflight.failures(result)]
    assert found == [
        "h2d_pinned, d2h_pinned failed: AcceleratorError: CUDA error: unspecified launch failure",
        "h2d_pageable, d2h_pageable failed: OutOfMemoryError: CUDA out of memory",
    ]


def test_work_that_failed_on_no_gpu_in_particular_cannot_tell(result):
    fail(result, ["first_touch"], "OSError: Cannot allocate memory")
    code, said = judged(result)
    assert (code, said["bandwidth"]) == (1, "first_touch failed: OSError: Cannot allocate memory")


def test_a_certified_figure_that_is_missing_cannot_tell(result, certificate):
    probe = result["probes"]["bandwidth"]
    probe["samples"] = [row for row in probe["samples"] if row["measure"] not in COPIES]
    missing = {f"{name}_gib_per_s": "was certified, and its probe did not measure it here" for name in COPIES}
    assert judged(result, certificate) == (1, missing)
    del certificate["limits"]["h2d_pinned_gib_per_s"]
    assert judged(result, certificate)[1].keys() == missing.keys() - {"h2d_pinned_gib_per_s"}


def test_a_figure_whose_probe_did_not_finish_is_not_missed_twice(result, certificate):
    result["probes"]["bandwidth"].update(status="failed", reason="no room", samples=[], evidence={})
    assert judged(result, certificate) == (1, {"probe bandwidth": "failed: no room"})


@pytest.mark.parametrize("run", ["h200-preflight", "h200-drift"])
def test_the_runs_we_ship_are_fit_until_their_gpu_fails(run):
    known = json.loads((SAMPLE / "hosts/local/certificate.json").read_text())
    files = [SAMPLE.parent / run / "hosts/local" / name for name in ("result.json", "again.json")]
    shipped, *again = [json.loads(file.read_text()) for file in files if file.exists()]
    assert preflight.exit_code(preflight.judge(shipped, known, NOW, *again)) == 0
    fail(shipped, COPIES)
    assert preflight.exit_code(preflight.judge(shipped, known, NOW, *again)) == 2


@pytest.mark.parametrize(
    ("probe", "measure", "subject"),
    [
        ("bandwidth", "read_cold", "read_cold_gib_per_s"),
        ("bandwidth", "pinned_alloc", "pinned_alloc_gib_per_s"),
        ("bandwidth", "h2d_pinned", "h2d_pinned_gib_per_s"),
    ],
)
def test_slow_storage_slow_pinning_slow_links(result, certificate, probe, measure, subject):
    for row in result["probes"][probe]["samples"]:
        if row["measure"] == measure:
            row["seconds"] *= 3
    code, said = judged(result, certificate)
    assert (code, list(said)) == (2, [subject])
    assert "and must be at least" in said[subject]


def test_growing_memory_is_unfit_and_a_little_is_not(result, certificate):
    steady = result["probes"]["bandwidth"]["evidence"]["generation"]
    steady["rss_drift_mb"] = 0.9
    assert judged(result, certificate)[0] == 0
    steady["rss_drift_mb"] = 40.0
    code, said = judged(result, certificate)
    assert (code, said) == (
        2,
        {"generation_rss_drift_mb": "is 40, and must be at most 1 (certified: 0)"},
    )


def test_a_figure_counts_where_both_of_two_runs_are_beyond_its_limit(result, certificate):
    slow = copy.deepcopy(result)
    for row in slow["probes"]["load"]["samples"]:
        row["load_s"] *= 3

    def unfit(first, again):
        found = preflight.judge(first, certificate, NOW, again)
        return {each.subject: each.sentence for each in found if each.word == preflight.UNFIT}

    assert set(unfit(slow, None)) == {"cold_load_s", "warm_load_s"}
    assert unfit(slow, result) == unfit(result, slow) == {}
    assert "at best, in two runs, and must be at most" in unfit(slow, slow)["cold_load_s"]
    slow["probes"]["load"]["evidence"]["eviction_worked"] = False  # then its cold loads were none
    assert unfit(slow, slow).keys() == {"warm_load_s"}


def test_a_slow_figure_of_a_busy_node_tells_nothing_but_its_memory_does(result, certificate):
    for row in result["probes"]["load"]["samples"]:
        row["weights_s"] *= 9
        row["load1_before"] = 99.0
    code, said = judged(result, certificate)
    assert (code, list(said)) == (1, ["cold_weights_s"])
    assert "the node was busy before anything was measured (load 99.0 on 16 CPUs)" in said["cold_weights_s"]
    result["probes"]["bandwidth"]["evidence"]["generation"]["rss_drift_mb"] = 40.0
    assert judged(result, certificate)[0] == 2


def test_stolen_time_excuses_as_well(result, certificate):
    for row in result["probes"]["allocator"]["samples"]:
        row["gen_latency_s"] *= 9
        row["node"]["steal_share"] = 0.4
    code, said = judged(result, certificate)
    assert code == 1
    assert "the hypervisor took 40 % of the CPU time" in said["glibc_gen_latency_s"]


def test_model_files_that_stay_or_leave_as_they_should_not(result, certificate):
    rows = result["probes"]["load"]["samples"]
    for row in rows:
        row["resident_pages_at_start"] = row["pages"] // 2 if row["cache"] == "warm" else 0
    code, said = judged(result, certificate)
    assert code == 2
    assert said == {"page cache": "only 50 % of the model's files stayed in the page cache once they were read"}
    result = copy.deepcopy(RESULT)
    result["probes"]["load"]["evidence"]["eviction_worked"] = False
    for row in result["probes"]["bandwidth"]["samples"]:
        row["seconds"] *= 9 if row["measure"] == "read_cold" else 1  # not judged: it was not cold
    code, said = judged(result, certificate)
    assert (code, list(said)) == (1, ["page cache"])


def test_far_cpus(result):
    gpu_of(result).update(process_is_near="none", nearness="none of the CPUs is on NUMA node 1")
    assert judged(result)[1]["NUMA of " + gpu_of(result)["uuid"]] == "none of the CPUs is on NUMA node 1"
    assert judged(result)[0] == 2
    gpu_of(result).update(process_is_near="some")  # of a process that may run anywhere
    assert judged(result)[0] == 0


@pytest.mark.parametrize(("read", "code"), [("during copies", 2), ("at rest", 1)])
def test_a_link_below_its_device(result, read, code):
    gpu_of(result).update(pcie_below_device="x8 of x16")
    gpu_of(result)["pcie"]["read"] = read
    found, said = judged(result)
    assert found == code
    assert "x8 of x16" in said["PCIe of " + gpu_of(result)["uuid"]]


def test_gpu_memory_that_others_hold(result):
    (memory,) = result["probes"]["bandwidth"]["evidence"]["gpu_memory"]
    memory.update(used_mb=90000, holders=[{"pid": 7, "name": "tritonserver", "memory_mb": 89000}])
    code, said = judged(result)
    assert code == 2
    assert said["memory of GPU-1"] == "90000 of 143000 MiB are taken already, by tritonserver (pid 7, 89000 MiB)"
    memory.update(holders=[])
    assert "by no process that can be seen from here" in judged(result)[1]["memory of GPU-1"]
    memory.update(used_mb=None)
    assert judged(result)[0] == 1


def test_a_probe_that_failed_cannot_tell_and_unfit_wins(result, certificate):
    result["probes"]["allocator"].update(status="failed", reason="ImportError: libcudart.so.13\x1b[2J")
    code, said = judged(result, certificate)
    assert (code, said) == (1, {"probe allocator": "failed: ImportError: libcudart.so.13?[2J"})
    result["host_memory"]["thp"]["enabled"] = "never"
    assert judged(result, certificate)[0] == 2


def test_without_a_certificate_only_what_holds_for_any_node_is_judged(result):
    findings = preflight.judge(result, None, NOW)
    assert [each.word for each in findings if each.subject == "certificate"] == [NO_BASELINE]
    assert preflight.exit_code(findings) == 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"validity": {"until": "2026-01-01T00:00:00+00:00"}}, "ended 2026-01-01"),
        ({"validity": {"until": "some day"}}, "which is no time"),
        ({"validity": {"until": "2027-01-01"}}, "which is no time"),
        ({"limits": {}}, "has no limits"),
        ({"limits": []}, "has no limits"),
        ({"settings": None}, "or no settings"),
        ({"fingerprint": {}}, "for another hardware"),
    ],
)
def test_a_certificate_that_does_not_speak_for_the_node(result, certificate, change, sentence):
    result["host_memory"]["thp"]["enabled"] = "never"  # not held against what does not hold
    code, said = judged(result, {**certificate, **change})
    assert (code, list(said)) == (1, ["certificate"])
    assert sentence in said["certificate"]


def test_the_part_that_differs_is_named_and_the_profile_is_none(result, certificate):
    result["fingerprint"]["hashes"] |= {"probe": "other", "kernel": "other"}
    result["fingerprint"]["probe"]["profile"] = "quick"
    result["fingerprint"]["kernel"]["release"] = "7.0"
    code, said = judged(result, certificate)
    assert code == 1
    assert "another kernel (release " in said["certificate"]
    assert "→ 7.0)" in said["certificate"]


HOSTILE = [None, 3, "x", [], {}, [None], {"x": []}, float("nan"), float("inf"), "\x1b[2J" * 1000]


@pytest.mark.parametrize("junk", HOSTILE, ids=range(len(HOSTILE)))
def test_documents_that_are_anything_never_break_the_verdict(result, certificate, junk):
    for document in (result, certificate):
        for name in list(document):
            broken = {**document, name: junk}
            given = (broken, certificate) if document is result else (result, broken)
            assert preflight.exit_code(preflight.judge(*given, NOW)) in (0, 1, 2)
    for part in ("samples", "evidence", "status", "reason"):
        for probe in preflight.PROBES:
            broken = copy.deepcopy(result)
            broken["probes"][probe][part] = junk
            findings = preflight.judge(broken, certificate, NOW)
            assert all(each.sentence.isprintable() for each in findings)
    for probe in preflight.PROBES:
        broken = copy.deepcopy(result)
        broken["probes"][probe]["samples"] = [dict.fromkeys(row, junk) for row in RESULT["probes"][probe]["samples"]]
        broken["probes"][probe]["evidence"] = {
            key: [dict.fromkeys(gpu_of(RESULT), junk)] for key in RESULT["probes"][probe]["evidence"]
        }
        assert preflight.exit_code(preflight.judge(broken, certificate, NOW)) in (0, 1, 2)
    preflight.judge(result, {**certificate, "limits": {"x": junk, "cold_load_s": {"limit": junk}}}, NOW)


def test_an_empty_result_cannot_tell(certificate):
    assert preflight.exit_code(preflight.judge({}, certificate, NOW)) == 1
    assert preflight.exit_code(preflight.judge({}, None, NOW)) == 1
    assert preflight.exit_code([]) == 1


def test_unfit_wins_over_unknown():
    assert preflight.exit_code([Finding("", UNKNOWN, ""), Finding("", UNFIT, ""), Finding("", FIT, "")]) == 2


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """Return a function that runs the command where the agent measures `result`; it returns status and output."""

    def run(result, *arguments):
        def measure(_spec, out):
            if result is not None:
                out.write_text(json.dumps(result))
            return 0

        monkeypatch.setattr(cli, "run", measure)
        files = ("--certificate", str(tmp_path / "certificate.json"), "--out", str(tmp_path / "quick.json"))
        monkeypatch.setattr(sys, "argv", ["probe_agent", "preflight", *files, *arguments])
        return cli.main(), capsys.readouterr().out

    return run


def test_on_the_node_the_first_run_is_the_baseline_of_the_next(command, result, tmp_path):
    code, said = command(result)
    assert code == 0
    assert f"first baseline: recorded in {tmp_path}/baseline.json" in said
    result["host_memory"]["thp"]["enabled"] = "never"
    code, said = command(result)
    assert code == 2
    assert "unfit: THP enabled: is never, and was certified as always" in said
    assert said.endswith("This node: not fit.\n")


def test_an_unfit_node_becomes_no_baseline(command, result, tmp_path):
    gpu_of(result).update(process_is_near="none")
    assert command(result)[0] == 2
    assert not (tmp_path / "baseline.json").exists()


@pytest.mark.parametrize("text", ["{", "[]", "3", "[" * 100000, ""])
def test_a_broken_certificate_cannot_tell(command, result, tmp_path, text):
    (tmp_path / "certificate.json").write_text(text)
    code, said = command(result)
    assert (code, said.count("\n")) == (1, 1)
    assert "certificate.json" in said


def test_what_an_earlier_run_left_is_not_judged(command, result):
    assert command(result)[0] == 0
    code, said = command(None)  # as when another probe runs on the node
    assert code == 1
    assert "No such file" in said


def test_the_model_is_the_certified_one_unless_it_is_named(monkeypatch, tmp_path, result, certificate):
    asked = []
    monkeypatch.setattr(cli, "run", lambda spec, out: asked.append(spec.model) or out.write_text(json.dumps(result)))
    (tmp_path / "certificate.json").write_text(json.dumps(certificate))
    files = ["--certificate", str(tmp_path / "certificate.json"), "--out", str(tmp_path / "quick.json")]
    for named in ([], ["--model", "synthetic:tiny"]):
        monkeypatch.setattr(sys, "argv", ["probe_agent", "preflight", *files, *named])
        cli.main()
    assert asked == ["synthetic:qwen2.5-1.5b", "synthetic:tiny"]


@pytest.mark.parametrize("junk", [{}, {"fingerprint": 1}, {"fingerprint": {"model": {"name": 3, "revision": None}}}])
def test_a_certificate_without_a_model_names_none(junk):
    assert preflight.model_of(junk) == {}


def test_a_command_that_makes_no_sense_is_not_an_unfit_node(command, result):
    assert command(result, "--model", "")[0] in (0, 1)
    with pytest.raises(SystemExit) as ended:
        command(result, "--no-such-option")
    assert ended.value.code == 1
