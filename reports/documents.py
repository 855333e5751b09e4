"""The labs' own documents and tables, drawn from the measurement after tuning: one entry for each file in FILES."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from . import figures, tables
from .run_folder import Host, Measurement
from .sections import allocators, batching, kv, requests, serving
from .statistics import median, numbers
from .tables import Column, Section, Table

SLOW = 1.5  # times the median first token of the next requests on the same server
FLAT_PERCENT = 1.0
LOG = "LOG.md"  # see lab_log.py
LAB_NAMES = ("cold_req_real_s", "warm_req_real_s")


@dataclass(frozen=True)
class Document:
    """A page of its own in Markdown."""

    title: str
    sections: tuple[Section, ...]


@dataclass(frozen=True)
class File:
    """`what` is its key in fleet.json. There is one where its probe left samples."""

    what: str
    name: str
    probe: str
    make: Callable[[Measurement], Table | Document]


def of(host: Host) -> Iterator[File]:
    """Yield the files that this host's result fills."""
    for file in FILES:
        if host.result and host.result.samples(file.probe):
            yield file


def first_token(measurement: Measurement) -> Document:
    """first_token_latency.md of the labs."""
    newest = measurement.samples("serving")
    memory = (serving.memory_table(measurement), serving.jumps_table(measurement))
    timelines = (serving.timeline_table(row) for row in newest[: serving.TIMELINES])
    return Document(
        "First-token latency",
        (
            _measured(measurement, "serving"),
            Section(
                "wall",
                "Cold and warm requests",
                tables=(_wall_table(measurement), serving.first_next_table(measurement)),
            ),
            Section(
                "starts",
                "Cold and warm starts",
                sentences=tuple(serving.ready_sentences(measurement)),
                tables=(
                    serving.times_table(measurement),
                    serving.ratio_table(measurement),
                    serving.proof_table(measurement),
                ),
            ),
            Section(
                "memory",
                "Memory over time",
                sentences=tuple(serving.memory_sentences(measurement)),
                tables=tuple(table for table in (*memory, *timelines) if table.rows),
            ),
            Section("slo", "What this means for an SLO", sentences=tuple(slo_sentences(measurement))),
        ),
    )


def slo_sentences(measurement: Measurement) -> list[str]:
    """Say what a first request pays, what a pool of warm servers would save of it, and what a start on demand costs."""
    rows, said = serving.starts(measurement), []
    for cache in serving.CACHES:
        found = [row for row in rows if row["cache"] == cache]
        first, others, penalty, factor, on_demand = (
            median(found, key) for key in ("first_ttft_s", "next_ttft_s", "penalty_s", "penalty_factor", "on_demand_s")
        )
        if others is None or penalty is None or factor is None or on_demand is None:
            said.append(f"No {cache} start has both a first and a next request that ended, so its cost is not known.")
            continue
        starts = f"{figures.plural(len(found), f'{cache} start')}{', medians' if len(found) > 1 else ''}"
        more = f"{_ms(penalty)} ms more" if penalty > 0 else f"{_ms(-penalty)} ms less: no penalty"
        said.append(
            f"After a {cache} start the first request waits {_ms(first)} ms for its first token and the next ones "
            f"{_ms(others)} ms: {more}, {figures.digits(factor)} times as long ({starts}). A request that has to wait "
            f"for such a start has its first token after {figures.seconds(on_demand)} s: only a server that already "
            "runs meets an SLO below that."
        )
    return [*said, *_pool(measurement)]


def kv_csv(measurement: Measurement) -> Table:
    """kv_cache_scaling.csv: the labs' two columns, then ours. Without a GPU the second is empty and PSS has its own."""
    kind = kv.memory_kind(measurement)
    rows = [*kv.of_kind(measurement, "capacity"), *kv.of_kind(measurement, "footprint")]
    keys = ("kv_tokens", "kv_bytes", "max_concurrency", "sequences", "blocks", "block_size")
    names = ("max_model_len", "gpu_mem_used_mb", "kind", "how", *keys, "pss_used_mb")
    return Table(
        "KV cache and memory by max-model-len",
        tuple(Column(name, key=name) for name in names),
        tuple(
            (
                _cell(row["max_model_len"]),
                _cell(None if kind == "pss" else row["memory_used_mb"]),
                tables.Cell(row["kind"]),
                tables.Cell(row["how"]),
                *(_cell(row[key]) for key in keys),
                _cell(row["memory_used_mb"] if kind == "pss" else None),
            )
            for row in rows
        ),
    )


