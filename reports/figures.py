"""Numbers and foreign text as a person reads them. A dash stands for what is not known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

NOTHING = "–"
TEXT_LIMIT = 2000  # characters of one value; a page stays a page whatever a node sends
PERCENT_LIMIT = 1000.0


def seconds(value: float | None) -> str:
    """Milliseconds are the last digit shown: the processes' clocks are finer, their noise is not."""
    if value is None:
        return NOTHING
    return _minus(f"{value:,.3f}" if value < 100 else f"{value:,.0f}")


def mib(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if value >= 10 or not value else f"{value:.1f}"


def count(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}"


def digits(value: float | None) -> str:
    """Rates and milliseconds, which run over many sizes: three digits, and all of those before the point."""
    if value is None:
        return NOTHING
    return _minus(f"{value:,.2f}" if abs(value) < 10 else f"{value:,.1f}" if abs(value) < 100 else f"{value:,.0f}")


def percent(value: float | None, *, signed: bool = True) -> str:
    """`value` is in per cent already. Without the unit, which stands in the header."""
    if value is None:
        return NOTHING
    if abs(value) > PERCENT_LIMIT:
        return f"> {'+' if signed else ''}{PERCENT_LIMIT:,.0f}"
    shown = f"{abs(value):.1f}" if abs(value) < 10 else f"{abs(value):.0f}"
    if not signed or not float(shown):
        return shown
    return f"{'−' if value < 0 else '+'}{shown}"


def interval(low: float | None, high: float | None) -> str:
    """Two per cent values; an end that two blocks leave wide open is shown as such."""
    return NOTHING if low is None or high is None else f"{percent(low)} … {percent(high)}"


def ratio(log_ratio: float) -> str:
    value = math.exp(max(-50.0, min(50.0, log_ratio)))
    return f"{value:.2f}" if value < 1000 else "> 1,000"


def listed(things: Sequence[str]) -> str:
    """As in `a, b and c`."""
    return " and ".join(filter(None, (", ".join(things[:-1]), *things[-1:])))


def plural(number: int, thing: str, things: str = "") -> str:
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def printable(value: Any) -> str:
    """Return text in which control characters, bidirectional marks and lone surrogates are visible and harmless."""
    text = " ".join(str(value).splitlines()) if not isinstance(value, str) or not value.isprintable() else value
    if len(text) > TEXT_LIMIT:
        text = f"{text[:TEXT_LIMIT]}… ({len(text):,} characters)"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _minus(shown: str) -> str:
    """Write a real minus sign, and none before zero."""
    return shown.replace("-", "−") if shown.strip("-0.,") else shown.removeprefix("-")
