"""GPU memory and KV cache against max-model-len: tier 3A of the labs, as the two curves that it really is.

*Capacity*: at a fixed share of the device's memory the KV cache holds the same number of tokens whatever max-model-len
is; what changes is how many sequences of that length fit. *Footprint*: the memory that N sequences of a length really
need, from a server whose KV cache is sized for just them. One start tells the capacity for every length, and with the
footprint of the shortest it draws the line on which the others lie; profile certify starts the longest too, and
the capacity once more at the end farthest from the shared server's length.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Iterator
from typing import Any

from .. import gpu
from ..bench import Bench, Skipped
from ..engines.metrics import Cache
from ..engines.vllm_server import Server, Start
from ..host import meminfo
from ..models import architecture

MIB = 1 << 20
# Of what vLLM may take of a GPU, and of a node's memory: model, activations and other processes need the rest.
GPU_SHARE, CPU_SHARE = 0.7, 0.25
# vLLM's processes import all of it, each for itself, unless they are forked, which it refuses where that is unsafe. How
# long a start takes is no matter here, and memory is the same.
FORKED = ("VLLM_WORKER_MULTIPROC_METHOD", "fork")


def rows(bench: Bench) -> Iterator[dict[str, Any]]:
    """Yield a row per length and kind. Memory is what the device had in use above what it had before the start."""
    bench.needs_server()
    if (shared := gpu.parallel(bench.spec.server_flags)) > 1:
        raise Skipped(f"a server over {shared} GPUs keeps a part of each token on each, and footprints are of one GPU")
    per_token = _bytes_per_token(bench)
    lengths, _ = _lengths(bench, per_token)
    validated = bench.spec.profile == "certify"
    shortest, longest, usual = lengths[0], lengths[-1], bench.servers.usual

    bench.progress.step("capacity of the shared server")
    server = bench.server()
    known = server.cache()
    measured = [_capacity(usual.max_model_len, known, per_token, server)]
    yield measured[-1]
    sized = {length: _sized(bench, length, known.block_size, per_token) for length in lengths}
    started = {shortest, *(length for length in lengths if sized[length] == usual), *([longest] if validated else [])}
    farthest = max(shortest, longest, key=lambda length: abs(length - usual.max_model_len))
    again = {farthest} - {usual.max_model_len} if validated else set()
    bench.progress.expect(1 + len(started) + len(again))
    for length in sorted(started, key=lambda length: sized[length] != usual):  # first what is still there
        bench.progress.step(f"footprint of {bench.spec.kv_sequences} sequences of {length} tokens")
        measured.append(_footprint(bench, sized[length], per_token))
        yield measured[-1]
    for length in again:
        bench.progress.step(f"capacity at {length} tokens")
        server = bench.server(_sooner(dataclasses.replace(usual, max_model_len=length)))
        measured.append(_capacity(length, server.cache(), per_token, server))
        yield measured[-1]

    for length in lengths:
        if length not in {*again, usual.max_model_len}:
            yield _capacity(length, _divided(known, usual.max_model_len, length), per_token)
        if length not in started:
            yield _derived(length, bench.spec.kv_sequences, known.block_size, per_token, measured)


def evidence(samples: list[dict[str, Any]], bench: Bench) -> dict[str, Any]:
    """Return the architecture's bytes per token beside the measured ones, and which lengths were left out and why."""
    per_token = _bytes_per_token(bench)
    on_gpu = gpu.memory_total_mb() is not None
    return {
        "bytes_per_token_architecture": per_token,
        "bytes_per_token_measured": _slope(samples),
        "memory": "gpu" if on_gpu else "pss",
        "gpu_memory_utilization": bench.spec.gpu_memory_utilization if on_gpu else None,
        "left_out": _lengths(bench, per_token)[1],
    }


def headline(samples: list[dict[str, Any]]) -> dict[str, float]:
    """Return the tokens that fit, and the measured bytes of one."""
    tokens = [row["kv_tokens"] for row in samples if row["kind"] == "capacity" and row["how"] == "measured"]
    slope = _slope(samples)
    return {
        **({"kv_capacity_tokens": tokens[0]} if tokens else {}),
        **({"kv_bytes_per_token": round(slope, 1)} if slope is not None else {}),
    }


