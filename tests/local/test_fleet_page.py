"""The fleet's page in a real browser, from disk: no complaint, and sorting, filtering and folding work."""

import copy
import json

import pytest
from local import browser as chromium
from support import ROOT

from reports import render, run_folder

pytestmark = pytest.mark.skipif(chromium.PROGRAM is None, reason="no chromium on this machine")
SAMPLE = ROOT / "tests/unit/reports/samples/run/hosts/node1/result.json"
EVIL = "<script>alert(1)<\N{DIVISION SLASH}script>"
ROWS = "[...document.querySelectorAll('#fleet tbody tr')].filter((row) => !row.hidden)"
NAMES = f"{ROWS}.map((row) => row.cells[0].textContent)"
LOADS = f"{ROWS}.map((row) => row.cells[5].textContent)"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Eight nodes alike but for one that is slow and one set otherwise, and three that are dead."""
    folder = tmp_path_factory.mktemp("run")
    names = [f"gpu{number}" for number in range(8)]
    document = json.loads(SAMPLE.read_text())
    for number, name in enumerate(names):
        made = copy.deepcopy(document)
        for row in made["probes"]["load"]["samples"]:
            row["load_s"] *= 3 if name == "gpu5" else 1 + number / 1000
        if name == "gpu6":
            made["host_memory"]["thp"]["defrag"] = "always"
        (folder / "hosts" / name).mkdir(parents=True)
        (folder / "hosts" / name / "result.json").write_text(json.dumps(made))
    dead = {
        "dead10": ("unreachable", "no route to host"),
        "dead9": ("unreachable", "no route to host"),
        EVIL: ("failed", 'a "quoted"\nreason'),
    }
    entries = {name: {"state": "ok", "phase": "report", "reason": ""} for name in names}
    entries |= {name: {"state": state, "phase": "tune", "reason": reason} for name, (state, reason) in dead.items()}
    told = {"schema_version": 1, "run_id": "r1", "started": "2026-11-21T02:00:00+00:00", "finished": None}
    (folder / "run.json").write_text(json.dumps({**told, "hosts": entries}))
    render.render(run_folder.read(folder))
    return folder


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with chromium.browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(tab, run):
    tab.said.clear()
    tab.open(run / "index.html")
    yield tab
    assert tab.said == []


def said(page):
    return page.run("document.getElementById('count').textContent")


def choose(page, control, value):
    """Set a control as its user would, and let the page know."""
    what = "checked" if isinstance(value, bool) else "value"
    page.run(f"{{ const c = document.getElementById('{control}'); c.{what} = {json.dumps(value)};"
             " c.dispatchEvent(new Event('input', {bubbles: true})); }")  # fmt: skip


def test_folds_what_is_alike_and_opens_it(page):
    assert said(page) == "11 of 11 hosts shown in 5 lines"
    names = [name.partition(":")[0] for name in page.run(NAMES)]
    assert names == ["2 alike", EVIL, "gpu5", "6 alike", "gpu6"]
    page.run("document.querySelectorAll('#fleet .group button')[1].focus()")
    page.press("Enter", 13)
    assert page.run("document.activeElement.getAttribute('aria-expanded')") == "true"
    assert page.run(NAMES)[4:] == ["gpu0", "gpu1", "gpu2", "gpu3", "gpu4", "gpu7", "gpu6"]
    page.press("Enter", 13)
    assert len(page.run(NAMES)) == 5


def test_sorts_by_number_and_by_name(page):
    choose(page, "fold", False)
    button = "document.querySelectorAll('#fleet thead button')[{}]"
    page.run(button.format(5) + ".focus()")
    state = button.format(5) + ".parentElement.getAttribute('aria-sort')"
    page.press("Enter", 13)
    assert page.run(state) == "ascending"
    loads = page.run(LOADS)
    assert loads == [*sorted(loads[:8], key=float), "–", "–", "–"]
    page.press("Enter", 13)
    assert page.run(state) == "descending"
    assert page.run(NAMES)[0] == "gpu5"
    assert page.run(LOADS)[8:] == ["–"] * 3  # what was not measured stays last
    page.press("Enter", 13)
    assert page.run(state) is None
    page.run(button.format(0) + ".click()")
    assert page.run(NAMES)[1:3] == ["dead9", "dead10"]  # as a person counts


def test_filters_by_text_state_kind_and_twins(page):
    choose(page, "find", "DEAD")
    assert said(page) == "2 of 11 hosts shown in 1 line"
    choose(page, "find", "no route 9")
    assert (said(page), page.run(NAMES)) == ("1 of 11 hosts shown", ["dead9"])
    choose(page, "find", "nothing has this")
    assert (said(page), page.run(NAMES)) == ("0 of 11 hosts shown", [])
    choose(page, "find", "")
    choose(page, "state", "failed")
    assert page.run(NAMES) == [EVIL]
    choose(page, "state", "")
    choose(page, "kind", "0")
    assert said(page).startswith("8 of 11")
    choose(page, "odd", True)
    assert page.run(NAMES) == ["gpu5"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_fits_a_phone_and_a_desk(tab, run, tmp_path, width, scheme):
    tab.said.clear()
    tab.open(run / "index.html", width=width, scheme=scheme)
    assert tab.run("document.documentElement.scrollWidth") <= width
    tab.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000
    assert tab.said == []


def test_reads_without_its_script(tab, run):
    tab.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        tab.open(run / "index.html")
        assert len(tab.run(NAMES)) == 11
        assert tab.run("document.getElementById('tools').hidden")
    finally:
        tab.ask("Emulation.setScriptExecutionDisabled", value=False)


def test_no_other_script_runs(tab, run):
    tab.open(run / "index.html")
    tab.run(
        "{ const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s); }"
    )
    assert tab.run("window.ran") is None
    assert any("Content Security Policy" in each for each in tab.said)
    tab.said.clear()
