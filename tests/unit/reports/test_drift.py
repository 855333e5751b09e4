"""Drift without a node: what counts as drift and what does not, since when, and documents that somebody broke."""

import copy
import json

import pytest

from reports import certificate, certified, drift, history, render, run_folder, schema, sections, summary
from reports.__main__ import main
from reports.drift import kinds

POOL = "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
LIBRARY = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"


def source(setting, value, file, line=1, kind="sysctl.d", ours=False, effective=True):
    return {
        "setting": setting,
        "value": value,
        "file": file,
        "line": line,
        "kind": kind,
        "effective": effective,
        "ours": ours,
        "note": "",
    }


OURS = source("proc/sys/vm/nr_hugepages", "512", "/etc/sysctl.d/zz-stethos-hugepages.conf", ours=True)


@pytest.fixture
def memory():
    """The state of a small node that is certified."""
    return {
        "thp": {"enabled": "madvise", "defrag": "madvise", "khugepaged": {"pages_to_scan": "4096", "full_scans": "7"}},
        "pools": [
            {"size_kb": 2048, "total": 512, "free": 512, "surplus": 0, "overcommit": 0, "numa_node": None},
            {"size_kb": 2048, "total": 256, "free": 256, "surplus": 0, "numa_node": 0},
            {"size_kb": 2048, "total": 256, "free": 256, "surplus": 0, "numa_node": 1},
        ],
        "hugetlbfs_mounts": [{"target": "/mnt/huge", "options": ["rw", "pagesize=2M"]}],
        "default_hugepage_size_kb": 2048,
        "kernel": {"release": "6.1", "min_free_kb": 67584, "tuned_profile": ""},
        "allocators": {"jemalloc": LIBRARY},
        "allocator_contents": {"jemalloc": "aa"},
        "service_dropins": {"/etc/systemd/system/vllm.service.d/stethos.conf": "cc"},
        "sources": [OURS],
    }


@pytest.fixture
def runs(tmp_path, gpu_document, memory):
    """Make run folders of one node, `n`: returns a function that adds one, judges it and returns its verdict."""
    gpu_document["host_memory"] = memory
    gpu_document["probes"] = {
        name: part for name, part in gpu_document["probes"].items() if name in ("load", "allocator", "bandwidth")
    }

    def add(name, memory=memory, result=gpu_document, certify=False, judged=True, state="ok", tuned=None, **more):
        folder = tmp_path / "runs" / name
        place = folder / "hosts/n"
        place.mkdir(parents=True)
        whole = {"host_memory": memory, "origins": {}, "written": {}, "inventory": [], "services": [], **more}
        (place / "state.json").write_text(json.dumps(whole))
        started = f"2026-11-21T{len(list(folder.parent.iterdir())):02}:00:00+00:00"
        if result:
            result = {**copy.deepcopy(result), "started": started, "finished": started}
            measured = {**result, "host_memory": memory}
            (place / ("baseline.json" if tuned else "result.json")).write_text(json.dumps(measured))
        if tuned:
            (place / "result.json").write_text(json.dumps({**result, "host_memory": tuned}))
        entry = {"state": state, "phase": "probe", "reason": "" if state == "ok" else "why"}
        document = {"schema_version": 1, "run_id": name, "started": started, "finished": None, "hosts": {"n": entry}}
        (folder / "run.json").write_text(json.dumps(document))
        run = run_folder.read(folder)
        if certify:
            list(certified.certify(run, certified.folder_of(run)))
        if not judged:
            return None
        with history.open_(folder.parent) as opened:
            found = drift.document(run, certified.folder_of(run), opened)
            opened.record(run)
        schema.check("drift", found)
        (folder / drift.NAME).write_text(json.dumps(found))
        return found["hosts"]["n"]

    add.folder = tmp_path / "runs"
    add("r0", certify=True, judged=False)
    return add


def found(judged, word="drifted"):
    return {each["what"]: each["sentence"] for each in judged["findings"] if each["word"] == word}


def test_a_node_that_is_as_certified_did_not_drift(runs):
    judged = runs("r1")
    assert (judged["code"], judged["findings"], judged["certified_in"]) == (0, [], "r0")
    assert judged["figures"]["cold_load_s"]["trend"] == "not enough history"
    assert [point["run_id"] for point in judged["figures"]["cold_load_s"]["points"]] == ["r1"]


