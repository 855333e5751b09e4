"""What requests gain from being served together, and at which concurrency the server saturates."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from probe_agent.probes.saturation import SHARE, Saturation, saturation

from .. import figures, plots, tables
from ..loose import mapping, mappings, number, sentences, words
from ..plots import Axis, Mark, Plot, Series
from ..run_folder import Host, Measurement
from ..statistics import median, numbers, percentile
from ..tables import Column, Section, Table
from . import requests

MODES = {"sequential": "one by one", "concurrent": "all at once"}
RULE = (
    f"the smallest concurrency whose throughput reaches {100 * SHARE:g} % of the sweep's highest; where that is the "
    "last one tried, the server is not saturated within what was tried"
)
GAUGE_S = 2.0  # NVML's gauge looks back up to a second: of a shorter load it tells what was before
LAG_SHARE = 0.1  # of the median first token: a client later than that is part of what it measures


@dataclass(frozen=True)
class Load:
    """One load on the server and its requests. What only the probe's end would have said is None where it failed."""

    mode: str
    concurrency: int
    requests: tuple[dict[str, Any], ...]
    wall_s: float | None
    tokens_per_s: float | None
    queue_s: float | None = None
    gpu_utilization_percent: float | None = None
    client_lag_max_s: float | None = None


def loads(measurement: Measurement) -> list[Load]:
    """Return every load in the order in which they ran, as the probe summed it up, or else as its requests tell."""
    rows: dict[int, list[dict[str, Any]]] = {}
    for row in measurement.samples("batching"):
        rows.setdefault(row["load"], []).append(row)
    known = {load["load"]: load for load in mappings(measurement.probes["batching"].evidence.get("loads"))}
    return [_load(found, known.get(number)) for number, found in sorted(rows.items())]


def of_mode(found: list[Load], mode: str) -> list[Load]:
    return [load for load in found if load.mode == mode]


def rate(found: list[Load]) -> float | None:
    """Return the median throughput of some loads."""
    return _middle([load.tokens_per_s for load in found])


def wall(found: list[Load]) -> float | None:
    return _middle([load.wall_s for load in found])


def gain(found: list[Load]) -> float | None:
    """Return how many times the throughput of one by one all at once has."""
    one, all_at_once = (rate(of_mode(found, mode)) for mode in MODES)
    return all_at_once / one if one and all_at_once is not None else None


def swept(found: list[Load]) -> list[Load]:
    """Return the loads of the sweep; one request after another is its first step where it has none of its own."""
    sweep = of_mode(found, "sweep")
    return sweep if any(load.concurrency == 1 for load in sweep) else [*of_mode(found, "sequential"), *sweep]


def sweep(found: list[Load]) -> list[tuple[int, float]]:
    """Return the throughput at each concurrency of the sweep, where it is known."""
    by_concurrency: dict[int, list[Load]] = {}
    for load in swept(found):
        by_concurrency.setdefault(load.concurrency, []).append(load)
    rates = ((concurrency, rate(same)) for concurrency, same in sorted(by_concurrency.items()))
    return [(concurrency, value) for concurrency, value in rates if value is not None]


def saturates(found: list[Load]) -> Saturation | None:
    return saturation(sweep(found))


def findings(host: Host) -> list[str]:
    """Say what batching gains, where it ends, and whether the client was in the way."""
    measured = host.moments_of("batching")
    if not measured:
        return []
    newest = measured[-1][1]
    found = loads(newest)
    return [
        *gain_sentences(found),
        *saturation_sentences(found),
        *lag_sentences(found),
        *_leak(newest),
        *left_out(newest),
        *requests.failures(newest.samples("batching"), "of the batching probe"),
    ]


def gain_sentences(found: list[Load]) -> list[str]:
    one, together = (of_mode(found, mode) for mode in MODES)
    factor = gain(found)
    if factor is None:
        return []
    asked = figures.plural(len(together[0].requests), "request")
    walls = f"{figures.seconds(wall(one))} s one by one and {figures.seconds(wall(together))} s all at once"
    rates = f"{figures.digits(rate(one))} → {figures.digits(rate(together))}"
    return [f"{asked} took {walls}: {figures.digits(factor)} times the tokens per second ({rates})."]


