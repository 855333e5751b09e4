"""The fleet's page: who is unlike its twins, what is folded, what differs, in numbers that can be checked by hand."""

import copy
import csv
import io
import json
import random
import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from reports import (
    fleet,
    fleet_groups,
    fleet_page,
    fleet_settings,
    fleet_strips,
    fleet_twins,
    render,
    run_folder,
    schema,
)
from reports.fleet import Row
from reports.headlines import Headline
from reports.limits import ALPHA

EMPTY = Row("n", "ok", "", "", "kind", "model", "cpu", {}, {}, {}, [], {})
EVIL = "<script>alert(1)</script>"


def row(host, value=None, *, fingerprint="kind", lower_is_better=True, found=None, **fields):
    figures = () if value is None else (Headline("cold_load_s", "load, cold", lower_is_better, (value,)),)
    return replace(EMPTY, host=host, fingerprint=fingerprint, figures=figures, found=found or {}, **fields)


def rows(*values, **fields):
    return [row(f"n{number}", value, **fields) for number, value in enumerate(values)]


def test_an_outlier_says_how_far_off_it_is():
    (found,) = fleet_twins.outliers(rows(1.00, 1.01, 0.99, 1.02, 0.98, 1.5))
    assert (found.host, found.metric, found.twins, found.worse) == ("n5", "cold_load_s", 6, True)
    assert found.median == pytest.approx(1.005, abs=1e-4)
    assert found.off_percent == pytest.approx(49.3, abs=0.1)
    assert found.spreads > 10


def test_better_and_worse_follow_the_figures_direction():
    slow, fast = (1, 1.01, 0.99, 1.02, 0.98, 2), (1, 1.01, 0.99, 1.02, 0.98, 0.5)
    worse = [fleet_twins.outliers(rows(*values))[0].worse for values in (slow, fast)]
    rates = [fleet_twins.outliers(rows(*values, lower_is_better=False))[0].worse for values in (slow, fast)]
    assert (worse, rates) == ([True, False], [False, True])


def test_what_is_too_little_to_tell_from_is_no_outlier():
    assert fleet_twins.outliers(rows(1, 1, 1, 9)) == []  # four are no twins yet
    assert fleet_twins.outliers(rows(1, 1, 1, 1, 1.09)) == []  # within the margin, however equal the others are
    assert fleet_twins.outliers(rows(0.6, 0.8, 1, 1.3, 1.7, 2)) == []  # all of them differ
    mixed = [*rows(1, 1, 1, 1), row("other", 9, fingerprint="another")]
    assert fleet_twins.outliers(mixed) == []
    assert fleet_twins.outliers(rows(1, 1, 1, 1, 1, 9, fingerprint="")) == []  # nobody knows whether these compare


def test_twins_that_are_all_the_same_have_no_spread_to_count_in():
    (found,) = fleet_twins.outliers(rows(1, 1, 1, 1, 1, 2))
    assert (found.off_percent, found.spreads) == (100, None)


def test_a_figure_of_nothing_is_left_out():
    assert fleet_twins.outliers(rows(0, 0, 0, 0, 0, 0, 5)) == []


@pytest.mark.parametrize("nodes", [5, 8, 30])
def test_equal_nodes_are_seldom_called(nodes):
    """Without the margin, one fleet in twenty has a figure that is called though all nodes are equal."""
    source, called, fleets = random.Random(nodes), 0, 2000
    for _ in range(fleets):
        values = [source.gauss(0, 1) for _ in range(nodes)]
        centre = statistics.median(values)
        spread = statistics.median(abs(value - centre) for value in values)
        called += max(abs(value - centre) for value in values) > fleet_twins.reach(spread, nodes)
    assert called / fleets < 2 * ALPHA


@pytest.mark.parametrize(
    ("arm", "effect", "verdict", "said"),
    [
        ("jemalloc", -5.2, "inconclusive", "jemalloc −5.2 %, inconclusive"),
        ("pinned-register", -83.0, "better", "pinned-register −83 % (pinning memory), better"),
        ("glibc-thp", None, "not engaged", "glibc-thp, not engaged"),
    ],
)
def test_an_effect_says_on_what_where_that_is_not_the_first_generation(arm, effect, verdict, said):
    assert fleet.lever(arm, {"effect_percent": effect, "verdict": verdict}) == said


