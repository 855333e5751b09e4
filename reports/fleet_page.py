"""The fleet's page and fleet.json as data: every host in a row, those alike folded, what stands out, what differs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import compress
from typing import Any

from . import figures, fleet, fleet_groups, fleet_settings, fleet_strips, fleet_twins, tables
from .fleet import SEVERITY, Row
from .fleet_settings import Differing
from .fleet_strips import Strip
from .fleet_twins import Outlier
from .limits import OUTLIER_MARGIN, TWINS_LEAST
from .run_folder import Run
from .sections import settings
from .statistics import CALLED
from .tables import Cell, Column, Section, Table

NAMED = 10  # hosts that a line names; fleet.json has all
NAMED_ALIKE = 3  # the same of a line that can be opened
SAID = 5  # hosts or settings that the summary names
TONES = {"worse": "bad", "better": "good", "": ""}
LABEL_LIMIT = 80  # characters of a kind's name
IN_MARKDOWN = 100  # groups: a comment on a pull request takes 64 KiB
COMPARING = ("figures", "found")  # of a row, what only the comparison with others needs
SHOWN = (
    ("cold_load_s", Column("Cold load", "s", numeric=True), tables.seconds),
    ("warm_load_s", Column("Warm load", "s", numeric=True), tables.seconds),
    ("warm_first_token_s", Column("First token, warm", "s", numeric=True), tables.seconds),
    ("glibc_gen_latency_s", Column("Generation, glibc", "s", numeric=True), tables.seconds),
    ("warm_ready_s", Column("Server ready, warm", "s", numeric=True), tables.seconds),
    ("cold_first_ttft_s", Column("First request, cold", "ms", numeric=True), tables.milliseconds),
    ("warm_first_ttft_s", Column("First request, warm", "ms", numeric=True), tables.milliseconds),
    ("warm_next_ttft_s", Column("Next requests, warm", "ms", numeric=True), tables.milliseconds),
    ("concurrent_tokens_per_s", Column("All at once", "tokens/s", numeric=True), tables.rate),
    ("saturation_concurrency", Column("Saturates at", "requests", numeric=True), tables.count),
)
COLUMNS = (
    Column("Host"),
    Column("State"),
    Column("Unlike its twins"),
    Column("Reason", wide=True),
    Column("THP"),
    *(column for _, column, _ in SHOWN),
    Column("Levers called", wide=True),
    Column("What to do", wide=True),
    Column("Fingerprint"),
)
HOSTS_NOTE = (
    "Figures are medians over the processes of result.json, and of hosts folded together over those. A dash stands for "
    "what was not measured."
)


@dataclass(frozen=True)
class Layout:
    """The columns of the hosts' table, those that no host fills left out, and the cells of hosts that are one line."""

    columns: tuple[Column, ...]
    cells: Callable[[Sequence[Row]], tuple[Cell, ...]]


@dataclass(frozen=True)
class Line:
    """A host of the table, or in its place those that are alike. `kind` is the number of its fingerprint."""

    cells: tuple[Cell, ...]
    state: str
    kind: str
    off: str


@dataclass(frozen=True)
class Group:
    """Nodes that are alike: `head` sums them up where they are several."""

    hosts: tuple[Line, ...]
    head: Line | None
    names: str


@dataclass(frozen=True)
class Fleet:
    """Everything that is drawn from the rows together. `kinds` labels the fingerprints, the largest kind first."""

    rows: tuple[Row, ...]
    kinds: dict[str, str]
    groups: tuple[tuple[Row, ...], ...]
    outliers: tuple[Outlier, ...]
    differing: tuple[Differing, ...]


def of(rows: Sequence[Row]) -> Fleet:
    found = fleet_twins.outliers(rows)
    unusual = _by_host(found)
    worst_first = sorted(rows, key=lambda row: (-SEVERITY.index(row.state), not _off(unusual.get(row.host, ()))))
    return Fleet(
        tuple(rows),
        _kinds(rows),
        tuple(fleet_groups.fold(worst_first, unusual)),
        tuple(found),
        tuple(fleet_settings.differing(rows)),
    )


def document(run: Run, found: Fleet) -> dict[str, Any]:
    """Return fleet.json."""
    shown = [field.name for field in fields(Row) if field.name not in COMPARING]
    return {
        "schema_version": 1,
        "run_id": run.run_id,
        "started": run.started,
        "finished": run.finished,
        "states": fleet.counts(found.rows),
        "hosts": [{name: getattr(row, name) for name in shown} for row in found.rows],
        "groups": [[row.host for row in group] for group in found.groups],
        "outliers": [asdict(each) for each in found.outliers],
        "differing_settings": [
            {
                "setting": each.setting,
                "usual": each.usual,
                "usual_hosts": each.usual_hosts,
                "others": [{"value": value, "hosts": list(hosts)} for value, hosts in each.others],
            }
            for each in found.differing
        ],
    }


