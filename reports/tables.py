"""What a page is made of, as data: tables, strips of samples, sections. HTML, Markdown and CSV are made from these."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from . import figures
from .statistics import Estimate, Verdict

SHOWN_STRIPS = 40
SHOWN_ROWS = 500  # of what one node sent; the raw file has the rest
FORMULA = ("=", "+", "-", "@", "\t", "\r")

TONES = {
    Verdict.BETTER: "good",
    Verdict.WORSE: "bad",
    Verdict.NO_DIFFERENCE: "calm",
    Verdict.INCONCLUSIVE: "unsure",
    Verdict.NOT_ENGAGED: "bad",
    "ok": "good",
    "degraded": "unsure",
    "failed": "bad",
    "unreachable": "bad",
    "skipped": "calm",
    "changed": "changed",
}


@dataclass(frozen=True)
class Column:
    """`key` is its name in CSV; `unit` stands in the header once; `wide` columns hold sentences."""

    title: str
    unit: str = ""
    numeric: bool = False
    key: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Cell:
    """`text` is what a page shows, `value` the exact figure behind it, `tone` what colour repeats of the text."""

    text: str
    value: float | None = None
    tone: str = ""
    link: str = ""


@dataclass(frozen=True)
class Table:
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    limit: int = SHOWN_ROWS

    @property
    def shown(self) -> tuple[tuple[Cell, ...], ...]:
        return self.rows[: self.limit]

    @property
    def left_out(self) -> str:
        more = len(self.rows) - self.limit
        return f"{figures.plural(more, 'more row')} in the raw data." if more > 0 else ""


@dataclass(frozen=True)
class Strip:
    """Samples as dots on one line, with their median."""

    label: str
    values: tuple[float, ...]
    median: float

    @property
    def shown(self) -> tuple[float, ...]:
        return self.values[:SHOWN_ROWS]

    @property
    def alternative(self) -> str:
        """The dots in words, for those who do not see them."""
        return ", ".join(figures.seconds(value) for value in self.shown)


@dataclass(frozen=True)
class Figure:
    """Strips on one axis from `low` to `high`, so that they can be compared by eye."""

    title: str
    unit: str
    strips: tuple[Strip, ...]

    @property
    def low(self) -> float:
        return min(min(strip.values) for strip in self.strips)

    @property
    def high(self) -> float:
        return max(max(strip.values) for strip in self.strips)

    def place(self, value: float) -> str:
        """Return where on an axis of 100 a value stands, with room for the outermost dots."""
        width = self.high - self.low
        return f"{3 + 94 * (value - self.low) / width:.2f}" if width else "50"


@dataclass(frozen=True)
class Section:
    """One theme of a host's page. `details` are tables that a reader has to open."""

    anchor: str
    title: str
    sentences: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    details: tuple[Table, ...] = field(default=())


def named(section: Section) -> Iterator[tuple[str, Table]]:
    """Yield each table of a section with its id on the page, by which its CSV is named."""
    for more, some in (("", section.tables), ("more-", section.details)):
        for number, table in enumerate(some, 1):
            yield f"{section.anchor}-{more}{number}", table


def text(value: object, tone: str = "") -> Cell:
    return Cell(figures.NOTHING if value is None or value == "" else str(value), tone=tone)


def toned(word: str) -> Cell:
    """Return a state or a verdict, coloured by what it means."""
    return Cell(str(word), tone=TONES.get(word, ""))


def seconds(value: float | None) -> Cell:
    return Cell(figures.seconds(value), value)


def mib(value: float | None) -> Cell:
    return Cell(figures.mib(value), value)


def count(value: float | None) -> Cell:
    return Cell(figures.count(value), value)


def milliseconds(value_s: float | None) -> Cell:
    value = None if value_s is None else 1000 * value_s
    return Cell(figures.digits(value), value)


def rate(value: float | None) -> Cell:
    return Cell(figures.digits(value), value)


def percent(value: float | None, *, signed: bool = True) -> Cell:
    return Cell(figures.percent(value, signed=signed), value)


def ratio_columns(of: str) -> tuple[Column, ...]:
    return (Column("Pairs", numeric=True), Column(of, numeric=True), Column("95 % interval", numeric=True))


def ratio_cells(found: Estimate) -> tuple[Cell, ...]:
    """Return an estimate of log-ratios as the cells of `ratio_columns`."""
    known = found.low is not None and found.high is not None
    return (
        count(found.blocks),
        text("" if found.mean is None else figures.ratio(found.mean)),
        text(f"{figures.ratio(found.low)} … {figures.ratio(found.high)}" if known else ""),
    )


def to_csv(table: Table) -> str:
    """Return every row with exact figures. Text that a spreadsheet would run as a formula is quoted for it."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([column.key or column.title for column in table.columns])
    writer.writerows([_plain(cell) for cell in row] for row in table.rows)
    return stream.getvalue()


def strips(title: str, unit: str, groups: Iterable[tuple[str, list[float], float | None]]) -> tuple[Figure, ...]:
    """Return one figure of the groups that have samples, or none."""
    found = tuple(Strip(label, tuple(values), middle) for label, values, middle in groups if middle is not None)
    if len(found) > SHOWN_STRIPS:
        title = f"{title}, the first {SHOWN_STRIPS} of {len(found):,}"
    return (Figure(title, unit, found[:SHOWN_STRIPS]),) if found else ()


def without_empty(table: Table) -> Table:
    """Return the table without the numeric columns that have no figure in any row."""
    kept = [
        place
        for place, column in enumerate(table.columns)
        if not column.numeric or any(row[place].text != figures.NOTHING for row in table.rows)
    ]
    rows = tuple(tuple(row[place] for place in kept) for row in table.rows)
    return replace(table, columns=tuple(table.columns[place] for place in kept), rows=rows)


def _plain(cell: Cell) -> str:
    if cell.value is not None:
        return f"{cell.value:.6f}".rstrip("0").rstrip(".") if isinstance(cell.value, float) else str(cell.value)
    shown = figures.printable(cell.text)
    return f"'{shown}" if shown.startswith(FORMULA) else shown