def test_what_the_kernel_derives_and_counts_is_no_drift(runs, memory):
    memory["kernel"]["min_free_kb"] = 90112
    memory["thp"]["khugepaged"]["full_scans"] = "9"
    memory["pools"][0] |= {"free": 3, "total": 520, "surplus": 8}  # a process took more than the pool has
    assert runs("r1", memory)["findings"] == []


def test_a_setting_changed_by_hand_says_when_its_file_was_written(runs, memory):
    memory["thp"]["enabled"] = "always"
    at = "2026-11-21T01:00:00+00:00"
    judged = runs("r1", memory, written={"sys/kernel/mm/transparent_hugepage/enabled": at})
    assert judged["code"] == 2
    assert found(judged) == {
        "THP enabled": "is always, and was certified as madvise; nothing that a boot reads sets it, "
        f"and the kernel's file was last written {at}"
    }


def test_a_pool_that_shrank_is_named_once(runs, memory):
    memory["pools"][0]["total"], memory["pools"][2]["total"] = 384, 128
    assert list(found(runs("r1", memory))) == ["Pool of 2 MiB pages"]
    memory["pools"][0]["total"], memory["pools"][1]["total"] = 512, 384
    assert list(found(runs("r2", memory))) == [f"Pool of 2 MiB pages on NUMA node {node}" for node in (0, 1)]


def test_a_foreign_file_is_drift_before_a_boot_reads_it(runs, memory):
    file = "/etc/sysctl.d/zzz-db.conf"
    memory["sources"] = [{**OURS, "effective": False}, source("proc/sys/vm/nr_hugepages", "64", file, 3)]
    origin = {"modified": "2026-11-20T00:00:00+00:00", "package": "db-tuning 1.2"}
    judged = runs("r1", memory, origins={file: origin})
    (only,) = judged["findings"]
    assert (only["what"], only["now"]) == ("Pool of 2 MiB pages", "512 pages")
    assert only["set_by"] == [{"file": file, "line": 3, "value": "64", **origin}]
    assert only["sentence"].startswith(f"is 512 pages as certified, but {file} line 3 sets vm.nr_hugepages to 64")


def test_what_kept_a_setting_is_gone(runs, memory):
    memory["sources"] = []
    said = found(runs("r1", memory))["Pool of 2 MiB pages"]
    assert "what set it is gone: /etc/sysctl.d/zz-stethos-hugepages.conf" in said


def test_a_foreign_file_that_sets_nothing_else_is_no_drift(runs, memory):
    memory["sources"] = [
        {**OURS, "line": 9},
        source("proc/sys/vm/nr_hugepages", "64", "/etc/sysctl.d/10-db.conf", effective=False),
        source("proc/sys/vm/nr_hugepages", "512", "/etc/sysctl.d/zzz.conf"),
    ]
    assert runs("r1", memory)["findings"] == []


def test_mounts_dropins_and_profiles_that_go_or_come(runs, memory):
    memory["hugetlbfs_mounts"] = [{"target": "/mnt/other", "options": ["rw", "pagesize=2M"]}]
    memory["service_dropins"] = {"/etc/systemd/system/vllm.service.d/stethos.conf": "dd"}
    memory["kernel"]["tuned_profile"] = "throughput-performance"
    assert found(runs("r1", memory)).keys() == {
        "hugetlbfs at /mnt/huge",
        "hugetlbfs at /mnt/other",
        "drop-in /etc/systemd/system/vllm.service.d/stethos.conf, content",
        "TuneD profile",
    }
    dropin = "drop-in /etc/systemd/system/vllm.service.d/stethos.conf, content"
    assert found(runs("r2", memory))[dropin] == "is dd, and was certified as cc"


def test_a_library_with_another_content_is_another_version(runs, memory):
    memory["allocator_contents"]["jemalloc"] = "bb"
    origin = {"modified": "2026-11-20T00:00:00+00:00", "package": "libjemalloc2 5.3.0-1"}
    judged = runs("r1", memory, origins={LIBRARY: origin})
    (only,) = judged["findings"]
    assert (only["kind"], only["certified"], only["now"]) == ("version", f"{LIBRARY} aa", f"{LIBRARY} bb")
    assert "at a path that package libjemalloc2 5.3.0-1 owns" in only["sentence"]
    assert judged["figures"] == {}