def test_nodes_that_are_alike_are_folded():
    same = {"THP enabled": "always"}
    alike = [row(f"n{number}", found=same) for number in range(3)]
    apart = [row("set", found={"THP enabled": "never"}), row("bad", found=same, state="degraded", reason="x")]
    judged = row("judged", found=same, verdicts={"jemalloc": {"gen_latency_s": {"verdict": "better"}}})
    groups = fleet_groups.fold([alike[0], *apart, alike[1], judged, alike[2]], {})
    assert [[each.host for each in group] for group in groups] == [["n0", "n1", "n2"], ["set"], ["bad"], ["judged"]]


def test_an_outlier_is_not_hidden_among_its_twins():
    found = fleet_page.of(rows(1, 1, 1, 1, 1, 2))
    assert [[each.host for each in group] for group in found.groups] == [["n5"], ["n0", "n1", "n2", "n3", "n4"]]


def test_one_reason_in_the_words_of_many_hosts_is_one():
    dead = [
        row(f"n{number}", state="unreachable", reason=f"ssh: n{number} port 22: no route from 10.0.0.{number}")
        for number in range(3)
    ]
    assert len(fleet_groups.fold(dead, {})) == 1


def test_settings_that_differ_name_the_hosts_that_differ():
    nodes = [row(f"n{number}", found={"a": "1", "b": "x"}) for number in range(3)]
    nodes += [row("odd", found={"a": "2", "b": "x", "only": "here"}), row("bare", found={"b": "x"}), row("dead")]
    assert [(each.setting, each.usual, each.usual_hosts, each.others) for each in fleet_settings.differing(nodes)] == [
        ("a", "1", 3, (("2", ("odd",)), (None, ("bare",)))),
        ("only", None, 4, (("here", ("odd",)),)),
    ]


def test_a_strip_has_a_dot_for_every_host_and_says_it_in_words():
    nodes = [*rows(1, 1, 1, 1, 1, 2), row("other", 3, fingerprint="another")]
    found = fleet_page.of(nodes)
    ((strip,), more) = fleet_page.strips(found)
    assert (strip.low, strip.high, strip.unit, more) == ("1.000", "3.000", "s", [])
    usual, lone = strip.lines
    assert (usual.usual.count("M"), usual.worse.count("M"), lone.usual.count("M")) == (5, 1, 1)
    assert usual.alternative == "6 hosts, from 1.000 to 2.000, median 1.000; unlike their twins: n5 +100 %"


def test_a_fleet_of_many_kinds_has_few_lines():
    nodes = [row(f"n{number}", number + 1, fingerprint=f"kind{number}") for number in range(50)]
    ((strip,), _) = fleet_page.strips(fleet_page.of(nodes))
    assert [line.hosts for line in strip.lines] == [1] * fleet_strips.LINES + [50 - fleet_strips.LINES]
    assert strip.lines[-1].label == "others"


def rendered(run):
    made = render.render(run_folder.read(run))
    document = json.loads((run / "fleet.json").read_text())
    schema.check("fleet", document)
    return made, document, (run / "index.html").read_text()


def varied(document, hosts, slow=""):
    """The same result from several hosts, one of them slow to load."""
    found = {}
    for name in hosts:
        made = copy.deepcopy(document)
        for sample in made["probes"]["load"]["samples"]:
            sample["load_s"] *= 3 if name == slow else 1
        found[name] = {"result": made}
    return found


def test_fleet_json_has_groups_outliers_and_settings(make_run, document):
    hosts = varied(document, [f"n{number}" for number in range(6)], slow="n3")
    hosts["n5"]["result"]["host_memory"]["thp"]["defrag"] = "always"
    _, found, page = rendered(make_run(hosts | {"gone": {"state": "unreachable", "reason": "no route"}}))
    assert found["groups"] == [["gone"], ["n3"], ["n0", "n1", "n2", "n4"], ["n5"]]
    assert {(each["host"], each["metric"], each["off_percent"]) for each in found["outliers"]} == {
        ("n3", "cold_load_s", 200.0),
        ("n3", "warm_load_s", 200.0),
    }
    (differing,) = found["differing_settings"]
    assert (differing["setting"], differing["others"]) == ("THP defrag", [{"value": "always", "hosts": ["n5"]}])
    assert "Worse than their twins: n3, load, cold +200 % (1 more)." in page


