"""A table in a terminal and in a pipe: aligned, never wrapped for programs, nothing of it markup."""

import io

from rich.console import Console

from reports import tables, terminal
from reports.tables import Cell, Column, Table

TABLE = Table(
    "Figures",
    (Column("Figure"), Column("Change", "%", numeric=True), Column("Why", wide=True)),
    (
        (Cell("cold_load_s"), tables.percent(35.0), Cell("[bold]because\x1b[2J " + "x" * 90)),
        (Cell("warm_load_s"), tables.percent(None), Cell("", tone="bad")),
    ),
    note="A note.",
)


def printed(width, is_terminal):
    console = Console(file=io.StringIO(), width=width, force_terminal=is_terminal, markup=False, color_system=None)
    terminal.show(console, TABLE)
    return console.file.getvalue()


def test_a_pipe_gets_one_line_per_row():
    lines = printed(40, False).splitlines()
    assert lines[1:3] == ["Figures", "Figure       Change, %  Why"]
    assert lines[3].startswith("cold_load_s        +35  [bold]because\\x1b[2J xxx")
    assert lines[4] == "warm_load_s          –"
    assert lines[5:] == ["A note."]


def test_a_narrow_terminal_does_without_sentences_and_a_wide_one_has_them():
    assert "because" not in printed(80, True)
    wide = printed(200, True)
    assert "[bold]because\\x1b[2J" in wide
    assert "\x1b[2J" not in wide
