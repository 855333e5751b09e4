"""What README.md and docs/ say: the figures are the sample's, the links lead somewhere, and the pictures are small."""

import re
import shutil

import pytest
from support import ROOT

from docs import figures, screenshots
from reports import render, run_folder

DOCUMENTS = [*figures.DOCUMENTS, ROOT / "CHANGELOG.md", *sorted(ROOT.glob("roles/*/README.md"))]


@pytest.fixture(scope="module")
def known():
    return figures.blocks(run_folder.read(figures.SAMPLE), run_folder.read(figures.STANDARD))


@pytest.mark.parametrize("document", figures.DOCUMENTS, ids=lambda path: path.name)
def test_the_figures_are_those_of_the_sample(document, known):
    text = document.read_text()
    assert "<!-- figures: " in text
    assert figures.filled(text, known) == text, "make figures puts them there"


def test_the_pages_of_the_sample_are_those_that_its_results_give(tmp_path):
    copy = tmp_path / "h200"
    for name in ("run.json", "hosts/local/baseline.json", "hosts/local/result.json", "hosts/local/state.json"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(figures.SAMPLE / name, copy / name)
    render.render(run_folder.read(copy))
    assert files(figures.SAMPLE) == files(copy)
    differing = [name for name in files(copy) if (copy / name).read_bytes() != (figures.SAMPLE / name).read_bytes()]
    assert differing == [], "make figures renders them"
    assert sum(path.stat().st_size for path in figures.SAMPLE.rglob("*") if path.is_file()) < 5 << 20


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_only_what_stands_between_the_marks_is_replaced():
    text = "a\n<!-- figures: one -->\nold\n<!-- end of figures -->\nb <!-- figures: two --> c\n"
    assert figures.filled(text, {"one": "1\n"}) == text.replace("old", "1")
    with pytest.raises(KeyError):
        figures.filled(text, {})


def test_a_run_without_a_result_has_no_figures(make_run):
    with pytest.raises(ValueError, match="has no result to take figures from"):
        figures.blocks(run_folder.read(make_run({"n": {}})))


def test_seconds_are_said_in_minutes():
    assert [figures.duration(seconds) for seconds in (59.4, 60, 453)] == ["59 s", "1 min 0 s", "7 min 33 s"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    targets = re.findall(r"\]\((?!https?://)([^)#]+)\)", document.read_text())
    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("picture", sorted((ROOT / "docs").glob("*.png")), ids=lambda path: path.name)
def test_pictures_are_small_and_are_taken_again(picture):
    assert picture.stat().st_size <= screenshots.LARGEST_BYTES
    assert picture.name in [each.name for each in screenshots.PICTURES]


@pytest.mark.parametrize("picture", screenshots.PICTURES, ids=lambda picture: picture.name)
def test_pictures_are_of_runs_that_are_there(picture):
    assert (picture.run / "run.json").is_file()