def test_another_version_is_told_and_no_figure_is_judged(runs, memory, gpu_document):
    gpu_document["fingerprint"]["packages"]["torch"] = "9.0"
    gpu_document["fingerprint"]["kernel"]["release"] = "6.9"
    gpu_document["fingerprint"]["hashes"] |= {"packages": "p", "kernel": "k"}
    memory["thp"]["anon_new"] = "1"  # a knob of the newer kernel
    del memory["thp"]["defrag"]
    for row in gpu_document["probes"]["load"]["samples"]:
        row["load_s"] *= 100
    judged = runs("r1", memory, gpu_document)
    assert judged["code"] == 2
    assert [(each["kind"], each["what"], each["now"]) for each in judged["findings"]] == [
        ("version", "kernel", "6.9"),
        ("version", "torch", "9.0"),
    ]
    assert judged["figures"] == {}


def test_another_kernel_is_seen_without_a_measurement(runs, memory):
    memory["kernel"]["release"] = "6.9"
    judged = runs("r1", memory, result=None, state="failed")
    assert found(judged).keys() == {"kernel"}
    assert found(judged, "unknown") == {"run, in probe": "failed: why"}


def test_what_was_not_measured_is_said(runs, gpu_document):
    assert found(runs("r1", result=None), "unknown").keys() == {"performance"}
    gpu_document["probes"]["load"] |= {"status": "failed", "reason": "disk full", "samples": []}
    assert found(runs("r2", result=gpu_document), "unknown") == {"probe load": "failed: disk full"}
    gpu_document["fingerprint"] = {}
    assert found(runs("r3", result=gpu_document), "unknown").keys() == {"performance", "probe load"}


def test_another_model_tells_nothing(runs, gpu_document):
    gpu_document["fingerprint"]["hashes"]["model"] = "other"
    judged = runs("r1", result=gpu_document)
    assert (judged["code"], list(found(judged, "unknown"))) == (1, ["model"])


def test_a_pending_reboot_is_no_drift_before_or_after(runs, memory):
    giant = {"size_kb": 1048576, "total": 0, "free": 0, "surplus": 0, "overcommit": 0, "numa_node": None}
    at_boot = source(
        "sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "4", "/etc/default/grub", kind="boot loader"
    )
    memory["pools"].append(giant)
    row = {"path": at_boot["setting"], "desired": "4", "deviation": ""}
    before = copy.deepcopy(memory)
    memory["sources"] = [OURS, {**at_boot, "ours": True}]
    assert list(found(runs("r1", memory, inventory=[row]))) == []  # the inventory asked for it since
    runs("r2", memory, certify=True, judged=False)
    memory["pools"][-1]["total"] = 4
    memory["sources"].append({**at_boot, "file": "/proc/cmdline", "kind": "command line"})
    assert runs("r3", memory)["findings"] == []
    assert found(runs("r4", before)).keys() == {"Pool of 1 GiB pages"}  # and what was to come is gone


def test_the_inventory_counts_where_the_certificate_agrees(runs, memory):
    row = {"path": POOL, "desired": "600", "actual": "512", "deviation": "hugepages_pools[0] is to be 600, and is 512"}
    judged = runs("r1", memory, inventory=[row])
    (only,) = judged["findings"]
    assert (only["what"], only["wanted"], only["now"]) == ("Pool of 2 MiB pages", "600", "512 pages")
    assert only["sentence"].startswith("hugepages_pools[0] is to be 600")


def test_what_could_not_be_verified_is_said(runs, memory):
    judged = runs("r1", memory, not_verified="thp_enabled is sometimes", services=["/etc/x.conf"])
    assert found(judged, "unknown") == {"inventory": "thp_enabled is sometimes"}
    assert found(judged).keys() == {"drop-in /etc/x.conf, content"}


def test_since_when_comes_from_the_runs_before(runs, memory):
    def dates(judged):
        return {each["what"]: (each["since"], each["until"]) for each in judged["findings"]}

    memory["thp"]["enabled"] = "always"
    assert dates(runs("r1", memory)) == {"THP enabled": ("r1", "r0")}
    memory["thp"]["defrag"] = "always"
    assert dates(runs("r2", memory)) == {"THP enabled": ("r1", "r0"), "THP defrag": ("r2", "r1")}
    memory["thp"]["enabled"] = "never"
    assert dates(runs("r3", memory)) == {"THP enabled": ("r3", "r2"), "THP defrag": ("r2", "r1")}


