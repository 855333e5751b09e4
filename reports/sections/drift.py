"""What drifted since the node was certified: what, from what to what, what sets it now, and since when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import figures, plots, tables
from ..loose import mapping, mappings, number
from ..plots import Plot
from ..run_folder import Host
from ..tables import Cell, Column, Section, Table

DRIFTED = "drifted"
COLUMNS = (
    Column("What"),
    Column("Kind"),
    Column("Certified"),
    Column("Inventory"),
    Column("Now"),
    Column("After tuning"),
    Column("Set by"),
    Column("Written"),
    Column("Package"),
    Column("Since run"),
    Column("In words", wide=True),
)
TIMELINES = 6
OPTIONAL = ("Inventory", "After tuning")  # shown where there is any


def section(host: Host) -> Section | None:
    """Return what drift.json says of the host, None where drift was not asked for."""
    if not host.drift:
        return None
    found = mappings(host.drift.get("findings"))
    drifted = [each for each in found if each.get("word") == DRIFTED]
    known = mapping(host.drift.get("figures"))
    return Section(
        "drift",
        "Drift",
        sentences=(
            _verdict(host.drift, drifted),
            *(f"Could not tell: {each.get('what')}: {each.get('sentence')}." for each in found if each not in drifted),
        ),
        tables=(_table(drifted),) if drifted else (),
        details=(_figures(known),) if known else (),
        figures=plots.some(*map(_timeline, _shown(known))),
    )


def _verdict(judged: Mapping[str, Any], drifted: list[dict[str, Any]]) -> str:
    against = f"Held against {judged.get('against')}"
    against += f" (run {judged['certified_in']})" if judged.get("certified_in") else ""
    if not drifted:
        return f"{against}: {'nothing drifted' if judged.get('code') == 0 else 'whether it drifted cannot be told'}."
    counted = {kind: sum(each.get("kind") == kind for each in drifted) for kind in _kinds(drifted)}
    said = f"{against}: {figures.listed([f'{number} of {kind}' for kind, number in counted.items()])} drifted."
    if "version" in counted:
        said += " Figures from before do not compare with those of now, so performance was not judged."
    return said


def _shown(known: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the figures to look at: what changed first, of the others what has a past."""
    drawn = [each for each in map(mapping, known.values()) if len(mappings(each.get("points"))) > 1]
    return sorted(drawn, key=lambda each: not each.get("since"))[:TIMELINES]


def _timeline(figure: Mapping[str, Any]) -> Plot:
    points = [(str(each.get("run_id")), number(each.get("value"))) for each in mappings(figure.get("points"))]
    known = [(label, value) for label, value in points if value is not None]
    labels = [label for label, _ in known]
    change = labels.index(figure["since"]) if figure.get("since") in labels else None
    return plots.timeline(str(figure.get("title")), known, "", number(figure.get("limit")), change)


def _kinds(drifted: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(str(each.get("kind")) for each in drifted))


def _table(drifted: list[dict[str, Any]]) -> Table:
    rows = [_row(each) for each in drifted]
    kept = [
        place
        for place, column in enumerate(COLUMNS)
        if column.title not in OPTIONAL or any(row[place].text != figures.NOTHING for row in rows)
    ]
    return Table(
        "What differs from the certificate or the inventory",
        tuple(COLUMNS[place] for place in kept),
        tuple(tuple(row[place] for place in kept) for row in rows),
    )


def _row(found: Mapping[str, Any]) -> tuple[Cell, ...]:
    setters = mappings(found.get("set_by"))
    files = [f"{each.get('file')}{':' + str(each['line']) if each.get('line') else ''}" for each in setters]
    return (
        *(tables.text(found.get(name)) for name in ("what", "kind", "certified", "wanted")),
        tables.text(found.get("now"), "changed"),
        tables.text(found.get("after")),
        tables.text(", ".join(files)),
        *(
            tables.text(", ".join(dict.fromkeys(str(each.get(name) or "") for each in setters)))
            for name in ("modified", "package")
        ),
        tables.text(found.get("since")),
        tables.text(found.get("sentence")),
    )


def _figures(known: Mapping[str, Any]) -> Table:
    rows = []
    for name, figure in ((name, mapping(each)) for name, each in known.items()):
        certified, limit, value = (number(figure.get(each)) for each in ("certified", "limit", "value"))
        rows.append(
            (
                tables.text(figure.get("title") or name),
                *(Cell(figures.digits(each), each) for each in (certified, limit, value)),
                tables.text(figure.get("trend")),
                tables.percent(number(figure.get("change_percent"))),
                tables.text(figure.get("since")),
                tables.count(len(mappings(figure.get("points"))) - 1),
            )
        )
    return Table(
        "Figures against certificate and earlier runs",
        (
            Column("Figure"),
            Column("Certified", numeric=True),
            Column("Limit", numeric=True),
            Column("Now", numeric=True),
            Column("Trend"),
            Column("Change", "%", numeric=True),
            Column("Since run"),
            Column("Runs before", numeric=True),
        ),
        tuple(rows),
    )