def saturation_sentences(found: list[Load]) -> list[str]:
    where, points = saturates(found), sweep(found)
    if where is None:
        return []
    highest = max(value for _, value in points)
    if where.reached_last:
        return [
            f"The server is not saturated within what was tried: {figures.plural(where.concurrency, 'request')} at "
            f"once gave {figures.digits(highest)} tokens/s, and no fewer reached {100 * SHARE:g} % of that."
        ]
    reached = dict(points)[where.concurrency]
    return [
        f"The server saturates at {figures.plural(where.concurrency, 'request')} at once: {figures.digits(reached)} "
        f"tokens/s of {figures.digits(highest)} at most ({100 * SHARE:g} % of the highest counts as saturated)."
    ]


def lag_sentences(found: list[Load]) -> list[str]:
    """Say where the client itself was so late that its times are partly its own."""
    late = [load for load in found if _late(load)]
    if not late:
        return []
    worst = max(late, key=lambda load: load.client_lag_max_s)
    at = figures.listed([figures.count(value) for value in sorted({load.concurrency for load in late})])
    return [
        f"At concurrency {at} the client was up to {figures.digits(1000 * worst.client_lag_max_s)} ms late, more than "
        f"{100 * LAG_SHARE:g} % of the median first token: times there are partly the client's."
    ]


def utilization_sentences(found: list[Load]) -> list[str]:
    """Say how busy the GPU was in each mode."""
    said = []
    for mode, title in {**MODES, "sweep": "in the sweep"}.items():
        values = [load.gpu_utilization_percent for load in of_mode(found, mode)]
        known = [value for value in values if value is not None]
        if known:
            ends = f"{figures.percent(min(known), signed=False)} to " if min(known) < max(known) else ""
            said.append(f"{ends}{figures.percent(max(known), signed=False)} % {title}")
    if not said:
        return [f"No GPU utilization was read of a load that took {GAUGE_S:g} s."]
    of = f"mean of NVML's gauge during each load of {GAUGE_S:g} s and more"
    return [f"GPU utilization ({of}): {figures.listed(said)}."]


def left_out(measurement: Measurement) -> list[str]:
    """Return what the probe said of concurrencies that it did not try."""
    return [f"Not tried: {each}." for each in sentences(measurement.probes["batching"].evidence.get("left_out"))]


def _leak(measurement: Measurement) -> list[str]:
    """Say when the server still held something of the loads after their end."""
    leak = mapping(measurement.probes["batching"].evidence.get("leak"))
    if leak.get("free") is not False:
        return []
    held = {name: value for name, value in leak.items() if name not in ("free", "waited_s")}
    return [f"After the loads the server had not let go of everything: {words(held)}."]


def section(host: Host) -> Section | None:
    measured = host.moments_of("batching")
    if not measured:
        return None
    newest = loads(measured[-1][1])
    made = (modes_table(newest), sweep_table(newest))
    earlier = (
        table(loads(part), f", {when} tuning") for when, part in measured[:-1] for table in (modes_table, sweep_table)
    )
    return Section(
        "batching",
        "Batching",
        tables=tuple(table for table in made if table.rows),
        figures=plots.some(*_plots(newest)),
        details=tuple(table for table in earlier if table.rows),
    )


def _plots(found: list[Load]) -> Iterator[Plot]:
    """Yield what each concurrency of the sweep gave, and what its requests had to wait for it."""
    where = saturates(found)
    at_once = Axis("requests at once", log=True)
    point = [Mark(where.concurrency, "not yet saturated" if where.reached_last else "saturated")] if where else []
    rates = tuple((concurrency, value) for concurrency, value in sweep(found))
    yield plots.curves(
        "Throughput against concurrency", at_once, Axis("", "tokens/s"), [Series("throughput", rates, rates)], point
    )
    loads = [
        (load.concurrency, [1000 * value for value in numbers(requests.ended(load.requests), "ttft_s")])
        for load in sorted(swept(found), key=lambda load: load.concurrency)
    ]
    middle = tuple((concurrency, statistics.median(values)) for concurrency, values in loads if values)
    slow = tuple((at, value) for at, values in loads if (value := percentile(values, 95)) is not None)
    series = [Series("median", middle, middle), Series("95th percentile", slow, slow)]
    yield plots.curves("First token against concurrency", at_once, Axis("", "ms"), series, point)