def test_a_rerun_that_tunes_says_what_it_put_right(runs, memory):
    drifted = copy.deepcopy(memory)
    drifted["thp"]["enabled"] = "never"
    judged = runs("r1", drifted, tuned=memory)
    (only,) = judged["findings"]
    assert (judged["measured"], only["now"], only["after"]) == ("baseline.json", "never", "madvise")
    assert "(after tuning: madvise)" in drift.sentences({"hosts": {"n": judged}})[1]


def test_a_worse_figure_is_drift_and_a_better_one_is_not(runs, gpu_document):
    for row in gpu_document["probes"]["load"]["samples"]:
        row["load_s"] *= 10
    judged = runs("r1", result=gpu_document)
    assert (judged["code"], set(found(judged))) == (2, {"cold_load_s", "warm_load_s"})
    for row in gpu_document["probes"]["load"]["samples"]:
        row["load_s"] /= 1000
    assert runs("r2", result=gpu_document)["code"] == 0


def test_a_gpu_that_fails_its_work_drifted_and_a_figure_that_is_missing_is_not_told(runs, gpu_document):
    probe = gpu_document["probes"]["bandwidth"]
    copied = next(row for row in probe["samples"] if row["measure"] == "h2d_pinned")
    probe["samples"].append({**copied, "gpu": "GPU-7", "bytes": None, "error": "AcceleratorError: CUDA error"})
    judged = runs("r1", result=gpu_document)
    assert (judged["code"], found(judged)) == (2, {"work of GPU-7": "h2d_pinned failed: AcceleratorError: CUDA error"})
    probe["samples"] = [row for row in probe["samples"] if row["measure"] != "h2d_pinned"]
    judged = runs("r2", result=gpu_document)
    assert (judged["code"], found(judged, "unknown").keys()) == (1, {"h2d_pinned_gib_per_s"})


def test_a_trend_within_the_limits_is_drift_since_a_run(runs, gpu_document):
    for number in range(1, 8):
        assert runs(f"r{number}")["code"] == 0
    for row in gpu_document["probes"]["load"]["samples"]:
        if row["cache"] == "warm":
            row["load_s"] *= 1.45
    for name in ("r8", "r9"):
        judged = runs(name, result=gpu_document)
    (only,) = judged["findings"]
    assert (only["what"], only["kind"], only["until"]) == ("warm_load_s", "performance", "")
    assert only["since"] == judged["figures"]["warm_load_s"]["since"]
    assert judged["figures"]["warm_load_s"]["trend"] == "worse"


def test_a_busy_node_is_not_told_from_a_slow_one(runs, gpu_document):
    for row in gpu_document["probes"]["load"]["samples"]:
        row["load_s"] *= 10
        row["load1_before"] = 1000
    judged = runs("r1", result=gpu_document)
    assert (judged["code"], found(judged)) == (1, {})
    assert "the node was busy" in found(judged, "unknown")["cold_load_s"]


def test_a_node_without_certificate_is_held_against_the_inventory_alone(runs, memory):
    (runs.folder / "certified/n.json").unlink()
    row = {"path": POOL, "desired": "600", "actual": "512", "deviation": "to be 600, and is 512"}
    judged = runs("r1", memory)
    assert (judged["code"], judged["against"]) == (1, "the inventory alone")
    assert found(judged, "unknown")["certificate"].startswith("nothing was certified of this node")
    assert runs("r2", memory, inventory=[row])["code"] == 2


def test_the_nodes_own_certificate_stands_in(runs):
    kept = (runs.folder / "certified/n.json").read_text()
    (runs.folder / "certified/n.json").unlink()
    place = runs.folder / "r1/hosts/n"
    runs("r1", judged=False)
    (place / drift.NODE_CERTIFICATE).write_text(kept)
    assert main(["drift", str(runs.folder / "r1")]) == 0
    (place / drift.NODE_CERTIFICATE).write_text(json.dumps({"host": "n", "issued": "x"}))  # the agent's own baseline
    assert main(["drift", str(runs.folder / "r1")]) == 1


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"host": "m"}, "is refused: it is of m, another node"),
        ({"schema_version": 2}, "its schema version is 2"),
        ({"validity": {"days": 1, "until": "2026-11-21T01:30:00+00:00", "while": ""}}, "it ended 2026-11-21"),
    ],
)
def test_a_certificate_that_does_not_hold(runs, changed, sentence):
    path = runs.folder / "certified/n.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    judged = runs("r1")
    assert judged["code"] == 1
    assert sentence in found(judged, "unknown")["certificate"]