def test_every_table_is_a_csv_beside_its_page_and_stale_ones_go(make_run, document):
    run = make_run(varied(document, ["a", "b", "c", "d", "e"], slow="e"))
    rendered(run)
    assert {path.name for path in (run / "tables").iterdir()} == {"hosts-1.csv", "outliers-1.csv"}
    rows = list(csv.DictReader(io.StringIO((run / "tables/hosts-1.csv").read_text())))
    assert [each["Host"] for each in rows] == ["e", "a", "b", "c", "d"]
    here = run / "hosts/a/tables"
    assert {"load-1.csv", "settings-more-1.csv", "allocators-1.csv"} <= {path.name for path in here.iterdir()}
    (here / "kept.txt").write_text("not ours")
    (run / "hosts/a/result.json").unlink()
    (run / "hosts/e/result.json").unlink()
    rendered(run)
    assert {path.name for path in here.iterdir()} == {"kept.txt"}
    assert {path.name for path in (run / "tables").iterdir()} == {"hosts-1.csv"}


def test_tables_are_not_written_through_a_link(make_run, document, tmp_path):
    run = make_run({"n": {"result": document}})
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/old.csv").write_text("")
    (run / "hosts/n/tables").symlink_to(tmp_path / "elsewhere")
    rendered(run)
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["old.csv"]
    assert (run / "hosts/n/tables/load-1.csv").is_file()


@pytest.mark.parametrize(
    "name", [EVIL.replace("/", "\N{DIVISION SLASH}"), "\"quoted\" 'n'", "\u202efdp.n", "a\nb", "="]
)
def test_names_are_text_wherever_they_stand(make_run, document, name):
    run = make_run(varied(document, [name, "b", "c", "d", "e"], slow=name) | {EVIL: {"state": "failed"}})
    _, found, page = rendered(run)
    assert {each["host"] for each in found["outliers"]} == {name}
    assert "<script>alert" not in page
    assert "\u202e" not in page
    for path in run.rglob("*.md"):
        assert "<" not in path.read_text()
    for path in run.rglob("*.csv"):
        for line in csv.reader(io.StringIO(path.read_text())):
            assert not any(cell.startswith("=") for cell in line)


def test_all_hosts_dead_is_a_page_of_reasons(make_run):
    hosts = {f"n{number}": {"state": "unreachable", "phase": "preflight", "reason": "no route"} for number in range(3)}
    _, found, page = rendered(make_run(hosts))
    assert found["groups"] == [["n0", "n1", "n2"]]
    assert (found["outliers"], found["differing_settings"]) == ([], [])
    assert "no route (in preflight)" in page
    assert "Figures over the fleet" not in page


def test_a_result_with_every_probe_failed_has_a_row_and_a_log(make_run, document):
    for probe in document["probes"].values():
        probe |= {"status": "failed", "reason": "no space left", "samples": []}
    run = make_run({"n": {"result": document}})
    (made,), found, _ = rendered(run)
    assert (made.state, found["hosts"][0]["headline"]) == ("failed", {})
    assert "Not measured: the probe allocator failed (no space left)." in (run / "hosts/n/LOG.md").read_text()


def test_nodes_without_a_fingerprint_compare_with_nothing(make_run, document):
    document["fingerprint"] = {}
    _, found, page = rendered(make_run(varied(document, "abcdef", slow="a")))
    assert found["outliers"] == []
    assert "No host is held against its twins" in page


def test_one_host_needs_no_comparison(make_run, document):
    _, found, page = rendered(make_run({"n": {"result": document}}))
    assert found["groups"] == [["n"]]
    assert "twins:" not in page
    assert "alike:" not in page


def test_a_fleet_is_rendered_by_several_processes_to_the_same_bytes(make_run, document, monkeypatch):
    run = make_run(varied(document, [f"n{number}" for number in range(render.FLEET)], slow="n3"))

    def everything():
        rows = render.render(run_folder.read(run))
        return rows, {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}

    together = everything()
    monkeypatch.setattr(render, "FLEET", 1000)
    assert everything() == together


def test_a_large_fleets_page_stays_small():
    source = random.Random(1)
    nodes = [
        row(f"gpu{number:04}.example.com", source.gauss(1, 0.02), found={"a": str(number % 3)})
        for number in range(1000)
    ]
    found = fleet_page.of(nodes)
    page = render.to_html("fleet", render.fleet_view(EMPTY_RUN, found))
    assert len(page) < 2e6
    assert page.count('class="host"') == 1000


EMPTY_RUN = run_folder.Run(path=Path("none"), run_id="r1", started="", finished=None, entries={})
