"""The pages: the same bytes twice, nothing foreign unescaped, nothing written elsewhere."""

import base64
import json
import re
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest

from reports import fleet, fleet_page, render, run_folder, schema

EVIL = "<script>alert(1)</script>"
IMAGE = "<img src=x onerror=alert(1)>"
MARKDOWN = "a|b\n# c [x](javascript:alert(1)) `y` <b>"
VOID = {"meta", "line", "path", "input"}
TAGS = re.findall(
    r"\w+",
    """a body button dd details div dl dt figcaption figure h1 h2 h3 head header html input label li line main meta
    option output p path script section select span style summary svg table tbody td th thead title tr ul""",
)


class Page(HTMLParser):
    """Collects tags and links, and fails on what could run, load or stay open."""

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.scripts, self.text = [], [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert tag in TAGS
        assert tag != "script" or not attrs
        for name, value in attrs:
            assert name not in ("src", "style") and not name.startswith("on")
            if name == "href":
                assert ":" not in value.split("/")[0]
                self.links.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["script"]:
            self.scripts.append(data)
        else:
            self.text += data


def everything(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_writes_every_page_of_the_contract(sample_run):
    render.render(run_folder.read(sample_run))
    names = {str(path) for path in everything(sample_run)}
    assert {"index.html", "fleet.md", "fleet.json"} <= names
    assert {f"hosts/node1/{name}" for name in ("index.html", "report.md", "allocator_latency_comparison.csv")} <= names
    assert "hosts/node2/index.html" in names
    assert "hosts/node2/allocator_latency_comparison.csv" not in names


def test_rendering_twice_gives_the_same_bytes(sample_run):
    render.render(run_folder.read(sample_run))
    first = everything(sample_run)
    render.render(run_folder.read(sample_run))
    assert everything(sample_run) == first


def test_the_folder_it_stands_in_leaves_no_trace(sample_run):
    render.render(run_folder.read(sample_run))
    assert not [path for path, content in everything(sample_run).items() if str(sample_run).encode() in content]


def test_a_table_of_an_earlier_rendering_goes_with_its_result(sample_run):
    render.render(run_folder.read(sample_run))
    (sample_run / "hosts/node1/result.json").unlink()
    render.render(run_folder.read(sample_run))
    assert not (sample_run / "hosts/node1/allocator_latency_comparison.csv").exists()


@pytest.mark.parametrize("name", ["index.html", "hosts/node1/index.html", "hosts/node2/index.html"])
def test_pages_are_closed_to_the_network_and_sound(sample_run, name):
    render.render(run_folder.read(sample_run))
    text = (sample_run / name).read_text()
    assert "default-src 'none'; style-src 'unsafe-inline'" in text
    page = Page(text)
    for link in page.links:
        assert ((sample_run / name).parent / link).is_file()


def test_only_the_fleets_own_script_may_run(sample_run):
    render.render(run_folder.read(sample_run))
    for path in sample_run.rglob("*.html"):
        text = path.read_text()
        digests = [
            f"'sha256-{base64.b64encode(sha256(each.encode()).digest()).decode()}'" for each in Page(text).scripts
        ]
        assert re.findall(r"script-src ([^;\"]*)", text) == digests
        assert len(digests) == (path == sample_run / "index.html")


def test_hostile_names_and_values_are_text_everywhere(make_run, document):
    document["host_memory"]["kernel"]["command_line"] = EVIL
    document["host_memory"]["thp"]["enabled"] = MARKDOWN
    document["host_memory"]["thp"][EVIL] = ["odd", {"deep": EVIL}]
    document["host_memory"]["pools"].append({"size_kb": EVIL, "total": [1], "free": None, "numa_node": {}})
    document["host_memory"]["kernel"]["boot_id"] = "\ud800\x1b]0;x\x07"
    document["fingerprint"] |= {"id": EVIL, "hardware": [EVIL, {"x": [None]}], "hashes": {EVIL: EVIL, "hardware": "x"}}
    document["spec"] |= {"model": [EVIL], "profile": {"a": IMAGE}}
    document["probes"]["load"]["evidence"] = {"cold_means": {"no": EVIL}}
    for row in document["probes"]["allocator"]["samples"]:
        row |= {"device": EVIL, "allocators": [IMAGE], "arm": row["arm"].replace("jemalloc", MARKDOWN)}
    document["probes"]["allocator"] |= {"status": "failed", "reason": MARKDOWN}
    names = [EVIL, IMAGE, "](javascript:alert(1))", "a b#c?d%2e", "ünï"]
    run = make_run(
        {name: {"result": document, "baseline": document, "reason": EVIL} for name in names if "/" not in name}
        | {name: {"state": "failed", "reason": MARKDOWN} for name in names if "/" in name}
    )
    rows = render.render(run_folder.read(run))
    assert [row.state for row in rows] == ["degraded"] * 4 + ["failed"]
    pages = list(run.rglob("*.html"))
    assert len(pages) == 1 + 4
    for path in pages:
        page = Page(path.read_text())
        assert "alert(1)" in page.text
    assert EVIL in Page((run / "index.html").read_text()).text
    for path in run.rglob("*.md"):
        text = path.read_text()
        assert "<" not in text
        assert not re.search(r"(?<!\\)\]\(javascript", text)
        table = [line for line in text.splitlines() if line.startswith("|")]
        assert all(line.endswith("|") for line in table)


def test_a_servers_page_is_sound_whatever_it_was_sent(make_run, gpu_document):
    probes = gpu_document["probes"]
    for start in probes["serving"]["samples"]:
        start["first"]["error"] = EVIL
        start["timeline"]["phases"][0]["phase"] = IMAGE
    probes["bandwidth"]["evidence"] |= {"unread": [EVIL], "cold_means": IMAGE, "iommu": {"mode": MARKDOWN}}
    probes["bandwidth"]["evidence"]["gpus"][0] |= {"name": EVIL, "nearness": IMAGE, "pcie_below_device": MARKDOWN}
    probes["batching"]["evidence"] |= {"left_out": [EVIL], "leak": {EVIL: IMAGE, "free": False}}
    probes["batching"]["samples"][0]["error"] = IMAGE
    run = make_run({"n": {"result": gpu_document}})
    render.render(run_folder.read(run))
    page = Page((run / "hosts/n/index.html").read_text())
    for link in page.links:
        assert (run / "hosts/n" / link).is_file()
    assert page.text.count(EVIL) >= 5
    assert "<" not in (run / "hosts/n/report.md").read_text()


def test_markdown_tables_keep_their_columns_whatever_stands_in_a_cell(make_run, document):
    document["host_memory"]["thp"]["enabled"] = MARKDOWN
    run = make_run({"n": {"result": document}})
    render.render(run_folder.read(run))
    line = next(line for line in (run / "hosts/n/report.md").read_text().splitlines() if "THP enabled |" in line)
    assert line == "| THP enabled | a\\|b \\# c \\[x\\](javascript:alert(1)) \\`y\\` &lt;b&gt; |"


def test_nothing_is_written_outside_the_run(make_run, tmp_path):
    names = ["../out", "/tmp/out", "..", "ok"]  # noqa: S108
    run = make_run({name: {"state": "unreachable", "reason": "no route"} for name in names})
    before = set(tmp_path.iterdir())
    render.render(run_folder.read(run))
    assert set(tmp_path.iterdir()) == before
    assert [path.name for path in (run / "hosts").iterdir()] == ["ok"]


def test_a_run_without_hosts_says_so(make_run):
    run = make_run({})
    assert render.render(run_folder.read(run)) == []
    assert "The inventory of this run has no hosts." in Page((run / "index.html").read_text()).text
    assert "no hosts" in (run / "fleet.md").read_text()


def test_a_large_fleet_has_a_row_for_each(make_run, document):
    hosts = {f"gpu{number:03}": {"state": "unreachable", "reason": "no route"} for number in range(300)}
    run = make_run(hosts | {f"gpu{number:03}": {"result": document} for number in range(0, 300, 30)})
    render.render(run_folder.read(run))
    assert len(json.loads((run / "fleet.json").read_text())["hosts"]) == 300
    page = Page((run / "index.html").read_text())
    assert len([link for link in page.links if link.startswith("hosts/")]) == 300
    assert "280 more hosts not well, see the table." in page.text


def test_fleet_rows_carry_state_reason_figures_and_paths(sample_run):
    render.render(run_folder.read(sample_run))
    document = json.loads((sample_run / "fleet.json").read_text())
    schema.check("fleet", document)
    assert document["states"] == {"ok": 1, "unreachable": 1, "skipped": 1}
    one, two, three = document["hosts"]
    assert (one["state"], one["settings"]["THP enabled"]) == ("ok", {"before": "madvise", "after": "always"})
    assert one["headline"]["cold_load_s"] == 0.5891
    assert one["verdicts"]["jemalloc"]["gen_latency_s"]["verdict"] == "inconclusive"
    assert all((sample_run / path).is_file() for path in one["files"].values())
    assert (two["phase"], two["reason"]) == ("preflight", "ssh: connect to host 10.0.0.2 port 22: No route to host")
    assert (three["state"], three["headline"]) == ("skipped", {})


def test_nodes_of_one_kind_tell_together_what_none_tells_alone(make_run, document):
    other = {**document, "fingerprint": {**document["fingerprint"], "id": "other"}}
    run = make_run({**{f"n{number}": {"result": document} for number in range(3)}, "odd": {"result": other}})
    said = fleet.sentences(render.render(run_folder.read(run)))
    kind = document["fingerprint"]["id"]
    assert said[1] == (
        "jemalloc, first generation: inconclusive on 4 hosts. "
        f"Over the 3 nodes with fingerprint {kind}: +0.2 % (95 % interval +0.2 … +0.2 %)."
    )


def test_the_fleet_table_leaves_no_host_out(make_run):
    (row,) = map(fleet.row, run_folder.read(make_run({"n": {"state": "unreachable"}})).hosts())
    assert len(fleet_page.hosts_table(fleet_page.of([row] * 2000)).shown) == 2000


def test_a_node_cannot_make_a_page_endless(make_run, document):
    document["host_memory"]["thp"] |= {f"odd{number}": "x" * 10_000 for number in range(1000)}
    run = make_run({"n": {"result": document}})
    render.render(run_folder.read(run))
    text = (run / "hosts/n/index.html").read_text()
    assert "more rows in the raw data." in text
    assert "(10,000 characters)" in text


def judged(run):
    return [fleet.judge(host) for host in run_folder.read(run).hosts()]


def test_an_ok_host_is_worse_when_its_result_says_so(make_run, document):
    half = json.loads(json.dumps(document))
    half["probes"]["load"] |= {"status": "failed", "reason": "disk full"}
    none = json.loads(json.dumps(half))
    none["probes"]["allocator"] |= {"status": "failed", "reason": "killed"}
    skipped = json.loads(json.dumps(document))
    skipped["probes"]["allocator"] |= {"status": "skipped", "reason": "no jemalloc", "samples": []}
    run = make_run(
        {
            "absent": {},
            "half": {"result": half},
            "none": {"result": none},
            "before": {"baseline": half, "result": document},
            "skipped": {"result": skipped},
            "known": {"state": "failed", "reason": "no disk", "result": half},
            "left": {"state": "skipped", "reason": "left out by --limit"},
        }
    )
    assert judged(run) == [
        ("failed", "no result.json came back from this host"),
        ("degraded", "probe load failed: disk full"),
        ("failed", "probe load failed: disk full; probe allocator failed: killed"),
        ("degraded", "probe load failed before tuning: disk full"),
        ("ok", ""),
        ("failed", "no disk; probe load failed: disk full"),
        ("skipped", "left out by --limit"),
    ]


def test_committed_samples_stay_small():
    assert sum(path.stat().st_size for path in (Path(__file__).parent / "samples").rglob("*.json")) < 40_000
