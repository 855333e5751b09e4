"""Tables, figures and sentences of real and of poor measurements."""

import csv
import io

import pytest

from probe_agent.settings import page_size
from reports import figures, findings, run_folder, sections, tables
from reports.sections import allocators, load, memory, settings
from reports.tables import Cell, Column, Table

VERDICTS = "Verdict per lever, on what it is pulled for"


def host_of(run, name="node1"):
    return next(host for host in run_folder.read(run).hosts() if host.name == name)


def shown(section, title):
    """Return a table's cells as text."""
    found = next(table for table in (*section.tables, *section.details) if table.title == title)
    return [[cell.text for cell in row] for row in found.rows]


def test_settings_show_before_and_after_and_mark_what_changed(sample_run):
    rows = shown(settings.section(host_of(sample_run)), "Huge pages and mounts")
    assert rows[0] == ["THP enabled", "madvise", "always", "changed"]
    assert ["Pool of 2 MiB pages", "0 pages", "0 pages", "same"] in rows
    assert settings.changes(host_of(sample_run)) == ["THP enabled: madvise → always."]


def test_a_new_mount_and_pool_were_absent_before(make_run, document):
    before = {**document, "host_memory": {**document["host_memory"], "pools": []}}
    document["host_memory"]["pools"] = [{"size_kb": 2048, "total": 512, "free": 512, "numa_node": None}]
    document["host_memory"]["hugetlbfs_mounts"] = [{"target": "/mnt/huge", "options": ["rw", "pagesize=2M"]}]
    host = host_of(make_run({"n": {"baseline": before, "result": document}}), "n")
    assert settings.changes(host) == [
        "Pool of 2 MiB pages: absent → 512 pages.",
        "hugetlbfs at /mnt/huge: absent → rw,pagesize=2M.",
    ]
    assert "Pool of 2 MiB pages: 1,024 MiB are reserved, and no measured process used any of it." in memory.findings(
        host
    )


def test_what_sets_them_at_boot_is_named_with_file_and_line(make_run, document):
    row = {"value": "512", "file": "/etc/sysctl.d/30-db.conf", "line": 3, "kind": "sysctl.d", "note": ""}
    document["host_memory"]["sources"] = [
        {**row, "setting": "proc/sys/vm/nr_hugepages", "effective": True, "ours": False},
        {"setting": "", "file": "/etc/fstab", "line": 0, "note": "cannot be read", "ours": None, "value": ["odd", {}]},
        "odd",
    ]
    host = host_of(make_run({"n": {"result": document}}), "n")
    assert shown(settings.section(host), "What sets them at boot") == [
        ["vm.nr_hugepages", "512", "/etc/sysctl.d/30-db.conf line 3", "sysctl.d", "no", "yes", "–"],
        ["–", "odd, none", "/etc/fstab", "–", "no", "no", "cannot be read"],
    ]


def test_no_file_that_sets_them_is_said_and_an_agent_that_did_not_look_says_nothing(make_run, document):
    document["host_memory"]["sources"] = []
    host = host_of(make_run({"n": {"result": document}}), "n")
    assert settings.section(host).tables[1].note == "No file on the node sets huge pages at boot."
    del document["host_memory"]["sources"]
    host = host_of(make_run({"n": {"result": document}}), "n")
    assert [table.title for table in settings.section(host).tables] == ["Huge pages and mounts"]


def test_load_stages_stand_side_by_side_with_the_proof(sample_run):
    section = load.section(host_of(sample_run))
    stages = shown(section, "Load stages, medians")
    assert stages[-1] == ["whole process", "4.636", "4.303", "4.887", "4.401"]
    assert shown(section, "Proof that cold was cold")[1][3:5] == ["0", "yes"]
    stacked, loads = section.figures
    labels = ["cold before", "cold after", "warm before", "warm after"]
    assert [bar.label for bar in stacked.bars] == [row.label for row in loads.rows] == labels
    assert stacked.parts == ("Python start", "imports", "tokenizer", "weights", "to device", "first token")
    assert [len(row.values) for row in loads.rows] == [3, 3, 3, 3]


def test_a_cold_load_that_was_warm_is_said(make_run, document):
    for row in document["probes"]["load"]["samples"]:
        row["resident_pages_at_start"] = row["pages"]
    host = host_of(make_run({"n": {"result": document}}), "n")
    assert any(sentence.startswith("The cold loads were not cold") for sentence in load.findings(host))
    assert shown(load.section(host), "Proof that cold was cold")[0][4] == "no"


def test_before_and_after_are_never_called_an_effect(sample_run):
    (said,) = [sentence for sentence in load.findings(host_of(sample_run)) if "before and" in sentence]
    assert said == f"Cold load took 0.639 s before and 0.589 s after. {load.DRIFT}"


