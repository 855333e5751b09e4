"""The command `compare`: its options, what it writes, and its exit status."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from . import compare, compare_inputs, compare_junit, compare_page, figures, render, terminal
from .compare import ACROSS, Pair, Wishes
from .limits import REGRESSION

REGRESSED, UNTOLD, FINE = 2, 1, 0
DETAILED = 3  # hosts whose tables a terminal shows; the files have all
EPILOG = """\
Exit status: 0; 2 with --fail-on regression when a figure is worse by more than its threshold and by more than noise
explains; 1 when the two do not compare, when NEW lacks a figure of BASE, when no figure of a host could be tested, and
for wrong input. Inconclusive figures do not change the status: they are counted, and the table says from what on a
change would be seen.
"""


def add(commands: argparse._SubParsersAction) -> None:
    """Offer the command among others."""
    offered = commands.add_parser("compare", help=run.__doc__, description=run.__doc__, epilog=EPILOG)
    where = "a run folder, a host's folder in one, or a result.json"
    offered.add_argument("base", metavar="BASE", type=Path, help=where)
    offered.add_argument("new", metavar="NEW", type=Path, help=where)
    offered.add_argument(
        "--more-base",
        metavar="RUN",
        type=Path,
        action="append",
        default=[],
        help="another run like BASE, may be repeated: NEW is then held against what such runs differ by of themselves",
    )
    offered.add_argument("--host", metavar="NAME", help="compare this host only")
    offered.add_argument(
        "--across",
        metavar="PART,…",
        type=_parts,
        default=(),
        help=f"what is being tested, and so may differ: {', '.join(ACROSS)}",
    )
    offered.add_argument(
        "--metric",
        action="append",
        default=[],
        help="a figure to look at, as warm_load_s or 'warm_*'; may be repeated. The fewer, the more is seen of each",
    )
    offered.add_argument(
        "--threshold",
        metavar="METRIC=PERCENT",
        type=_threshold,
        action="append",
        default=[],
        help=f"how much worse a figure may be (default {100 * REGRESSION:g}); the last one that fits counts",
    )
    offered.add_argument("--fail-on", choices=["regression"], help="end with status 2 when a figure regressed")
    for name, what in (("markdown", "Markdown"), ("html", "a page"), ("junit", "JUnit XML")):
        offered.add_argument(f"--{name}", metavar="FILE", type=Path, help=f"write it as {what}")
    offered.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> int:
    """Show two runs, or two hosts, side by side, and say what is better or worse."""
    sides, left_out = compare_inputs.pairs(chosen.base, chosen.new, chosen.host, chosen.more_base)
    pairs = compare.compare(sides, Wishes(chosen.across, tuple(chosen.metric), tuple(chosen.threshold)))
    page = compare_page.page(str(chosen.base), str(chosen.new), pairs, left_out)
    for file, make in (
        (chosen.markdown, lambda: render.to_markdown("compare", page)),
        (chosen.html, lambda: render.to_html("compare", page)),
        (chosen.junit, lambda: compare_junit.document(pairs)),
    ):
        if file:
            file.write_text(make(), encoding="utf-8")
    _show(page)
    return status(pairs, chosen.fail_on)


def status(pairs: Sequence[Pair], fail_on: str | None) -> int:
    """Return what is known to be worse before what could not be told."""
    if fail_on and compare.regressed(pairs):
        return REGRESSED
    return FINE if all(pair.told for pair in pairs) else UNTOLD


def _show(page: dict[str, Any]) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    for sentence in page["sentences"]:
        terminal.say(console, sentence)
    if page["overview"]:
        terminal.show(console, page["overview"])
    for section in page["sections"][:DETAILED]:
        for table in (*section.tables, *section.details):
            terminal.show(console, table, f"{section.title}: {table.title}")
    more = len(page["sections"]) - DETAILED
    if more > 0:
        terminal.say(console, f"{figures.plural(more, 'more host')}: see --html or --markdown.")


def _parts(text: str) -> tuple[str, ...]:
    parts = tuple(filter(None, text.split(",")))
    unknown = [part for part in parts if part not in ACROSS]
    if unknown or not parts:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of parts; there are {', '.join(ACROSS)}")
    return parts


def _threshold(text: str) -> tuple[str, float]:
    name, _, share = text.rpartition("=")
    try:
        percent = float(share)
    except ValueError:
        percent = math.nan
    if not name or not 0 < percent <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not METRIC=PERCENT with a percentage above 0, as warm_load_s=5")
    return name, percent