def kv_notes(measurement: Measurement) -> Document:
    """kv_cache_scaling_notes.md of the labs."""
    capacity, footprint, fit = (table(measurement) for table in (kv.capacity_table, kv.footprint_table, kv.fits_table))
    parts = (
        _measured(measurement, "kv"),
        Section(
            "scaling",
            "How memory scales with max-model-len",
            sentences=tuple(scales(measurement)),
            tables=tuple(table for table in (footprint, capacity) if table.rows),
        ),
        Section("fits", "Which max-model-len fits", sentences=tuple(recommended(measurement)), tables=(fit,))
        if fit.rows
        else None,
    )
    return Document("KV cache scaling", tuple(part for part in parts if part))


def scales(measurement: Measurement) -> list[str]:
    """Say how memory and capacity follow max-model-len, and of what that is not known."""
    return [*_footprint_scales(measurement), *_capacity_scales(measurement), *kv.left_out(measurement)]


def batching_benchmark(measurement: Measurement) -> Document:
    """batching_benchmark.md of the labs."""
    found = batching.loads(measurement)
    modes, sweep = batching.modes_table(found), batching.sweep_table(found)
    gain = batching.gain_sentences(found) or ["Only one of the two modes was measured, so the gain is not known."]
    ends = batching.saturation_sentences(found) or ["Fewer than two concurrencies were measured, so this is not known."]
    return Document(
        "Batching benchmark",
        (
            _measured(measurement, "batching"),
            Section(
                "modes",
                "One by one against all at once",
                sentences=tuple(gain),
                tables=tuple(table for table in (_lab_modes(found), modes) if table.rows),
            ),
            Section(
                "sweep",
                "Where it saturates",
                sentences=(*ends, *batching.lag_sentences(found), *batching.left_out(measurement)),
                tables=(sweep,) if sweep.rows else (),
            ),
            Section("gpu", "GPU utilization", sentences=tuple(batching.utilization_sentences(found))),
        ),
    )


FILES = (
    File("allocator_csv", "allocator_latency_comparison.csv", "allocator", allocators.samples_table),
    File("first_token", "first_token_latency.md", "serving", first_token),
    File("kv_csv", "kv_cache_scaling.csv", "kv", kv_csv),
    File("kv_notes", "kv_cache_scaling_notes.md", "kv", kv_notes),
    File("batching", "batching_benchmark.md", "batching", batching_benchmark),
)


def _measured(measurement: Measurement, probe: str) -> Section:
    """Say on what and when this was measured, and whether the probe came to its end."""
    part = measurement.probes[probe]
    said = [f"Model {measurement.model}, profile {measurement.profile}, measured from {measurement.started} on."]
    if part.status != "ok":
        said.append(
            f"The probe {part.status}: {part.reason or 'no reason given'}. What it had measured until then is here."
        )
    said += requests.failures(_requests(measurement, probe), f"of the {probe} probe")
    return Section("measured", "What was measured", sentences=tuple(said))


def _requests(measurement: Measurement, probe: str) -> list[dict[str, Any]]:
    if probe == "serving":
        return serving.all_requests(measurement)
    return [row for row in measurement.samples(probe) if "error" in row]


def _wall_table(measurement: Measurement) -> Table:
    """The labs' two requests: the first that a server answers, and the one right after it."""
    rows = []
    for row in measurement.samples("serving"):
        asked = [row["first"], *row["next"][:1]]
        one, other = (asked[place] if place < len(asked) and not asked[place]["error"] else {} for place in (0, 1))
        walls = [part.get("e2e_s") for part in (one, other)]
        drop = 100 * (1 - walls[1] / walls[0]) if walls[0] and walls[1] is not None else None
        rows.append(
            (
                tables.text(serving.named(row)),
                *map(tables.seconds, walls),
                *(tables.milliseconds(part.get("ttft_s")) for part in (one, other)),
                *(tables.milliseconds(part.get("server_ttft_s")) for part in (one, other)),
                tables.percent(None if drop is None else -drop),
            )
        )
    return Table(
        "The first request of each server and the one right after it",
        (
            Column("Start"),
            *(Column(name, "s", numeric=True) for name in LAB_NAMES),
            Column("First token, first request", "ms", numeric=True),
            Column("First token, second request", "ms", numeric=True),
            Column("By the server's clock, first", "ms", numeric=True),
            Column("By the server's clock, second", "ms", numeric=True),
            Column("From first to second", "%", numeric=True),
        ),
        tuple(rows),
        "As in the labs, cold_req_real_s is the whole first request that a server answers, warm_req_real_s the second.",
    )