def test_measurements_with_other_fingerprints_are_not_set_against_each_other(make_run, document):
    before = {**document, "fingerprint": {**document["fingerprint"], "id": "other"}}
    before["fingerprint"]["hashes"] = {**before["fingerprint"]["hashes"], "kernel": "other"}
    host = host_of(make_run({"n": {"baseline": before, "result": document}}), "n")
    found = findings.of(host)
    assert "Before and after differ in kernel: their figures do not compare." in found.changed
    assert not [sentence for sentence in found.did if "Cold load took" in sentence]


def test_levers_carry_verdict_effect_interval_noise_and_proof(sample_run):
    section = allocators.section(host_of(sample_run))
    (verdict,) = shown(section, VERDICTS)
    assert verdict[:6] == ["jemalloc", "inconclusive", "first generation", "+0.2", "−22 … +28", "3"]
    assert verdict[8] == "3 of 3"
    effect = shown(section, "Effect against glibc in the same blocks, after tuning")
    assert effect[-1][:7] == ["jemalloc", "resident memory", "worse", "+5.4", "+5.3 … +5.4", "3", "0.2"]
    assert {row[2] for row in effect[:-1]} == {"inconclusive"}
    arms = shown(section, "Medians per arm, with the proof of use")
    assert arms[-1][0] == "jemalloc"
    assert arms[-1][-2:] == ["3 of 3", "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"]


def test_arms_that_could_not_run_stand_among_the_verdicts_with_the_reason(make_run, document):
    probe = document["probes"]["allocator"]
    probe["evidence"] = {
        "skipped_arms": {"glibc-hugetlb": "no free page", "tcmalloc": "a|b"},
        "arms": {"jemalloc": {"processes": 3, "engaged": 3, "mapped": [], "proof": ["the library is mapped"]}},
    }
    for row in probe["samples"]:
        row["engaged"] = None if row["arm"] == "jemalloc" else True
    rows = shown(allocators.section(host_of(make_run({"n": {"result": document}}), "n")), VERDICTS)
    assert [(row[0], row[1], row[-1]) for row in rows[1:]] == [
        ("glibc-hugetlb", "skipped", "no free page"),
        ("tcmalloc", "skipped", "a|b"),
    ]
    assert rows[0][8:10] == ["0 of 3; 3 do not show it", "the library is mapped"]


def test_csv_has_the_labs_header_and_a_row_per_process_in_block_order(sample_run):
    text = tables.to_csv(allocators.samples_table(host_of(sample_run).result))
    header, *rows = csv.reader(io.StringIO(text))
    assert header == ["allocator", "gen_latency_s", "wall_real_s", "rss_mb"]
    assert [row[0] for row in rows] == [
        *("glibc", "jemalloc", "glibc-again"),
        *("glibc-again", "glibc", "jemalloc"),
        *("glibc-again", "glibc", "jemalloc"),
    ]
    assert rows[0] == ["glibc", "1.892334", "7.910213", "366.7"]


def test_csv_quotes_what_a_spreadsheet_would_run():
    table = Table("t", (Column("a", key="a"),), ((Cell("=cmd()"),), (Cell("x\ny"),), (Cell("", 2),), (Cell("", -1.5),)))
    assert tables.to_csv(table) == "a\n'=cmd()\nx y\n2\n-1.5\n"


def test_a_column_without_any_figure_is_left_out_and_words_stay():
    columns = (Column("a"), Column("b", numeric=True), Column("c", numeric=True), Column("d"))
    nothing = tables.count(None)
    found = tables.without_empty(
        Table("t", columns, ((Cell("x"), nothing, nothing, nothing), (Cell("y"), Cell("1"), nothing, nothing)))
    )
    assert [column.title for column in found.columns] == ["a", "b", "d"]
    assert [[cell.text for cell in row] for row in found.rows] == [["x", "–", "–"], ["y", "1", "–"]]


def test_only_one_measurement_makes_no_comparison(make_run, document):
    host = host_of(make_run({"n": {"result": document}}), "n")
    assert [column.title for column in settings.section(host).tables[0].columns] == ["Setting", "Found"]
    assert settings.changes(host) == [
        "The node was measured once, so there is no before and after; THP enabled was always."
    ]
    assert [row.label for row in load.section(host).figures[1].rows] == ["cold", "warm"]


def test_probes_that_failed_or_were_skipped_are_named_with_the_reason(make_run, document):
    document["probes"]["load"] |= {"status": "failed", "reason": "disk full", "headline": {}, "evidence": {}}
    document["probes"]["load"]["samples"] = document["probes"]["load"]["samples"][:1]
    document["probes"]["allocator"] |= {
        "status": "skipped",
        "reason": "no jemalloc library on this node",
        "samples": [],
    }
    host = host_of(make_run({"n": {"result": document}}), "n")
    assert findings.missing(host)[1:] == [
        "Probe load failed (disk full), keeping 1 sample.",
        "Probe allocator skipped (no jemalloc library on this node).",
    ]
    assert "The model loaded cold in 0.790 s; no warm load ended." in load.findings(host)
    assert allocators.section(host) is None


