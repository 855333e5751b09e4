"""A comparison as JUnit XML: a test case per host and figure, as continuous integration shows them."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from . import figures
from .compare import Figure, Outcome, Pair
from .statistics import percent

# What a figure's outcome is to JUnit; a figure that is as it was or better has passed.
ELEMENTS = {
    Outcome.WORSE: "failure",
    Outcome.MISSING: "error",
    Outcome.REFUSED: "error",
    Outcome.INCONCLUSIVE: "skipped",
    Outcome.ADDED: "skipped",
}
COUNTED = {"failures": "failure", "errors": "error", "skipped": "skipped"}


def document(pairs: Sequence[Pair]) -> str:
    """Return the XML, without any time of its own."""
    root = ElementTree.Element("testsuites", name="stethos compare")
    for pair in pairs:
        suite = ElementTree.SubElement(root, "testsuite", name=figures.printable(pair.name))
        for figure in pair.figures:
            _case(suite, pair, figure)
        if pair.doubts:
            case = _named(suite, pair, "compares")
            ElementTree.SubElement(case, "error", message=figures.printable("; ".join(pair.doubts)))
        _count(suite, suite)
    _count(root, root)
    ElementTree.indent(root, " ")
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _case(suite: ElementTree.Element, pair: Pair, figure: Figure) -> None:
    case = _named(suite, pair, figure.name)
    said = f"{figure.outcome}: {figures.percent(percent(figure.change))} %; {figure.why}"
    if element := ELEMENTS.get(figure.outcome):
        ElementTree.SubElement(case, element, message=said)
    else:
        ElementTree.SubElement(case, "system-out").text = said


def _named(suite: ElementTree.Element, pair: Pair, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", classname=figures.printable(pair.name), name=name)


def _count(element: ElementTree.Element, under: ElementTree.Element) -> None:
    """Say how many cases there are, and of which kind."""
    element.set("tests", str(len(under.findall(".//testcase"))))
    for name, tag in COUNTED.items():
        element.set(name, str(len(under.findall(f".//testcase/{tag}"))))
