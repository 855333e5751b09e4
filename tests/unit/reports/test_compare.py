"""Two runs against each other: what is called, what noise explains, and what does not compare."""

import copy
import math
import random
import re
import statistics
from xml.etree import ElementTree

import pytest

from reports import compare
from reports.__main__ import main
from reports.compare import Figure, Outcome, Side


def scaled(document, factor, probe="load", key="load_s"):
    """The same result with a figure of one probe made larger; its spread stays."""
    changed = copy.deepcopy(document)
    for row in changed["probes"][probe]["samples"]:
        row[key] *= factor
    return changed


def steady(document):
    """A result whose loads lie within one per cent, five times over: what a quiet machine gives."""
    quiet = copy.deepcopy(document)
    rows = quiet["probes"]["load"]["samples"]
    quiet["probes"]["load"]["samples"] = [
        {**row, "pair": pair, "load_s": (0.6 if row["cache"] == "cold" else 0.4) * (1 + 0.002 * (pair - 2))}
        for pair in range(5)
        for row in rows[:2]
    ]
    return quiet


@pytest.fixture
def two(make_run, document, tmp_path):
    """Return a function that writes BASE and NEW and compares them; it returns status and what was printed."""

    def write(name, hosts):
        return make_run(hosts).rename(tmp_path / name)

    def run(base, new, *arguments):
        folders = [write(*each) for each in (("base", base), ("new", new))]
        return main(["compare", *map(str, folders), *arguments])

    return run


@pytest.fixture
def quiet(document):
    return steady(document)


def hosts(result, name="node1"):
    return {name: {"result": result}}


def test_the_same_run_twice_shows_nothing(two, quiet, capsys):
    assert two(hosts(quiet), hosts(quiet), "--fail-on", "regression") == 0
    out = capsys.readouterr().out
    assert "worse" not in out.splitlines()[0]
    assert re.search(r"cold_load_s .* no difference", out)


def test_a_regression_ends_with_2_only_when_asked_for(two, quiet, capsys, tmp_path):
    slower = scaled(quiet, 1.3)
    assert two(hosts(quiet), hosts(slower), "--fail-on", "regression") == 2
    out = capsys.readouterr().out
    assert "node1: cold_load_s +30 % (worse, threshold 10 %)." in out
    assert "name runs like BASE with --more-base" in out
    assert main(["compare", str(tmp_path / "base"), str(tmp_path / "new")]) == 0
    assert main(["compare", str(tmp_path / "new"), str(tmp_path / "base"), "--fail-on", "regression"]) == 0


def test_a_threshold_is_a_figures_own(two, quiet, capsys, tmp_path):
    assert two(hosts(quiet), hosts(scaled(quiet, 1.3)), "--fail-on", "regression", "--threshold", "*_load_s=40") == 0
    again = ["compare", str(tmp_path / "base"), str(tmp_path / "new"), "--fail-on", "regression"]
    assert main([*again, "--threshold", "*_load_s=40", "--threshold", "warm_load_s=20"]) == 2
    assert "warm_load_s +30 % (worse, threshold 20 %)" in capsys.readouterr().out
    assert main([*again, "--metric", "*_rss_mb"]) == 0


def test_noise_is_no_regression(two, document, capsys):
    """Three processes each, which differ by a fifth among themselves."""
    assert two(hosts(document), hosts(scaled(document, 1.15)), "--fail-on", "regression", "--metric", "*_load_s") == 0
    out = capsys.readouterr().out
    assert "inconclusive" in out
    assert "values show a change reliably from" in out


def test_what_runs_like_base_differ_by_is_noise(two, quiet, make_run, capsys, tmp_path):
    """Within a run the loads lie within one per cent; from run to run the machine drifts by twenty."""
    more = []
    for number, factor in enumerate((0.8, 1.0, 1.25, 1.1)):
        more += ["--more-base", str(make_run(hosts(scaled(quiet, factor))).rename(tmp_path / f"more{number}"))]
    assert two(hosts(quiet), hosts(scaled(quiet, 1.3)), "--fail-on", "regression", *more) == 0
    assert "5 and 1 runs show a change reliably from" in capsys.readouterr().out
    far = str(make_run(hosts(scaled(quiet, 9.0))).rename(tmp_path / "far"))
    assert main(["compare", str(tmp_path / "base"), far, "--fail-on", "regression", "--metric", "*load_s", *more]) == 2
    assert "repeat" not in capsys.readouterr().out.lower()


def test_a_run_that_is_not_like_base_is_refused(two, quiet, make_run, capsys, tmp_path):
    other = copy.deepcopy(quiet)
    other["fingerprint"]["hashes"]["kernel"] = "0" * 16
    runs = {"other": hosts(other), "elsewhere": hosts(quiet, "node2")}
    more = [str(make_run(found).rename(tmp_path / name)) for name, found in runs.items()]
    assert two(hosts(quiet), hosts(quiet), "--more-base", more[0]) == 1
    assert "a run of node1 that is to be like BASE differs from it in kernel" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "base"), str(tmp_path / "new"), "--more-base", more[1]]) == 1
    assert f"{more[1]} has no result of node1" in capsys.readouterr().err


