"""What to do on this host, first of all sections: each advice with its effect, its evidence and its cost."""

from __future__ import annotations

import json

from . import figures, recommendations, tables
from .recommendations import Recommendation
from .run_folder import Host
from .statistics import percent
from .tables import Cell, Column, Section, Table

NOTHING_TO_DO = "Nothing has to be changed by these measurements."
NOTHING_KNOWN = "Nothing can be advised: there is no measurement to rest it on."


def sentences(host: Host) -> list[str]:
    """Say what is to be done, most important first."""
    found = recommendations.of(host)
    to_do = [each.advice for each in found if each.changes]
    return to_do or [NOTHING_TO_DO if found else NOTHING_KNOWN]


def section(host: Host) -> Section | None:
    found = recommendations.of(host)
    if not found:
        return None
    to_do = [each for each in found if each.changes]
    others = [each for each in found if not each.changes]
    return Section(
        "what-to-do",
        "What to do, and on what it rests",
        sentences=() if to_do else (NOTHING_TO_DO,),
        tables=(_table("Recommended changes", to_do),) if to_do else (),
        details=(*([_table("What may stay", others)] if others else []), _evidence_table(to_do + others)),
    )


def _table(title: str, found: list[Recommendation]) -> Table:
    return Table(
        title,
        (
            Column("Subject"),
            Column("Advice", wide=True),
            Column("Effect", "%", numeric=True),
            Column("95 % interval", "%", numeric=True),
            Column("Cost", wide=True),
            Column("Basis"),
        ),
        tuple(
            (
                tables.text(each.subject),
                tables.text(each.advice, "changed" if each.changes else ""),
                *_effect(each),
                tables.text(each.cost),
                tables.text(each.basis),
            )
            for each in found
        ),
    )


def _evidence_table(found: list[Recommendation]) -> Table:
    return Table(
        "Evidence, and the variables that do it",
        (Column("Subject"), Column("Evidence", wide=True), Column("Variables", wide=True)),
        tuple(
            (
                tables.text(each.subject),
                tables.text(" ".join(each.evidence)),
                tables.text("; ".join(f"{name}: {json.dumps(value)}" for name, value in each.variables.items())),
            )
            for each in found
        ),
    )


def _effect(each: Recommendation) -> tuple[Cell, Cell]:
    """Return the cells of effect and interval, the metric beside the figure."""
    if each.effect is None or each.effect.estimate.mean is None:
        return tables.text(""), tables.text("")
    found = each.effect.estimate
    shown = f"{figures.percent(percent(found.mean))} ({each.effect.metric.title})"
    return Cell(shown, percent(found.mean)), tables.text(figures.interval(percent(found.low), percent(found.high)))