def _pool(measurement: Measurement) -> list[str]:
    """Count the requests that were slow, and how many of them a server that has answered before would not have seen."""
    asked = slow = first_ones = 0
    for row in measurement.samples("serving"):
        others = requests.ended(row["next"])
        middle = median(others, "ttft_s")
        if middle is None:
            continue
        limit = SLOW * middle
        first = numbers(requests.ended([row["first"]]), "ttft_s")
        asked += len(first) + len(others)
        first_ones += sum(value > limit for value in first)
        slow += sum(value > limit for value in [*first, *numbers(others, "ttft_s")])
    if not asked:
        return []
    rule = f"later than {SLOW:g} times the median of the next requests to its server"
    if not slow:
        return [f"None of {figures.plural(asked, 'request')} had its first token {rule}."]
    pool = "a pool of servers that have each answered a request before"
    saved = f"{pool} saves a caller from {first_ones:,} of them" if first_ones else f"{pool} would have spared none"
    return [
        f"{slow:,} of {figures.plural(asked, 'request')} had the first token {rule}, {first_ones:,} of these as the "
        f"first request of a server: {saved}."
    ]


def _footprint_scales(measurement: Measurement) -> list[str]:
    found, said = kv.line(measurement), kv.footprint_sentences(measurement)
    if found is None:
        return said
    what = kv.MEMORY[kv.memory_kind(measurement)]
    if found.sizes > 2:
        said.append(
            f"{what} lies on a straight line over the cache's tokens, no reading farther off than "
            f"{figures.digits(found.apart_mb)} MiB; without any cache it would be {figures.mib(found.fixed_mb)} MiB."
        )
    else:
        said.append("Two caches always lie on a line: whether memory is linear between them was not tested.")
    return said


def _capacity_scales(measurement: Measurement) -> list[str]:
    rows = kv.of_kind(measurement, "capacity", "measured")
    said, tokens = kv.capacity_sentences(measurement), [row["kv_tokens"] for row in rows]
    lengths = figures.listed([figures.count(row["max_model_len"]) for row in rows])
    if len(rows) < 2 or not max(tokens):
        return [*said, "Capacity was measured at one length; for the others it is taken as the same."] if rows else said
    apart = 100 * (1 - min(tokens) / max(tokens))
    verdict = "does not depend on" if apart <= FLAT_PERCENT else "changes with"
    differ = f"the measured capacities at {lengths} tokens differ by {figures.percent(apart, signed=False)} %"
    return [*said, f"At a fixed share of memory the capacity {verdict} max-model-len: {differ}."]


def recommended(measurement: Measurement) -> list[str]:
    """Recommend the longest length of which as many sequences fit as the server can make use of at once."""
    where = batching.saturates(batching.loads(measurement)) if measurement.samples("batching") else None
    rows = kv.of_kind(measurement, "capacity")
    asked = [row["sequences"] for row in kv.of_kind(measurement, "footprint") if row["sequences"]]
    if where:
        wanted = where.concurrency
        why = (
            "the highest concurrency tried, short of saturation" if where.reached_last else "where throughput saturates"
        )
    elif asked:
        wanted, why = max(asked), "what the footprint was asked for"
    else:
        return []
    sequences = figures.plural(wanted, "full sequence")
    rule = f"the longest max-model-len tried of which {sequences} fit at once; {wanted:,} is {why}"
    longest = kv.longest_for(measurement, wanted)
    if longest is None:
        return [f"No max-model-len tried can be recommended. The rule: {rule}."]
    ends = " No longer one was tried." if longest == rows[-1]["max_model_len"] else ""
    return [f"Recommended max-model-len on this device: {figures.count(longest)} tokens. The rule: {rule}.{ends}"]


def _lab_modes(found: list[batching.Load]) -> Table:
    """The labs' two figures under their own names."""
    one, together = (batching.of_mode(found, mode) for mode in batching.MODES)
    rows = (("sequential_s", one), ("concurrent_s", together))
    return Table(
        "The labs' figures",
        (
            Column("Name"),
            Column("Wall", "s", numeric=True),
            Column("Requests", numeric=True),
            Column("Throughput", "tokens/s", numeric=True),
        ),
        tuple(
            (
                tables.text(name),
                tables.seconds(batching.wall(same)),
                tables.count(len(same[0].requests)),
                tables.rate(batching.rate(same)),
            )
            for name, same in rows
            if same
        ),
    )


def _ms(value_s: float | None) -> str:
    return figures.digits(None if value_s is None else 1000 * value_s)


def _cell(value: float | None) -> tables.Cell:
    """Return a figure of a CSV; what is not known is empty there."""
    return tables.Cell("", value)
