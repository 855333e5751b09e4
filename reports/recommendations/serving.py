"""What a server can be given: a length for how many requests at once, and how many servers the memory holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import figures
from ..loose import number
from ..run_folder import Measurement
from ..sections import batching, kv
from ..statistics import numbers
from .kinds import Basis, Recommendation

MEMORY_SHARE = 0.9  # of what is available; the rest is for the page cache and for peaks


def of(measurement: Measurement) -> Iterator[Recommendation]:
    if measurement.samples("kv"):
        yield from _lengths(measurement)
    yield from _replicas(measurement)


def _lengths(measurement: Measurement) -> Iterator[Recommendation]:
    """Say up to which max-model-len the server keeps its best concurrency."""
    tokens = kv.capacity_tokens(measurement)
    rows = kv.of_kind(measurement, "capacity")
    if not tokens or not rows:
        return
    held = (
        f"The KV cache holds {figures.count(tokens)} tokens whatever max-model-len is: "
        + ", ".join(
            f"{figures.count(int(row['max_concurrency']))} sequences of {row['max_model_len']:,}" for row in _ends(rows)
        )
        + "."
    )
    where = batching.saturates(batching.loads(measurement)) if measurement.samples("batching") else None
    if where is None:
        yield Recommendation(
            "max-model-len",
            "Set max-model-len to what the longest request needs: more costs concurrency, not memory.",
            (held, "No concurrency sweep says how many requests at once are worth having."),
            Basis.RULE,
            changes=False,
        )
        return
    longest = kv.longest_for(measurement, where.concurrency)
    busy = f"{figures.plural(where.concurrency, 'request')} at once"
    each = figures.count(tokens // where.concurrency)
    advice = (
        f"No length that was tried keeps {busy} in the KV cache: shorten max-model-len to {each} tokens or less."
        if longest is None
        else f"Keep max-model-len at {longest:,} or less where all requests may be that long: {busy} then fit."
    )
    reached = f"still rose at {busy}, the most that was tried" if where.reached_last else f"saturates at {busy}"
    yield Recommendation(
        "max-model-len",
        advice,
        (held, f"Throughput {reached}; {each} tokens for each of them are there."),
        Basis.RULE,
        changes=False,
        cost="A longer one still serves; fewer requests of that length then run at once.",
    )


def _replicas(measurement: Measurement) -> Iterator[Recommendation]:
    """Say how many servers of this kind the host memory holds."""
    available = number(measurement.host_memory.get("memory_available_mb"))
    peaks = numbers([row["pss_mb"] for row in measurement.samples("serving")], "max")
    one, many = ("vLLM server", "vLLM servers") if peaks else ("transformers process", "transformers processes")
    most = max(peaks or numbers(measurement.samples("load"), "pss_mb"), default=0.0)
    if not available or available <= 0 or most <= 0:
        return
    fit = int(MEMORY_SHARE * available // most)
    yield Recommendation(
        "Replica density",
        f"Host memory holds {figures.plural(fit, one, many)} of this model, GPU memory apart.",
        (
            f"A {one} had at most {figures.mib(most)} MiB (PSS of its processes); {figures.mib(available)} MiB were "
            f"available, {100 * MEMORY_SHARE:g} % of which count. Pages that replicas share are counted for each.",
        ),
        Basis.RULE,
        changes=False,
    )


def _ends(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [rows[0], rows[-1]] if len(rows) > 1 else rows
