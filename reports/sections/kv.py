"""What the KV cache holds at a fixed share of memory, and what sequences of a length really take of it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from probe_agent.probes import kv

from .. import figures, plots, tables
from ..loose import mapping, number, sentences
from ..plots import Axis, Plot, Series
from ..run_folder import Host, Measurement
from ..tables import Column, Section, Table

MIB, KIB = 1 << 20, 1 << 10
MEMORY = {"gpu": "GPU memory", "pss": "PSS of the server's processes", "": "Memory"}
PSS_CAVEAT = "PSS counts a page from its first use on: a cache that no request has filled need not show in it."
CONCURRENCIES = tuple(2**power for power in range(13))


@dataclass(frozen=True)
class Line:
    """Memory against tokens through the started servers, by least squares; `apart_mb`: the reading farthest off."""

    readings: int
    sizes: int  # of the cache, among them
    bytes_per_token: float
    fixed_mb: float
    apart_mb: float

    def at(self, tokens: float) -> float:
        return self.fixed_mb + self.bytes_per_token * tokens / MIB


@dataclass(frozen=True)
class Fit:
    """What fits a concurrency: the longest length that was tried, None when none does, and the most tokens for each."""

    concurrency: int
    longest: int | None
    tokens_each: int


def of_kind(measurement: Measurement, kind: str, how: str = "") -> list[dict[str, Any]]:
    """Return the rows of a curve by length, measured or derived or, unnamed, both."""
    rows = [row for row in measurement.samples("kv") if row["kind"] == kind and how in ("", row["how"])]
    return sorted(rows, key=lambda row: (row["max_model_len"], row["how"] != "measured"))


def memory_kind(measurement: Measurement) -> str:
    """Return `gpu` or `pss`, whichever was read. A probe that ended early did not say, but the node has GPUs or not."""
    named = measurement.probes["kv"].evidence.get("memory")
    if named in ("gpu", "pss"):
        return named
    gpus = mapping(measurement.fingerprint.get("hardware")).get("gpus")
    return "" if not isinstance(gpus, list) else "gpu" if gpus else "pss"


def architecture_bytes(measurement: Measurement) -> float | None:
    """Return what a token takes by the model's architecture, where the probe said so."""
    value = number(measurement.probes["kv"].evidence.get("bytes_per_token_architecture"))
    return value if value and value > 0 else None


def line(measurement: Measurement) -> Line | None:
    """Fit what the servers took, None where all hold the same number of tokens."""
    points = kv.points(measurement.samples("kv"))
    sizes = len({tokens for tokens, _ in points})
    if sizes < 2:
        return None
    slope, fixed = statistics.linear_regression(*zip(*points, strict=True))
    apart = max(abs(mb - fixed - slope * tokens) for tokens, mb in points)
    return Line(len(points), sizes, slope * MIB, fixed, apart)


def apart_percent(measurement: Measurement) -> float | None:
    """Return by how much a token's measured bytes differ from the architecture's."""
    found, expected = line(measurement), architecture_bytes(measurement)
    return None if found is None or expected is None else 100 * (found.bytes_per_token / expected - 1)


def capacity_tokens(measurement: Measurement) -> int | None:
    """Return the tokens that fit at every length that was measured."""
    return min((row["kv_tokens"] for row in of_kind(measurement, "capacity", "measured")), default=None)


def longest_for(measurement: Measurement, concurrency: int) -> int | None:
    """Return the longest max-model-len tried of which that many full sequences fit at once."""
    rows = of_kind(measurement, "capacity")
    return max((row["max_model_len"] for row in rows if row["max_concurrency"] >= concurrency), default=None)