def footprint_tokens(length: int, sequences: int, block_size: int) -> int:
    """Return the tokens for which blocks must be there: a sequence takes whole blocks."""
    return -(-length // block_size) * block_size * sequences


def _bytes_per_token(bench: Bench) -> int:
    known = architecture.read(bench.model).kv_bytes_per_token(bench.servers.usual.dtype)
    if known is None:
        raise Skipped(f"{bench.spec.model} keeps no keys and values per head, so no footprint can be asked for")
    return known


def _lengths(bench: Bench, per_token: int) -> tuple[list[int], list[str]]:
    """Return the lengths to size, and a sentence for those left out."""
    wanted, context = sorted(bench.spec.kv_lengths), architecture.read(bench.model).context_tokens
    room_mb = _room_mb(bench.spec.gpu_memory_utilization)
    longest = room_mb * MIB // (bench.spec.kv_sequences * per_token)
    kept = [length for length in wanted if length <= min(context, longest)]
    said = []
    if beyond := [str(length) for length in wanted if length > context]:
        said.append(f"{', '.join(beyond)} tokens are more than the {context} that the model takes")
    if large := [str(length) for length in wanted if longest < length <= context]:
        said.append(f"{bench.spec.kv_sequences} sequences of {', '.join(large)} tokens need more than {room_mb} MiB")
    if not kept:
        raise ValueError(f"probe_kv_lengths has nothing to size: {'; '.join(said)}")
    return kept, said


def _room_mb(utilization: float) -> int:
    """Return the memory that footprints may take: the model and the server's own need have to fit beside it."""
    total_mb = gpu.memory_total_mb()
    if total_mb:
        return int(GPU_SHARE * utilization * total_mb)
    return int(CPU_SHARE * meminfo.read()["MemTotal"]) >> 10


def _capacity(length: int, cache: Cache, per_token: int, server: Server | None = None) -> dict[str, Any]:
    """Return the row of a length: measured on a server or, without one, derived."""
    return {
        "kind": "capacity",
        "how": "measured" if server else "derived",
        "max_model_len": length,
        "memory_used_mb": _memory_used(server) if server else None,
        "kv_tokens": cache.tokens,
        "kv_bytes": cache.tokens * per_token,
        "blocks": cache.blocks,
        "block_size": cache.block_size,
        "max_concurrency": cache.max_concurrency,
        "sequences": None,
        "ready_s": server.ready_s if server else None,
    }


def _divided(cache: Cache, told_at: int, length: int) -> Cache:
    """Return a cache of which vLLM told at one max-model-len as it would at another: the blocks stay the same."""
    more = footprint_tokens(told_at, 1, cache.block_size) / footprint_tokens(length, 1, cache.block_size)
    concurrency = cache.max_concurrency * more
    return dataclasses.replace(cache, tokens=int(round(concurrency * length, 3)), max_concurrency=concurrency)


def points(rows: Iterable[dict[str, Any]]) -> list[tuple[int, float]]:
    """Return, of every server that was started, the tokens that its KV cache holds and the MiB that it took."""
    measured = (row for row in rows if row["how"] == "measured" and row["memory_used_mb"] is not None)
    return sorted({(row["kv_tokens"], row["memory_used_mb"]) for row in measured})


def _sized(bench: Bench, length: int, block_size: int, per_token: int) -> Start:
    """Return the start of a server whose KV cache holds just the wanted sequences of a length.

    All else is as usual, so that memory differs by the cache alone. On a node without a GPU the shared server may be
    one.
    """
    asked = footprint_tokens(length, bench.spec.kv_sequences, block_size) * per_token
    usual = bench.servers.usual
    wanted = dataclasses.replace(usual, max_model_len=length, kv_cache_memory_bytes=asked)
    return usual if wanted == usual else _sooner(wanted)


def _sooner(start: Start) -> Start:
    return dataclasses.replace(start, environment=(*start.environment, FORKED))


def _footprint(bench: Bench, start: Start, per_token: int) -> dict[str, Any]:
    """Return what a server took that was started so; the shared one is not started again."""
    server = bench.server(None if start == bench.servers.usual else start)
    row = _capacity(start.max_model_len, server.cache(), per_token, server)
    return {
        **row,
        "kind": "footprint",
        "kv_bytes": start.kv_cache_memory_bytes,
        "sequences": bench.spec.kv_sequences,
    }


def _derived(
    length: int, sequences: int, block_size: int, per_token: int, measured: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the row of a length whose server was not started: its memory lies on a line with the nearest that was."""
    tokens, slope = footprint_tokens(length, sequences, block_size), _slope(measured)
    footprints = [row for row in measured if row["kind"] == "footprint"]
    first = min(footprints, key=lambda row: abs(row["kv_tokens"] - tokens))
    known = first["memory_used_mb"] is not None and slope is not None
    return {
        **first,
        "how": "derived",
        "max_model_len": length,
        "memory_used_mb": first["memory_used_mb"] + slope * (tokens - first["kv_tokens"]) / MIB if known else None,
        "kv_tokens": tokens,
        "kv_bytes": tokens * per_token,
        "blocks": tokens // block_size,
        "max_concurrency": float(sequences),
        "ready_s": None,
    }


def _slope(rows: list[dict[str, Any]]) -> float | None:
    """Return bytes per token by least squares over the servers, None where all hold the same number of tokens."""
    found = points(rows)
    if len({tokens for tokens, _ in found}) < 2:
        return None
    return statistics.linear_regression(*zip(*found, strict=True)).slope * MIB


def _memory_used(server: Server) -> float | None:
    """Return what the device held, in MiB, above what it held before the start when the server was ready.

    Without a device it is the server's PSS.
    """
    gpu_mb = [row.gpu_mb for row in server.timeline().rows if row.gpu_mb is not None and row.at_s <= server.ready_s]
    return gpu_mb[-1] - gpu_mb[0] if gpu_mb else server.ready_pss_mb