def test_a_probe_nobody_asked_for_is_said(make_run, document):
    host = host_of(make_run({"n": {"baseline": document, "result": document}}), "n")
    servers = "bandwidth, pressure, serving, batching, curves and kv"
    assert findings.missing(host) == [f"Probes {servers} were not asked for after tuning."]
    without = {**document, "probes": {"allocator": document["probes"]["allocator"]}}
    host = host_of(make_run({"n": {"baseline": without, "result": document}}), "n")
    assert findings.missing(host)[0] == "Probe load was not asked for before tuning."


def test_nothing_is_missing_where_every_probe_ended(make_run, gpu_document):
    assert findings.missing(host_of(make_run({"n": {"result": gpu_document}}), "n")) == []


def test_a_result_with_nothing_in_it_still_has_sections(make_run, document):
    for probe in document["probes"].values():
        probe |= {"status": "failed", "reason": "no model", "samples": [], "evidence": {}, "headline": {}}
    document |= {"fingerprint": {}, "host_memory": {}, "finished": None}
    host = host_of(make_run({"n": {"baseline": document, "result": document}}), "n")
    assert [section.anchor for section in sections.of(host)] == ["environment"]
    assert findings.of(host).did == ()


@pytest.mark.parametrize(
    ("state", "reason", "said"),
    [
        ("ok", "", "Yes, by this run: no setting and no probe failed."),
        ("degraded", "probe kv failed", "In part: probe kv failed (phase probe)."),
        ("unreachable", "no route", "Not known to be, it could not be reached: no route (phase probe)."),
        ("failed", "", "Not known to be, it failed: no reason given."),
    ],
)
def test_the_verdict_says_whether_work_may_go_there(make_run, state, reason, said):
    host = host_of(make_run({"n": {"state": "failed"}}), "n")
    assert findings.fit(host, state, reason) == [said]


def test_a_slow_link_stands_beside_the_verdict(make_run, gpu_document):
    said = findings.fit(host_of(make_run({"n": {"result": gpu_document}}), "n"), "ok", "")
    assert said[1] == "NVIDIA H200: its PCIe link is below what the device supports: generation 4 of 5."


def test_key_figures_are_those_there_are():
    found = findings.key_figures({"warm_load_s": 1.5778, "warm_next_ttft_s": 0.0243, "other": 1.0})
    assert [(each.title, each.cell.text, each.unit) for each in found] == [
        ("Model load, warm", "1.578", "s"),
        ("Next requests, warm", "24.3", "ms"),
    ]


def test_in_short_is_a_sentence_per_theme_and_the_section_has_all(sample_run):
    host = host_of(sample_run)
    (levers,) = [said for said in findings.of(host).did if said.startswith("Levers")]
    called, left = "worse: jemalloc (resident memory +5.4 %)", "inconclusive: jemalloc (first generation)"
    assert levers == f"Levers against glibc: {called}; {left}."
    (section,) = [section for section in sections.of(host) if section.anchor == "load"]
    assert section.sentences == tuple(load.findings(host))
    assert findings.of(host).did.count(section.sentences[0]) == 1
    assert section.sentences[1] not in findings.of(host).did


@pytest.mark.parametrize(
    ("show", "value", "text"),
    [
        (figures.seconds, 0.0011, "0.001"),
        (figures.seconds, 1234.5, "1,234"),
        (figures.seconds, None, "–"),
        (figures.mib, 2.0, "2.0"),
        (figures.mib, 0, "0"),
        (figures.mib, 3122.4, "3,122"),
        (figures.percent, -1.04, "−1.0"),
        (figures.percent, -0.01, "0.0"),
        (figures.percent, 5e9, "> +1,000"),
        (figures.digits, 0.1234, "0.12"),
        (figures.digits, -12.345, "−12.3"),
        (figures.digits, -0.001, "0.00"),
        (figures.seconds, -0.0, "0.000"),
        (figures.seconds, -1.5, "−1.500"),
        (figures.digits, 5389.6, "5,390"),
        (figures.digits, None, "–"),
        (figures.listed, [], ""),
        (figures.listed, ["a"], "a"),
        (figures.listed, ["a", "b", "c"], "a, b and c"),
        (page_size, 1048576, "1 GiB"),
        (page_size, "odd", "odd kB"),
        (figures.printable, "a\nb", "a b"),
        (figures.printable, "\x1b[31m\u202e\ud800", "\\x1b[31m\\u202e\\ud800"),
    ],
)
def test_figures_read_well(show, value, text):
    assert show(value) == text