def fits(measurement: Measurement) -> list[Fit]:
    """Return what fits each concurrency, up to the first at which nothing does."""
    tokens, found = capacity_tokens(measurement), []
    for concurrency in CONCURRENCIES if tokens is not None else ():
        found.append(Fit(concurrency, longest_for(measurement, concurrency), int(tokens // concurrency)))
        if found[-1].longest is None:
            break
    return found


def findings(host: Host) -> list[str]:
    """Say how much the KV cache holds, and what a token of it takes."""
    measured = host.moments_of("kv")
    if not measured:
        return []
    newest = measured[-1][1]
    return [*capacity_sentences(newest), *footprint_sentences(newest), *left_out(newest)]


def capacity_sentences(measurement: Measurement) -> list[str]:
    rows = of_kind(measurement, "capacity", "measured")
    if not rows:
        return []
    longest = of_kind(measurement, "capacity")[-1]
    share = number(measurement.probes["kv"].evidence.get("gpu_memory_utilization"))
    at = "" if share is None else f" at a GPU memory utilization of {share:g}"
    sequences, length = int(longest["max_concurrency"]), longest["max_model_len"]
    fit = f"{figures.count(sequences)} sequences of {figures.count(length)} tokens fit at once ({longest['how']})"
    return [f"The KV cache holds {figures.count(capacity_tokens(measurement))} tokens{at}: {fit}."]


def footprint_sentences(measurement: Measurement) -> list[str]:
    rows, found = of_kind(measurement, "footprint", "measured"), line(measurement)
    if not rows:
        return []
    if found is None:
        return ["Memory was measured at one size of the cache only, so what a token takes is not known."]
    what = MEMORY[memory_kind(measurement)]
    points = f"least squares over {found.readings} servers"
    said = f"{what} grows by {figures.digits(found.bytes_per_token / KIB)} KiB per token ({points})"
    expected = architecture_bytes(measurement)
    if expected is None:
        return [f"{said}; what the architecture says is not known."]
    apart = figures.percent(apart_percent(measurement))
    caveat = f" {PSS_CAVEAT}" if memory_kind(measurement) == "pss" else ""
    return [f"{said}, {apart} % from the {figures.digits(expected / KIB)} KiB that the architecture says.{caveat}"]


def left_out(measurement: Measurement) -> list[str]:
    """Return what the probe said of lengths that it did not size."""
    return [f"Not sized: {each}." for each in sentences(measurement.probes["kv"].evidence.get("left_out"))]


def section(host: Host) -> Section | None:
    measured = host.moments_of("kv")
    if not measured:
        return None
    newest = measured[-1][1]
    made = (capacity_table(newest), footprint_table(newest), fits_table(newest))
    earlier = (
        table(part, f", {when} tuning") for when, part in measured[:-1] for table in (capacity_table, footprint_table)
    )
    return Section(
        "kv",
        "KV cache and max-model-len",
        tables=tuple(table for table in made if table.rows),
        figures=plots.some(
            _plot(newest, "footprint", "memory_used_mb", Axis(MEMORY[memory_kind(newest)], "MiB")),
            _plot(newest, "capacity", "max_concurrency", Axis("sequences that fit", log=True)),
        ),
        details=tuple(table for table in earlier if table.rows),
    )


def _plot(measurement: Measurement, kind: str, key: str, y: Axis) -> Plot:
    """What was measured and what follows from it, against max-model-len."""
    found = {
        how: tuple((row["max_model_len"], row[key]) for row in of_kind(measurement, kind, how) if row[key] is not None)
        for how in ("measured", "derived")
    }
    return plots.curves(
        f"{kind[:1].upper()}{kind[1:]} against max-model-len",
        Axis("max-model-len", "tokens", log=True),
        y,
        [Series(how, points) for how, points in found.items()],
    )


def capacity_table(measurement: Measurement, when: str = "") -> Table:
    return Table(
        f"Capacity at a fixed share of memory{when}",
        (
            Column("max-model-len", "tokens", numeric=True),
            Column("How"),
            Column("KV cache", "tokens", numeric=True),
            Column("KV cache", "MiB", numeric=True),
            Column("Per token", "KiB", numeric=True),
            Column("Blocks", numeric=True),
            Column("Tokens per block", numeric=True),
            Column("Sequences that fit", numeric=True),
            Column(MEMORY[memory_kind(measurement)], "MiB", numeric=True),
        ),
        tuple(
            (
                tables.count(row["max_model_len"]),
                tables.text(row["how"]),
                tables.count(row["kv_tokens"]),
                tables.mib(row["kv_bytes"] / MIB),
                tables.rate(row["kv_bytes"] / row["kv_tokens"] / KIB if row["kv_tokens"] else None),
                tables.count(row["blocks"]),
                tables.count(row["block_size"]),
                tables.count(int(row["max_concurrency"])),
                tables.mib(row["memory_used_mb"]),
            )
            for row in of_kind(measurement, "capacity")
        ),
        "Derived rows follow from a measured one: the cache stays the same, another length divides it. "
        "The cache's bytes are its tokens as the architecture sizes them.",
    )


def footprint_table(measurement: Measurement, when: str = "") -> Table:
    found, kind = line(measurement), memory_kind(measurement)
    rows = []
    for row in of_kind(measurement, "footprint"):
        used = row["memory_used_mb"]
        known = used is not None and found is not None and row["how"] == "measured"
        rows.append(
            (
                tables.count(row["max_model_len"]),
                tables.text(row["how"]),
                tables.count(row["sequences"]),
                tables.count(row["kv_tokens"]),
                tables.mib(row["kv_bytes"] / MIB),
                tables.mib(used),
                tables.rate(used - found.at(row["kv_tokens"]) if known else None),
            )
        )
    return Table(
        f"Footprint of sequences of that length{when}",
        (
            Column("max-model-len", "tokens", numeric=True),
            Column("How"),
            Column("Sequences", numeric=True),
            Column("KV cache", "tokens", numeric=True),
            Column("KV cache", "MiB", numeric=True),
            Column(MEMORY[kind], "MiB", numeric=True),
            Column("Off the line", "MiB", numeric=True),
        ),
        tuple(rows),
        "Derived rows lie on a line with the nearest measured one. Its slope is that through all servers, those of the "
        "capacity too, so a small server may be well off it.",
    )


def fits_table(measurement: Measurement) -> Table:
    return Table(
        "Which max-model-len fits which concurrency",
        (
            Column("Sequences at once", numeric=True),
            Column("Longest max-model-len tried that fits", "tokens", numeric=True),
            Column("Tokens for each, at most", numeric=True),
        ),
        tuple(
            (
                tables.count(fit.concurrency),
                tables.count(fit.longest),
                tables.count(fit.tokens_each),
            )
            for fit in fits(measurement)
        ),
        "Every sequence at its full length. Tokens for each are the measured capacity divided by the sequences.",
    )
