"""Plots: the same bytes twice, words for everything drawn, nothing foreign unescaped, poor data drawn as what it is."""

import math
import os
import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest
from support import ROOT

from reports import plots, run_folder, sections
from reports.plots import Axis, Mark, Series, curves, dots, kinds, stacks, svg, timeline
from reports.plots.drawing import apart

EVIL = '<script>alert("1")</script>'
X, Y = Axis("requests at once", log=True), Axis("throughput", "tokens/s")
POINTS = ((1, 100.0), (2, 180.0))


def shapes(plot):
    """Return a plot's paths and texts, which have to be well-formed, without ids, styles, scripts or links."""
    text = svg(plot)
    root = ElementTree.fromstring(text)  # noqa: S314 - it is ours
    assert {element.tag for element in root} <= {"path", "text"}
    assert all(not {"id", "style", "href", "class"} & set(element.attrib) for element in root)
    assert root.get("role") == "img"
    assert len(text) < 25_000
    return (
        root.get("aria-label"),
        [e for e in root if e.tag == "path"],
        [e.text for e in root if e.tag == "text"],
    )


def spots(paths):
    """Return how many dots are drawn."""
    return sum(path.get("d").count("h0") for path in paths)


def example():
    return [
        dots("First generation", "s", [("glibc", [1.2, 1.3], 1.25), ("jemalloc", [1.1], 1.1)]),
        stacks("Load", "s", ["imports", "weights"], [("cold", [3.0, 1.0]), ("warm", [2.5, None])]),
        curves("Throughput", X, Y, [Series("measured", POINTS, POINTS)], [Mark(2, "full")]),
        timeline("Cold load", [("run 1", 3.0), ("run 2", 3.1), ("run 3", 4.0)], "s", 3.5, 2),
    ]


