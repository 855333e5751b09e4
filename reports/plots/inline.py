"""Makes matplotlib's SVG a part of a page: its colours the page's own, no ids, no styles, few digits, words for all."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from markupsafe import Markup, escape

from .. import figures
from .drawing import FONT, ROLES

SVG = "{http://www.w3.org/2000/svg}"
SHAPES = ("path", "text")
# Of what matplotlib states about a shape, what a page needs; the font is the page's.
KEPT = (
    "d",
    "x",
    "y",
    "transform",
    "fill",
    "fill-opacity",
    "stroke",
    "stroke-width",
    "stroke-opacity",
    "stroke-dasharray",
    "stroke-linecap",
    "opacity",
    "font-size",
    "text-anchor",
)
DEFAULTS = {("font-size", f"{FONT}px"), ("stroke-linecap", "butt"), ("stroke-linejoin", "round"), ("fill", "#000000")}
NUMBER = re.compile(r"-?\d+\.\d+")
NO_TURN = re.compile(r"rotate\(-?0 [^)]*\)")
POINT = re.compile(r"M (\S+) (\S+) L \1 \2(?= |$)")  # a stroke without length


def element(drawn: str, alternative: str) -> Markup:
    """Return the SVG as an element of a page, `alternative` being what it says to those who do not see it."""
    root = ElementTree.fromstring(drawn)  # noqa: S314 - matplotlib wrote it
    shapes = "\n".join(_shape(found) for found in root.iter() if found.tag in {SVG + name for name in SHAPES})
    words = escape(figures.printable(alternative))
    return Markup(  # noqa: S704 - every value in it is escaped
        f'<svg class="plot" viewBox="{escape(root.get("viewBox"))}" role="img" aria-label="{words}">\n{shapes}\n</svg>'
    )


def _shape(found: ElementTree.Element) -> str:
    name = found.tag.removeprefix(SVG)
    stated = dict(found.attrib)
    stated |= dict(re.findall(r"([\w-]+): ([^;]+)", stated.pop("style", "")))
    kept = {key: _value(key, stated[key]) for key in KEPT if key in stated and (key, stated[key]) not in DEFAULTS}
    attributes = "".join(f' {key}="{escape(value)}"' for key, value in kept.items() if value)
    return f"<text{attributes}>{escape(found.text or '')}</text>" if name == "text" else f"<path{attributes}/>"


def _value(key: str, value: str) -> str:
    if key in ("fill", "stroke"):
        return f"var(--{ROLES[value]})" if value in ROLES else value
    if key == "d":
        value = POINT.sub(r"M\1 \2h0", NUMBER.sub(_rounded, " ".join(value.split())))
        return re.sub(r" ?([MLz]) ?", r"\1", value)
    if key == "transform":
        value = NO_TURN.sub("", value).strip()
    return NUMBER.sub(_rounded, value)


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.1f}".removesuffix(".0")
