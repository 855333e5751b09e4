"""Where the limits are: the first token against the prompt's length, and requests beside busy threads."""

from __future__ import annotations

from typing import Any

from .. import figures, plots, tables
from ..plots import Axis, Plot, Series
from ..run_folder import Host, Measurement
from ..statistics import median, numbers
from ..tables import Cell, Column, Section, Table
from . import requests

BUSY_TIMES = (("tokenize_s", "Tokenizing"), ("ttft_s", "First token"), ("e2e_s", "Whole"))


def by_length(measurement: Measurement) -> dict[int, list[dict[str, Any]]]:
    """Return the requests by the length of their prompt, shortest first."""
    return _grouped(measurement, "prompt_length", "prompt_tokens")


def by_threads(measurement: Measurement) -> dict[int, list[dict[str, Any]]]:
    return _grouped(measurement, "busy_threads", "threads")


def findings(host: Host) -> list[str]:
    """Say how the first token grows with the prompt, and what busy threads cost."""
    measured = host.moments_of("curves")
    if not measured:
        return []
    newest = measured[-1][1]
    said = [*_growth(by_length(newest)), *_busy(by_threads(newest))]
    asked = [row for rows in by_length(newest).values() for row in rows]
    return said + requests.failures(asked, "of the prompt length curve")


def section(host: Host) -> Section | None:
    measured = host.moments_of("curves")
    if not measured:
        return None
    newest = measured[-1][1]
    made = (length_table(newest), threads_table(newest))
    earlier = (
        table(part, f", {when} tuning") for when, part in measured[:-1] for table in (length_table, threads_table)
    )
    return Section(
        "curves",
        "Limit curves",
        tables=tuple(table for table in made if table.rows),
        figures=plots.some(length_plot(newest)),
        details=tuple(table for table in earlier if table.rows),
    )


def length_plot(measurement: Measurement) -> Plot:
    """Every request as a dot, a line through the medians."""
    groups = [(length, requests.ended(rows)) for length, rows in by_length(measurement).items()]
    medians = [(length, median(rows, "ttft_s")) for length, rows in groups]
    return plots.curves(
        "First token against prompt length",
        Axis("prompt", "tokens", log=True),
        Axis("first token", "ms"),
        [
            Series(
                "first token",
                tuple((length, 1000 * value) for length, rows in groups for value in numbers(rows, "ttft_s")),
                tuple((length, 1000 * value) for length, value in medians if value is not None),
            )
        ],
        note="A dot is a request, the line joins the medians.",
    )


def length_table(measurement: Measurement, when: str = "") -> Table:
    rows = []
    for length, asked in by_length(measurement).items():
        ended = requests.ended(asked)
        rows.append(
            (
                tables.count(length),
                tables.count(len(asked)),
                tables.count(len(asked) - len(ended)),
                *requests.spread(ended, "ttft_s"),
                tables.milliseconds(median(ended, "server_ttft_s")),
                tables.rate(median(ended, "prefill_tokens_per_s")),
                tables.rate(median(_one_by_one(ended), "decode_tokens_per_s")),
            )
        )
    return Table(
        f"First token against prompt length, one request at a time{when}",
        (
            Column("Prompt", "tokens", numeric=True),
            Column("Requests", numeric=True),
            Column("Failed", numeric=True),
            *requests.spread_columns("First token"),
            Column("By the server's clock", "ms", numeric=True),
            Column("Prefill", "tokens/s", numeric=True),
            Column("Decode", "tokens/s", numeric=True),
        ),
        tuple(rows),
        "Prefill is the prompt over its first token, decode the tokens after the first; medians. A dash where the "
        f"server sent several tokens at once. {requests.NEEDED}",
    )


def _one_by_one(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the requests each of whose tokens came by itself: of the others it is not known how many came first."""
    return [row for row in rows if row["chunks"] == row["output_tokens"]]


def threads_table(measurement: Measurement, when: str = "") -> Table:
    groups = by_threads(measurement)
    rows = []
    for threads, found in groups.items():
        cells: list[Cell] = []
        for key, _ in BUSY_TIMES:
            slowest = max(numbers(found, key), default=None)
            cells += [tables.milliseconds(median(found, key)), tables.rate(_times(groups, threads, key))]
            cells.append(tables.milliseconds(slowest))
        rows.append((tables.count(threads), tables.count(len(found)), *cells))
    columns = [
        column
        for _, title in BUSY_TIMES
        for column in (
            Column(title, "ms", numeric=True),
            Column("Against none", "times", numeric=True),
            Column("Slowest", "ms", numeric=True),
        )
    ]
    return Table(
        f"Beside busy Python threads in the client's process{when}",
        (Column("Busy threads", numeric=True), Column("Repeats", numeric=True), *columns),
        tuple(rows),
        "Medians, and how many times those without busy threads.",
    )


def _growth(groups: dict[int, list[dict[str, Any]]]) -> list[str]:
    known = [(length, median(requests.ended(rows), "ttft_s")) for length, rows in groups.items()]
    known = [(length, value) for length, value in known if value is not None]
    if len(known) < 2:
        return []
    (short, quick), (long, slow) = known[0], known[-1]
    return [
        f"The first token comes after {figures.digits(1000 * quick)} ms with a prompt of {short:,} tokens and after "
        f"{figures.digits(1000 * slow)} ms with one of {long:,} (medians)."
    ]


def _busy(groups: dict[int, list[dict[str, Any]]]) -> list[str]:
    most = max(groups, default=0)
    if not most:
        return []
    titles = {"tokenize_s": "tokenizing", "ttft_s": "the first token", "e2e_s": "a whole request"}
    known = {title: _times(groups, most, key) for key, title in titles.items()}
    said = [
        f"{title} takes {figures.digits(value)} times as long" for title, value in known.items() if value is not None
    ]
    beside = figures.plural(most, "busy Python thread")
    return [f"Beside {beside} {figures.listed(said)} as beside none (medians)."] if said else []


def _times(groups: dict[int, list[dict[str, Any]]], threads: int, key: str) -> float | None:
    """Return how many times the median without busy threads this one is."""
    idle, busy = median(groups.get(0, []), key), median(groups[threads], key)
    return busy / idle if idle and busy is not None else None


def _grouped(measurement: Measurement, curve: str, key: str) -> dict[int, list[dict[str, Any]]]:
    groups: dict[int, list[dict[str, Any]]] = {}
    for row in measurement.samples("curves"):
        if row["curve"] == curve:
            groups.setdefault(row[key], []).append(row)
    return dict(sorted(groups.items()))