def test_the_same_bytes_in_another_process_whatever_its_matplotlib_is_set_to(tmp_path):
    (tmp_path / "matplotlibrc").write_text("font.size: 30\nlines.color: red\naxes.grid: True\nsvg.fonttype: path\n")
    program = (
        "from reports.plots import svg, timeline; print(svg(timeline('t', [('a', 1.0), ('b', 2.0)], 's', 3.0, 1)))"
    )
    environment = {**os.environ, "MATPLOTLIBRC": str(tmp_path), "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == svg(timeline("t", [("a", 1.0), ("b", 2.0)], "s", 3.0, 1)) + "\n"


@pytest.mark.parametrize("plot", example(), ids=lambda plot: plot.title)
def test_colours_are_the_pages_own(plot):
    _, paths, _ = shapes(plot)
    drawn = {path.get(key) for path in paths for key in ("fill", "stroke")} - {None, "none"}
    assert drawn
    assert all(re.fullmatch(r"var\(--(ink|soft|line|plot-[1-6])\)", colour) for colour in drawn)


def test_samples_are_dots_with_their_median_in_figures_and_words():
    words, paths, texts = shapes(dots("First generation", "s", [("glibc", [1.2, 1.3], 1.25), ("jemalloc", [1.1], 1.1)]))
    assert spots(paths) == 3
    assert {"glibc", "jemalloc", "1.25", "1.1"} <= set(texts)
    assert words == ("First generation, s. glibc: median 1.25, 2 samples 1.2, 1.3; jemalloc: median 1.1, 1 sample 1.1.")


def test_stages_are_laid_end_to_end_and_one_that_is_not_known_is_left_out():
    plot = stacks("Load", "s", ["imports", "weights"], [("cold", [3.0, 1.0]), ("warm", [2.5, None])])
    words, paths, texts = shapes(plot)
    assert [path.get("fill") for path in paths if path.get("fill") != "none"] == [
        *("var(--plot-1)", "var(--plot-2)"),
        "var(--plot-1)",
    ]
    assert {"cold", "warm", "4", "2.5"} <= set(texts)
    assert "cold: imports 3, weights 1, together 4; warm: imports 2.5, weights 0, together 2.5." in words


def test_a_curve_names_its_moments_and_limits():
    plot = curves("T", X, Y, [Series("m", ((1, 100.0), (8, 400.0)))], [Mark(8, "saturated")], [Mark(500.0, "most")])
    words, _, texts = shapes(plot)
    assert {"saturated", "most", "1", "8"} <= set(texts)
    assert words == (
        "T: throughput, tokens/s against requests at once. m: 100 at 1, 400 at 8; saturated at 8; most: 500."
    )


def test_moments_off_the_axis_are_left_out_and_one_just_before_the_first_reading_is_not():
    readings = Series("GPU", line=tuple((float(at), 5.0) for at in range(101)))
    plot = curves("T", Axis("since the spawn", "s"), Y, [readings], [Mark(-1, "start"), Mark(300, "gone")])
    assert [mark.label for mark in plot.moments] == ["start"]


def test_a_timeline_shows_the_limit_and_where_it_changed():
    plot = timeline("Cold load", [("run 1", 3.0), ("run 2", 3.1), ("run 3", 4.0)], "s", limit=3.5, change=2)
    assert plot.legend == ("before the change", "since the change")
    words, paths, texts = shapes(plot)
    assert spots(paths) == 3
    assert {"run 1", "run 3", "certified limit", "change"} <= set(texts)
    assert words.endswith("since the change: 4 at run 3; change at run 3; certified limit: 3.5.")


def test_a_timeline_without_limit_or_change_is_one_series():
    assert timeline("Cold load", [("a", 3.0), ("b", 3.1)], "s").legend == ()


@pytest.mark.parametrize(
    "plot",
    [
        dots("t", "s", []),
        dots("t", "s", [("none", [], None), ("not a number", [math.nan, math.inf], math.nan)]),
        stacks("t", "s", ["a"], [("none", [None]), ("zero", [0.0]), ("odd", [math.nan])]),
        curves("t", X, Y, []),
        curves("t", X, Y, [Series("s", ((0, 1.0), (-1, 1.0), (1, math.nan)), ((math.inf, 1.0),))], [Mark(1, "x")]),
        timeline("t", [], "s", 3.0, 0),
        timeline("t", [("r", math.nan)], "s"),
    ],
)
def test_nothing_to_draw_is_said(plot):
    words, paths, texts = shapes(plot)
    assert plot.empty
    assert plots.some(plot) == ()
    assert (paths, texts) == ([], ["no figures"])
    assert words.endswith("no figures.")


@pytest.mark.parametrize(
    "plot",
    [
        dots("t", "s", [("one", [2.0], 2.0)]),
        dots("t", "s", [("zero", [0.0, 0.0], 0.0)]),
        dots("t", "s", [("huge", [1e18, -1e18], 0.0)]),
        dots("t", "s", [("tiny", [1e-300, 1e-308], 1e-300)]),
        dots("t", "s", [("", [1.0], 1.0)]),
        stacks("t", "s", ["a"], [("one", [1e-9])]),
        curves("t", X, Y, [Series("s", ((4, 2.0),))], [Mark(4, "here")]),
        curves("t", X, Axis("y", log=True), [Series("s", ((1, 1e-300), (1e18, 1e18)))]),
        curves("t", Axis("x"), Y, [Series("s", ((0, 0.0),), ((0, 0.0),))], [], [Mark(0, "none")]),
        timeline("t", [("r", 0.0)], "s", 0.0, 0),
    ],
)
def test_one_point_and_odd_sizes_are_drawn(plot):
    words, paths, _ = shapes(plot)
    assert paths
    assert "nan" not in svg(plot)
    assert words


def test_hostile_names_are_text():
    names = [EVIL, "$\\frac{$", "a\nb\x00\ud800\u202e", "漢字" * 3000, "&amp;", "' onload=x"]
    axis = Axis(EVIL, EVIL)
    drawn = [
        dots(EVIL, EVIL, [(name, [1.0], 1.0) for name in names]),
        stacks(EVIL, EVIL, names, [(name, [1.0] * len(names)) for name in names]),
        curves(EVIL, axis, axis, [Series(name, ((1, 1.0),)) for name in names], [Mark(1, EVIL)], [Mark(1, EVIL)]),
        timeline(EVIL, [(name, 1.0) for name in names], EVIL),
    ]
    for plot in drawn:
        text = svg(plot)
        assert "<script" not in text
        words, _, _ = shapes(plot)
        assert words.startswith(EVIL)


def test_what_one_node_sent_does_not_make_a_plot_endless():
    wave = tuple((float(at), 100 * math.sin(at)) for at in range(50_000))
    rows = dots("t", "s", [(str(number), [float(n) for n in range(2000)], 1.0) for number in range(100)])
    assert (len(rows.rows), rows.title) == (40, "t, the first 40 of 100")
    assert len(rows.rows[0].values) == 300
    plot = curves("t", Axis("x"), Y, [Series("s", wave, wave)] * 50, [Mark(at, f"m{at}") for at in range(900)])
    assert (len(plot.series), len(plot.series[0].dots), len(plot.moments)) == (6, 300, 24)
    one = curves("t", Axis("x"), Y, [Series("s", line=wave)])
    assert len(shapes(one)[0]) < 400


def test_thinning_keeps_the_ends_and_every_peak():
    flat = [(float(at), 0.0) for at in range(10_000)]
    flat[5_001], flat[777] = (5_001.0, 9.0), (777.0, -9.0)
    found = kinds.thinned(flat)
    assert {flat[0], flat[777], flat[5_001], flat[-1]} <= set(found)
    assert len(found) <= kinds.SHOWN_READINGS
    assert list(found) == sorted(found)


@pytest.mark.parametrize(
    ("places", "wanted"),
    [([], []), ([50.0], [50.0]), ([10, 12, 14], [10, 20, 30]), ([95, 97], [90, 100]), ([99, 99.5, 100], [80, 90, 100])],
)
def test_names_of_moments_move_apart_and_stay_inside(places, wanted):
    assert apart(places, 10, 100) == wanted


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.12345, "0.1235"),
        (12.0, "12"),
        (130129.0, "130,129"),
        (-3.5, "−3.5"),
        (1e-9, "1.00e−09"),
        (1e18, "1.00e+18"),
    ],
)
def test_figures_on_an_axis_are_short(value, text):
    assert kinds.short(value) == text