def sentences(found: Fleet) -> list[str]:
    """Say how the hosts are, which of them are unlike their twins, and whether their settings differ."""
    said = fleet.sentences(found.rows)
    measured = [row for row in found.rows if row.figures]
    compared = [nodes for nodes in fleet_twins.kinds(found.rows).values() if len(nodes) >= TWINS_LEAST]
    worse = _by_host([each for each in found.outliers if each.worse])
    if worse:
        named = "; ".join(f"{host}, {_unlike(off)}" for host, off in list(worse.items())[:SAID])
        more = f"; and {figures.plural(len(worse) - SAID, 'more host')}" if len(worse) > SAID else ""
        said.append(f"Worse than their twins: {named}{more}.")
    elif compared:
        said.append(f"No host is worse than its twins; {sum(map(len, compared)):,} have enough of them to tell.")
    elif len(measured) > 1:
        said.append(f"No host is held against its twins: of no fingerprint there are {TWINS_LEAST} measured hosts.")
    if found.differing:
        names = figures.listed([each.setting for each in found.differing[:SAID]])
        rest = len(found.differing) - SAID
        more = f", and {figures.plural(rest, 'more setting')}" if rest > 0 else ""
        said.append(f"Settings that differ across the fleet: {names}{more}.")
    return said


def hosts_table(found: Fleet) -> Table:
    """Return a row for every host, those that are not well first."""
    layout = _layout(found)
    rows = tuple(layout.cells((row,)) for group in found.groups for row in group)
    return Table("Every inventory host", layout.columns, rows, HOSTS_NOTE, limit=len(rows))


def groups_table(found: Fleet) -> Table:
    """Return a row for every group of hosts that are alike, its figures their medians."""
    layout = _layout(found)
    rows = []
    for group in found.groups:
        _, *cells = layout.cells(group)
        rows.append((tables.count(len(group)), tables.text(_names([row.host for row in group], NAMED)), *cells))
    columns = (Column("Hosts", numeric=True), Column("Which", wide=True), *layout.columns[1:])
    return Table("Hosts, those that are alike in one row", columns, tuple(rows), HOSTS_NOTE, limit=IN_MARKDOWN)


def groups(found: Fleet) -> Iterator[Group]:
    """Yield what the page's table consists of."""
    unusual, layout = _by_host(found.outliers), _layout(found)
    numbers = {kind: str(number) for number, kind in enumerate(found.kinds)}

    def line(rows: Sequence[Row]) -> Line:
        first = rows[0]
        return Line(
            layout.cells(rows), first.state, numbers.get(first.fingerprint, ""), _off(unusual.get(first.host, ()))
        )

    for group in found.groups:
        head = line(group) if len(group) > 1 else None
        yield Group(tuple(line((row,)) for row in group), head, _names([row.host for row in group], NAMED_ALIKE))


def outliers_table(found: Fleet) -> Table:
    pages = {row.host: row.files.get("page", "") for row in found.rows}
    return Table(
        "Figures unlike those of the twins",
        (
            Column("Host"),
            Column("Figure"),
            Column("Off by", "%", numeric=True),
            Column("Which is"),
            Column("Host's median", numeric=True),
            Column("Twins' median", numeric=True),
            Column("Unit"),
            Column("Distance", "robust standard deviations", numeric=True),
            Column("Twins", numeric=True),
        ),
        tuple(
            (
                Cell(each.host, link=pages[each.host]),
                tables.text(each.title),
                tables.percent(each.off_percent),
                tables.text("worse", "bad") if each.worse else tables.text("better", "good"),
                tables.rate(each.value),
                tables.rate(each.median),
                tables.text(fleet_strips.unit(each.metric)),
                tables.rate(each.spreads),
                tables.count(each.twins),
            )
            for each in found.outliers
        ),
        f"Twins have the same fingerprint, and are {TWINS_LEAST} at least. A figure stands out when it is more than "
        f"{100 * OUTLIER_MARGIN:g} % off their median and farther than their own spread (from the MAD) explains.",
    )