def test_a_good_direction_is_respected():
    less, more = (100.0, 101.0, 99.0, 100.0), (150.0, 151.0, 149.0, 150.0)
    for lower_is_better, outcome in ((True, Outcome.WORSE), (False, Outcome.BETTER)):
        assert judged(less, more, lower_is_better).outcome is outcome
        assert judged(more, less, lower_is_better).outcome is not outcome


def judged(base, new, lower_is_better=True, name="cold_load_s", threshold=0.1):
    found = Figure(name, name, lower_is_better, base, new, threshold)
    pair = compare.Pair(Side("a", None), Side("a", None), (), (), (found,))
    return next(compare.judge([pair])).figures[0]


def test_one_value_each_is_inconclusive_but_for_a_count():
    assert judged((1.0,), (9.0,)).outcome is Outcome.INCONCLUSIVE
    assert judged((1000.0,), (500.0,), False, "kv_capacity_tokens").outcome is Outcome.WORSE
    assert judged((1000.0,), (990.0,), False, "kv_capacity_tokens").outcome is Outcome.NO_DIFFERENCE


def test_figures_at_zero_have_no_ratio():
    assert judged((0.0, 1.0), (2.0, 3.0)).outcome is Outcome.INCONCLUSIVE
    assert judged((0.0,), (1.0,)).change is None


def test_equal_values_without_any_spread():
    assert judged((5.0, 5.0), (5.0, 5.0)).outcome is Outcome.NO_DIFFERENCE
    assert judged((5.0, 5.0), (6.0, 6.0)).outcome is Outcome.WORSE


def test_noise_alone_is_seldom_called_and_the_change_said_to_be_seen_mostly_is():
    draw = random.Random(7)

    def figure(effect=1.0):
        base, new = ([draw.lognormvariate(0, 0.03) for _ in range(6)] for _ in range(2))
        return Figure("m", "m", True, tuple(base), tuple(effect * value for value in new), threshold=0.001)

    def called(figures):
        pair = compare.Pair(Side("a", None), Side("a", None), (), (), tuple(figures))
        return any(found.outcome in (Outcome.WORSE, Outcome.BETTER) for found in next(compare.judge([pair])).figures)

    alone = [judged(each.base, each.new).detectable for each in (figure() for _ in range(200))]
    seen = math.exp(statistics.fmean(alone))
    assert sum(called(figure() for _ in range(10)) for _ in range(200)) <= 0.08 * 200
    assert sum(called([figure(seen)]) for _ in range(200)) >= 0.75 * 200


def test_another_package_does_not_compare_unless_it_is_what_is_tested(two, quiet, capsys, tmp_path):
    other = copy.deepcopy(quiet)
    other["fingerprint"]["hashes"]["packages"] = "0" * 16
    other["fingerprint"]["packages"]["torch"] = "9.9.9"
    old = quiet["fingerprint"]["packages"]["torch"]
    assert two(hosts(quiet), hosts(other), "--fail-on", "regression") == 1
    out = capsys.readouterr().out
    assert f"node1 does not compare: they differ in packages: torch {old} → 9.9.9." in out
    assert "not compared" in out
    assert main(["compare", str(tmp_path / "base"), str(tmp_path / "new"), "--across", "driver,packages"]) == 0
    assert "not compared" not in capsys.readouterr().out


def test_a_figure_that_new_lacks_cannot_be_told(two, quiet, capsys):
    broken = copy.deepcopy(quiet)
    broken["probes"]["load"] |= {"status": "failed", "reason": "no server came up", "samples": []}
    assert two(hosts(quiet), hosts(broken), "--fail-on", "regression") == 1
    assert "NEW lacks cold_load_s" in (out := capsys.readouterr().out)
    assert "load failed: no server came up" in out


def test_hosts_are_paired_by_name_and_lost_ones_are_said(two, quiet, capsys, tmp_path):
    base = {"a": {"result": quiet}, "b": {"result": quiet}, "idle": {"state": "skipped"}}
    new = {"a": {"result": quiet}, "b": {"state": "unreachable", "reason": "no route"}, "c": {"result": quiet}}
    assert two(base, new) == 1
    out = capsys.readouterr().out
    assert "b does not compare: NEW has no result of b: no route." in out
    assert "idle: left out" in out
    assert "c: only in NEW." in out
    folders = [str(tmp_path / name) for name in ("base", "new")]
    assert main(["compare", *folders, "--host", "a"]) == 0
    assert main(["compare", f"{folders[0]}/hosts/a", f"{folders[1]}/hosts/c/result.json"]) == 0
    assert "a → c: Figures" in capsys.readouterr().out
    assert main(["compare", folders[0], f"{folders[1]}/hosts/c"]) == 1
    assert "name one with --host" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{}", "nowhere"], "nowhere is neither a run folder, nor a host's folder"),
        (["{}"], "the following arguments are required: NEW"),
        (["{}", "{}", "--host", "node9"], "has no host node9; it has node1"),
        (
            ["{}", "{}", "--metric", "warm_laod_s"],
            "warm_laod_s is no figure of these runs; there are cold_first_token_s",
        ),
        (["{}", "{}", "--threshold", "laod=5"], "laod is no figure of these runs"),
        (["{}", "{}", "--threshold", "cold_load_s"], "is not METRIC=PERCENT"),
        (["{}", "{}", "--threshold", "cold_load_s=-5"], "is not METRIC=PERCENT"),
        (["{}", "{}", "--threshold", "cold_load_s=nan"], "is not METRIC=PERCENT"),
        (["{}", "{}", "--across", "weather"], "is no list of parts; there are hardware"),
        (["{}", "{}", "--fail-on", "monday"], "invalid choice"),
        (["{}", "{}", "--html", "/nowhere/at/all"], "No such file"),
    ],
)
def test_wrong_input_is_one_sentence_and_status_1(sample_run, capsys, arguments, words):
    command = ["compare", *(argument.format(sample_run) for argument in arguments)]
    try:
        status = main(command)
    except SystemExit as ended:
        status = ended.code
    assert status == 1
    assert words in (error := capsys.readouterr().err).splitlines()[-1], error