def test_a_servers_probes_have_the_plots_people_look_for(make_run, gpu_document):
    (host,) = run_folder.read(make_run({"n": {"result": gpu_document}})).hosts()
    found = {section.anchor: [plot.title for plot in section.figures] for section in sections.of(host)}
    assert found == {
        "settings": [],
        "load": ["Load stages, medians", "Load, tokenizer to first token"],
        "memory": [],
        "allocators": ["First generation"],
        "serving": [
            "Spawn to ready",
            "First token",
            "GPU memory over time, cold, pair 1",
            "GPU memory over time, warm, pair 1",
        ],
        "kv": ["Footprint against max-model-len", "Capacity against max-model-len"],
        "batching": ["Throughput against concurrency", "First token against concurrency"],
        "curves": ["First token against prompt length"],
        "bandwidth": ["Repeated generation in one process"],
        "pressure": ["Load, by the room left for the model's files"],
        "environment": [],
    }


def test_the_saturation_point_and_the_phases_are_marked(make_run, gpu_document):
    (host,) = run_folder.read(make_run({"n": {"result": gpu_document}})).hosts()
    plot = {plot.title: plot for section in sections.of(host) for plot in section.figures}
    assert plot["Throughput against concurrency"].moments == (Mark(32, "saturated"),)
    phases = [mark.label for mark in plot["GPU memory over time, cold, pair 1"].moments]
    assert phases == ["start", "first request", "next requests"]


def test_a_node_without_gpu_shows_the_memory_of_its_processes(make_run, cpu_document):
    (host,) = run_folder.read(make_run({"n": {"result": cpu_document}})).hosts()
    titles = [plot.title for section in sections.of(host) for plot in section.figures]
    assert "PSS of the server's processes over time, cold, pair 1" in titles