def modes_table(found: list[Load], when: str = "") -> Table:
    return Table(
        f"One by one against all at once{when}",
        (Column("Mode"), *_COLUMNS),
        tuple((tables.text(title), *_cells(load)) for mode, title in MODES.items() for load in of_mode(found, mode)),
        requests.NEEDED,
    )


def sweep_table(found: list[Load], when: str = "") -> Table:
    where = saturates(found)
    return Table(
        f"Concurrency sweep{when}",
        (Column("At once", numeric=True), *_COLUMNS, Column("Saturated")),
        tuple(
            (tables.count(load.concurrency), *_cells(load), tables.text(_saturated(load, where)))
            for load in sorted(swept(found), key=lambda load: load.concurrency)
        ),
        f"Saturated: {RULE}. {requests.NEEDED}",
    )


_COLUMNS = (
    Column("Requests", numeric=True),
    Column("Failed", numeric=True),
    Column("Wall", "s", numeric=True),
    Column("Throughput", "tokens/s", numeric=True),
    *requests.spread_columns("First token"),
    *requests.spread_columns("Whole request"),
    Column("Queue, mean", "ms", numeric=True),
    Column("GPU utilization", "%", numeric=True),
    Column("Client lag, worst", "ms", numeric=True),
)


def _cells(load: Load) -> tuple[tables.Cell, ...]:
    ended = requests.ended(load.requests)
    lag = tables.milliseconds(load.client_lag_max_s)
    return (
        tables.count(len(load.requests)),
        tables.count(len(load.requests) - len(ended)),
        tables.seconds(load.wall_s),
        tables.rate(load.tokens_per_s),
        *requests.spread(ended, "ttft_s"),
        *requests.spread(ended, "e2e_s"),
        tables.milliseconds(load.queue_s),
        tables.percent(load.gpu_utilization_percent, signed=False),
        tables.Cell(lag.text, lag.value, "unsure" if _late(load) else ""),
    )


def _load(rows: list[dict[str, Any]], summed: dict[str, Any] | None) -> Load:
    mode, concurrency = rows[0]["mode"], rows[0]["concurrency"]
    if summed:
        keys = ("wall_s", "tokens_per_s", "queue_s", "client_lag_max_s")
        busy = summed["gpu_utilization_percent"] if summed["wall_s"] >= GAUGE_S else None
        known = {key: summed[key] for key in keys}
        return Load(mode, concurrency, tuple(rows), gpu_utilization_percent=busy, **known)
    first, ended = rows[0], [row for row in requests.ended(rows) if row["e2e_s"] is not None]
    wall_s = number(first.get("load_wall_s")) or max((row["sent_s"] + row["e2e_s"] for row in ended), default=0.0)
    tokens = sum(row["output_tokens"] for row in ended)
    known = (wall_s, tokens / wall_s) if wall_s > 0 else (None, None)
    queue_s, lag_s = (number(first.get(key)) for key in ("load_queue_s", "load_client_lag_max_s"))
    return Load(mode, concurrency, tuple(rows), *known, queue_s=queue_s, client_lag_max_s=lag_s)


def _late(load: Load) -> bool:
    middle = median(requests.ended(load.requests), "ttft_s")
    return load.client_lag_max_s is not None and middle is not None and load.client_lag_max_s > LAG_SHARE * middle


def _saturated(load: Load, where: Saturation | None) -> str:
    if where is None or load.concurrency != where.concurrency:
        return ""
    return "not yet" if where.reached_last else "from here on"


def _middle(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