def test_runs_without_a_measured_host_are_refused(two, capsys):
    assert two({}, {}) == 1
    assert "have no host that both were to measure" in capsys.readouterr().err


def test_a_result_that_is_none_is_refused(sample_run, capsys):
    (broken := sample_run / "broken.json").write_text("{")
    assert main(["compare", str(sample_run), str(broken)]) == 1
    assert capsys.readouterr().err.startswith(f"{broken} cannot be used: it is not valid JSON")


def test_the_files_say_what_the_terminal_says_and_hostile_names_are_text(two, quiet, tmp_path, capsys):
    name = "<script>alert(1)\x1b[2J|"
    files = [f"--{kind}={tmp_path / kind}" for kind in ("html", "markdown", "junit")]
    assert two(hosts(quiet, name), hosts(scaled(quiet, 1.3), name), "--fail-on", "regression", *files) == 2
    out, written = (
        capsys.readouterr().out,
        {kind: (tmp_path / kind).read_text() for kind in ("html", "markdown", "junit")},
    )
    assert "\x1b" not in out + "".join(written.values())
    assert "<script>" not in written["html"] + written["markdown"]
    assert "default-src 'none'" in written["html"]
    assert all("cold_load_s" in text for text in written.values())
    cases = ElementTree.fromstring(written["junit"]).findall(".//testcase")  # noqa: S314 - our own
    assert {case.get("name") for case in cases if case.find("failure") is not None} == {"cold_load_s", "warm_load_s"}
    assert main(["compare", str(tmp_path / "base"), str(tmp_path / "new"), f"--html={tmp_path / 'again'}"]) == 0
    assert (tmp_path / "again").read_bytes() == (tmp_path / "html").read_bytes()


def test_junit_counts_what_it_holds(two, quiet, tmp_path):
    new = hosts(scaled(quiet, 1.3)) | {"gone": {"state": "unreachable", "reason": "no route"}}
    base = hosts(quiet) | {"gone": {"result": quiet}}
    assert two(base, new, "--fail-on", "regression", f"--junit={tmp_path / 'junit'}") == 2
    root = ElementTree.parse(tmp_path / "junit").getroot()  # noqa: S314 - our own
    for name, tag in (("tests", ""), ("failures", "/failure"), ("errors", "/error"), ("skipped", "/skipped")):
        assert int(root.get(name)) == len(root.findall(f".//testcase{tag}"))
    assert root.find("testsuite[@name='gone']/testcase/error").get("message") == "NEW has no result of gone: no route"


def test_of_many_hosts_only_those_with_news_are_shown_in_detail(two, quiet, capsys, tmp_path):
    base = {f"n{number}": {"result": quiet} for number in range(20)}
    new = base | {"n7": {"result": scaled(quiet, 1.3)}}
    assert two(base, new, "--fail-on", "regression", f"--markdown={tmp_path / 'page'}") == 2
    out, page = capsys.readouterr().out, (tmp_path / "page").read_text()
    assert [line for line in out.splitlines() if line.endswith(": Figures")] == ["n7: Figures"]
    assert [line for line in page.splitlines() if line.startswith("## ")] == ["## n7"]
    assert all(f"n{number} " in out for number in range(20))


def test_settings_that_differ_are_shown(two, quiet, capsys):
    other = copy.deepcopy(quiet)
    other["host_memory"]["thp"]["enabled"] = "never"
    assert two(hosts(quiet), hosts(other)) == 0
    assert re.search(r"THP\S* .*never", capsys.readouterr().out)


def test_what_shares_a_process_or_server_is_one_observation(two, gpu_document, capsys):
    """Sixty requests of one server are one value: its luck is theirs."""
    assert two(hosts(gpu_document), hosts(gpu_document)) == 0
    values = {line.split()[0]: re.findall(r"\d+, \d+", line) for line in capsys.readouterr().out.splitlines() if line}
    assert values["h2d_pinned_gib_per_s"][0] == values["concurrent_tokens_per_s"][0] == "1, 1"
    assert values["cold_ready_s"][0] == "2, 2"
    assert values["read_cold_gib_per_s"][0] == "3, 3"
