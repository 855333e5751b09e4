"""Tables and sentences in a terminal; where output goes to a file or a pipe, the same in plain lines."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from . import figures
from .tables import Cell, Column, Table

WIDE = 160  # columns; a narrower terminal does without the sentences beside figures, which the files have
LONGEST_NAME = 30  # that a first column has room for in any terminal
STYLES = {"good": "green", "bad": "bold red", "unsure": "yellow", "changed": "magenta", "calm": ""}


def say(console: Console, sentence: str) -> None:
    """Print a sentence; plain output is never wrapped, so that other programs find it in one line."""
    console.print(Text(figures.printable(sentence)), soft_wrap=not console.is_terminal)


def show(console: Console, table: Table, title: str = "") -> None:
    """Print a table with its columns aligned; sentences of a wide column stand in a terminal only where it has room."""
    say(console, "")
    say(console, title or table.title)
    if console.is_terminal:
        console.print(_rich(table, console.width))
    else:
        for line in plain(table):
            say(console, line)
    for words in filter(None, (table.note, table.left_out)):
        say(console, words)


def plain(table: Table) -> list[str]:
    """Return a table as aligned lines."""
    rows = [[_titled(column) for column in table.columns], *([_text(cell) for cell in row] for row in table.shown)]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return ["  ".join(map(_aligned, row, widths, table.columns)).rstrip() for row in rows]


def _rich(table: Table, width: int) -> RichTable:
    shown = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    kept = [place for place, column in enumerate(table.columns) if width >= WIDE or not _dropped(column, table)]
    for place in kept:
        column = table.columns[place]
        name = max((len(_text(row[0])) for row in table.shown), default=0) if place == 0 else 0
        shown.add_column(
            Text(_titled(column)),
            justify="right" if column.numeric else "left",
            overflow="fold",
            min_width=min(name, LONGEST_NAME),
        )
    for row in table.shown:
        shown.add_row(*(Text(_text(row[place]), style=STYLES.get(row[place].tone, "")) for place in kept))
    return shown


def _dropped(column: Column, table: Table) -> bool:
    """Tell whether a narrow terminal does without: a last column of sentences beside figures."""
    return column.wide and column is table.columns[-1] and any(each.numeric for each in table.columns)


def _titled(column: Column) -> str:
    return f"{column.title}, {column.unit}" if column.unit else column.title


def _text(cell: Cell) -> str:
    return figures.printable(cell.text)


def _aligned(text: str, width: int, column: Column) -> str:
    return text.rjust(width) if column.numeric else text.ljust(width)
