"""The host page in headless Chromium, opened from disk: no complaints, and room for everything at any width."""

import shutil

import pytest
from local.browser import PROGRAM, browser
from support import ROOT

from reports import render, run_folder

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs Debian's chromium")

SAMPLES = {
    "an H200": (ROOT / "reports/samples/h200", "local"),
    "two cores": (ROOT / "tests/unit/reports/samples/run", "node1"),
    "a dead node": (ROOT / "tests/unit/reports/samples/run", "node2"),
}
WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# Text of plots that reaches out of its own plot by more than a hair would lie on what stands beside it.
SPILLS = """[...document.querySelectorAll("svg.plot text")].filter(text => {
  const [inner, outer] = [text, text.ownerSVGElement].map(each => each.getBoundingClientRect());
  return inner.left < outer.left - 2 || inner.right > outer.right + 2 || inner.top < outer.top - 2;
}).map(text => text.textContent)"""
COLOURS = """[...new Set([...document.querySelectorAll("svg.plot path")].map(path => getComputedStyle(path).stroke))]"""
GROUND = "getComputedStyle(document.body).backgroundColor"
UNNAMED = """[...document.querySelectorAll("svg, table, section, nav")].filter(each =>
  !each.ariaLabel && !document.getElementById(each.getAttribute("aria-labelledby"))).length"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Return each sample's page by name."""
    found = {}
    for name, (sample, host) in SAMPLES.items():
        run = shutil.copytree(sample, tmp_path_factory.mktemp("runs") / "run")
        render.render(run_folder.read(run))
        found[name] = run / "hosts" / host / "index.html"
    return found


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("sample", SAMPLES)
def test_a_page_fits_its_window_and_has_nothing_to_complain_of(pages, tab, tmp_path, sample, width, scheme):
    tab.open(pages[sample], width=width, scheme=scheme)
    tab.screenshot(tmp_path / f"{width}-{scheme}.png")
    assert tab.said == []
    assert tab.run(WIDE) <= 0
    assert tab.run(SPILLS) == []
    assert tab.run(UNNAMED) == 0


def test_dark_has_other_colours_than_light_and_plots_go_along(pages, tab):
    seen = {}
    for scheme in ("light", "dark"):
        tab.open(pages["an H200"], scheme=scheme)
        seen[scheme] = (tab.run(GROUND), set(tab.run(COLOURS)) - {"none"})
    assert seen["light"][0] != seen["dark"][0]
    assert len(seen["light"][1]) > 2
    assert not seen["light"][1] & seen["dark"][1]


def test_on_paper_what_was_folded_is_open(pages, tab):
    tab.open(pages["an H200"])
    visible = '[...document.querySelectorAll("details .table")].map(each => each.checkVisibility())'
    assert set(tab.run(visible)) == {False}
    tab.ask("Emulation.setEmulatedMedia", media="print")
    assert set(tab.run(visible)) == {True}
    tab.ask("Emulation.setEmulatedMedia", media="")


def test_every_link_within_the_page_leads_somewhere(pages, tab):
    tab.open(pages["an H200"])
    links = '[...document.querySelectorAll("a[href^=\\"#\\"]")].map(a => !!document.querySelector(a.hash))'
    found = tab.run(links)
    assert len(found) >= 7
    assert all(found)