def settings_table(found: Fleet) -> Table:
    """Return a row for each value of each setting that differs, the usual one first."""
    rows = []
    for each in found.differing:
        rows.append(_value(each.setting, each.usual, each.usual_hosts, "all others", ""))
        rows += [_value(each.setting, value, len(some), _names(some, NAMED), "changed") for value, some in each.others]
    return Table(
        "Settings by value",
        (Column("Setting"), Column("Value", wide=True), Column("Hosts", numeric=True), Column("Which", wide=True)),
        tuple(rows),
        "As found at the end of the run, of hosts that were measured. The value that most hosts have comes first.",
    )


def strips(found: Fleet) -> tuple[list[Strip], list[Strip]]:
    """Return the strips of the figures that the table shows, and those of all others."""
    made = fleet_strips.strips(found.rows, found.kinds, found.outliers)
    names = [name for name, *_ in SHOWN]
    first = [strip for name in names for strip in made if strip.metric == name]
    return first, [strip for strip in made if strip.metric not in names]


def sections(found: Fleet) -> list[Section]:
    """Return what has tables beside that of the hosts."""
    parts = (("outliers", "Unlike their twins", outliers_table), ("settings", "Settings that differ", settings_table))
    made = [Section(anchor, title, tables=(table(found),)) for anchor, title, table in parts]
    return [section for section in made if section.tables[0].rows]


def _kinds(rows: Sequence[Row]) -> dict[str, str]:
    """Name each fingerprint by what a person knows of it, the one with most hosts first."""
    nodes: dict[str, list[Row]] = {}
    for row in rows:
        if row.fingerprint:
            nodes.setdefault(row.fingerprint, []).append(row)
    return {
        kind: f"{kind[:8]}: {some[0].model or 'no model'} on {some[0].device or 'no device'}"[:LABEL_LIMIT]
        for kind, some in sorted(nodes.items(), key=lambda each: -len(each[1]))
    }


def _by_host(found: Sequence[Outlier]) -> dict[str, list[Outlier]]:
    by_host: dict[str, list[Outlier]] = {}
    for each in found:
        by_host.setdefault(each.host, []).append(each)
    return by_host


def _layout(found: Fleet) -> Layout:
    unusual = _by_host(found.outliers)
    alone = [tuple(_cells((row,), unusual)) for row in found.rows]
    filled = [any(cell.text != figures.NOTHING for cell in column) for column in zip(*alone, strict=True)]
    return Layout(tuple(compress(COLUMNS, filled)), lambda rows: tuple(compress(_cells(rows, unusual), filled)))


def _cells(rows: Sequence[Row], unusual: Mapping[str, Sequence[Outlier]]) -> Iterator[Cell]:
    """Yield the cells of one host, or of several that are alike: then the first one's words and the medians."""
    first = rows[0]
    unlike = unusual.get(first.host, ())
    odd = {each.metric: each for each in unlike}
    yield Cell(first.host, link=first.files.get("page", ""))
    yield tables.toned(first.state)
    yield tables.text(_unlike(unlike), TONES[_off(unlike)])
    yield tables.text(fleet.why(first))
    yield tables.text(fleet.before_after(first.settings.get(settings.THP)))
    for name, _, show in SHOWN:
        values = [row.headline[name] for row in rows if name in row.headline]
        cell = show(statistics.median(values) if values else None)
        yield replace(cell, tone=TONES[_off([odd[name]])] if name in odd else "")
    yield tables.text(_called(first))
    yield tables.text(fleet.advice(first))
    yield tables.text(first.fingerprint[:8])


def _off(found: Collection[Outlier]) -> str:
    return "worse" if any(each.worse for each in found) else "better" if found else ""


def _unlike(found: Sequence[Outlier]) -> str:
    """Name what is farthest off, the worse first, as the outliers come."""
    if not found:
        return ""
    more = f" ({len(found) - 1} more)" if len(found) > 1 else ""
    return f"{found[0].title} {figures.percent(found[0].off_percent)} %{more}"


def _called(row: Row) -> str:
    """Return the levers with an effect, and how many have none that was shown."""
    verdicts = fleet.first_verdicts(row)
    called = {arm: each for arm, each in verdicts.items() if each["verdict"] in CALLED}
    said = [fleet.lever(arm, each) for arm, each in called.items()]
    rest = len(verdicts) - len(called)
    return "; ".join([*said, f"{rest} not called" if said else f"none of {rest} called"] if rest else said)


def _names(hosts: Sequence[str], most: int) -> str:
    more = f" and {len(hosts) - most:,} more" if len(hosts) > most else ""
    return f"{', '.join(hosts[:most])}{more}"


def _value(setting: str, value: str | None, hosts: int, which: str, tone: str) -> tuple[Cell, ...]:
    shown = "absent" if value is None else value
    return tables.text(setting), tables.text(shown, tone), tables.count(hosts), tables.text(which)