def test_a_certificate_of_an_older_agent_has_no_sources(runs, memory):
    older = {name: value for name, value in memory.items() if name not in ("sources", "service_dropins")}
    runs("r1", older, certify=True, judged=False)
    assert "sources" not in certificate.read(runs.folder / "certified/n.json").document
    assert runs("r2", memory)["findings"] == []


def test_an_older_certificate_says_nothing_of_sources_and_contents(runs, memory):
    path = runs.folder / "certified/n.json"
    document = json.loads(path.read_text())
    del document["sources"], document["settings"]["jemalloc library, content"]
    path.write_text(json.dumps(document))
    assert certificate.read(path)
    assert runs("r1", {**memory, "sources": []})["findings"] == []


@pytest.mark.parametrize(
    "junk",
    [
        [],
        {},
        {"host_memory": 3},
        {"host_memory": {"thp": {"enabled": "madvise"}, "sources": [3, {"setting": 1}]}, "inventory": [{}]},
    ],
)
def test_a_state_that_a_node_made_up(runs, junk):
    runs("r1", judged=False)
    (runs.folder / "r1/hosts/n/state.json").write_text(json.dumps(junk))
    assert main(["drift", str(runs.folder / "r1")]) in (1, 2)
    render.render(run_folder.read(runs.folder / "r1"))


def test_a_state_that_is_no_file_of_ours_is_not_followed(runs, tmp_path):
    runs("r1", judged=False)
    state = runs.folder / "r1/hosts/n/state.json"
    state.unlink()
    state.symlink_to("/etc/hostname")
    assert main(["drift", str(runs.folder / "r1")]) == 1


def test_the_command_the_pages_and_the_summary_say_the_same(runs, memory, capsys):
    memory["thp"]["enabled"] = "<b>always"
    runs("r1", memory, judged=False)
    folder = runs.folder / "r1"
    assert main(["drift", str(folder)]) == 2
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "Drift, 1 node: 1 drifted."
    assert said[1].startswith("n: drifted: THP enabled is <b>always, and was certified as madvise;")
    render.render(run_folder.read(folder))
    page, fleet = (folder / "hosts/n/index.html").read_text(), (folder / "index.html").read_text()
    assert "<b>always" not in page + fleet
    assert "&lt;b&gt;always" in page
    assert "Drift, 1 node: 1 drifted." in fleet
    assert summary.lines(run_folder.read(folder))[0][-len(said) :] == said
    first = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    render.render(run_folder.read(folder))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == first


@pytest.mark.parametrize("junk", [{}, {"hosts": 3}, {"hosts": {"n": None}}, {"hosts": {"n": {"findings": [3]}}}])
def test_a_verdict_somebody_changed_is_still_drawn(runs, junk):
    runs("r1", judged=False)
    (runs.folder / "r1" / drift.NAME).write_text(json.dumps(junk))
    render.render(run_folder.read(runs.folder / "r1"))
    drift.sentences(junk)
    assert kinds.word({}) == "could not tell"


def test_a_verdict_that_cannot_be_read_is_named(runs, capsys):
    runs("r1", judged=False)
    (runs.folder / "r1" / drift.NAME).write_text("{")
    assert main(["render", str(runs.folder / "r1")]) == 1
    assert "drift.json cannot be read" in capsys.readouterr().err


def test_a_figure_that_changed_is_drawn_over_its_runs():
    points = [{"run_id": f"r{n}", "when": "", "value": 1.0 + (n > 3)} for n in range(6)]
    moved = {"title": "load, cold", "limit": 1.5, "since": "r4", "points": points}
    steady = {"title": "load, warm", "limit": None, "since": "", "points": points[:1]}
    host = run_folder.Host("n", "ok", "", "", drift={"code": 2, "findings": [], "figures": {"a": steady, "b": moved}})
    (plot,) = sections.drift.section(host).figures
    assert plot.title == "load, cold"
    assert [mark.at for mark in plot.moments] == [4.0]
