"""Where latency bends: time to first token against prompt length, and both against busy threads in the client.

The third curve, p95 against concurrency, is the sweep of the batching probe: it is not measured twice.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Sequence
from typing import Any

from ..bench import Bench
from ..engines import client, fresh
from ..spec import Spec
from . import medians
from .alone import ask

OUTPUT_TOKENS = 16
PREFILL_BUDGET_S = 5.0  # that a prompt may be expected to take to its first token
BUSY_CHILD = "probe_agent.engines.busy_child"
BUSY_THREADS = (0, 1, 2, 4)
BUSY_PROMPT_TOKENS = 128
BUSY_WAIT_S = 180.0


def rows(bench: Bench) -> Iterator[dict[str, Any]]:
    """Yield a row per prompt length and repeat, one request alone at a time, then a row per count of busy threads.

    The first repeat goes from the shortest length to the longest, each only if the shorter ones let expect that it
    keeps within its budget; the other repeats take the measured lengths in an order drawn from the seed.
    """
    bench.needs_server()
    server = bench.server()
    lengths, _ = usable(bench.spec.prompt_lengths, server.start.max_model_len)
    bench.progress.expect(bench.spec.repeats + 1)
    server.mark("prompt lengths")
    yield from _against_length(bench, server, lengths)
    bench.progress.step(f"requests beside {', '.join(map(str, BUSY_THREADS))} busy threads")
    server.mark("busy threads")
    yield from _beside_busy_threads(bench, server)
    server.mark("idle")


def evidence(samples: list[dict[str, Any]], bench: Bench) -> dict[str, Any]:
    """Return which lengths were cut or left out and why, and where the curve against concurrency stands."""
    return {
        "output_tokens": OUTPUT_TOKENS,
        "left_out": left_out(bench.spec, bench.servers.usual.max_model_len, samples),
        "against_concurrency": "the sweep of the batching probe",
    }


def headline(samples: list[dict[str, Any]]) -> dict[str, float]:
    """Return medians per prompt length and per count of busy threads, and the best prefill and decode rates."""
    figures: dict[str, float] = {}
    rates: dict[str, list[float]] = {"prefill_tokens_per_s": [], "decode_tokens_per_s": []}
    by_length = [row for row in samples if row["curve"] == "prompt_length"]
    for length in sorted({row["prompt_tokens"] for row in by_length}):
        found = medians([row for row in by_length if row["prompt_tokens"] == length], "ttft_s", *rates)
        for key, value in found.items():
            if key in rates:
                rates[key].append(value)
            else:
                figures[f"prompt_{length}_{key}"] = value
    figures |= {key: max(values) for key, values in rates.items() if values}
    by_threads = [row for row in samples if row["curve"] == "busy_threads"]
    for threads in sorted({row["threads"] for row in by_threads}):
        found = medians([row for row in by_threads if row["threads"] == threads], "tokenize_s", "ttft_s", "e2e_s")
        figures |= {f"busy_{threads}_{key}": value for key, value in found.items()}
    return figures


def usable(wanted: Sequence[int], max_model_len: int) -> tuple[list[int], list[str]]:
    """Return the prompt lengths that leave room for the answer, the rest cut to the longest that does, and a word."""
    longest = max_model_len - OUTPUT_TOKENS
    if not (beyond := [str(length) for length in sorted(wanted) if length > longest]):
        return sorted(wanted), []
    said = (
        f"a prompt of {', '.join(beyond)} tokens and {OUTPUT_TOKENS} more to answer are beyond the server's "
        f"max-model-len of {max_model_len}: {longest} was measured in place"
    )
    return sorted({min(length, longest) for length in wanted}), [said]


def expected_s(known: Sequence[tuple[int, float]], length: int) -> float:
    """Return when a first token would come, from (length, seconds) of shorter prompts; 0 when nothing is known.

    Time grows with a power of the length: 1 where the weights' multiplications dominate, towards 2 where attention
    does. The power is that of the last two points, kept within these bounds.
    """
    if not known:
        return 0.0
    last, seconds = known[-1]
    power = 1.0
    if len(known) > 1 and known[-2][1] > 0 and seconds > 0:
        before, less = known[-2]
        power = min(2.0, max(1.0, math.log(seconds / less) / math.log(last / before)))
    return seconds * (length / last) ** power


def left_out(spec: Spec, max_model_len: int, samples: list[dict[str, Any]]) -> list[str]:
    """Return a sentence for lengths that were cut, and one for those whose budget would not have sufficed."""
    lengths, said = usable(spec.prompt_lengths, max_model_len)
    measured = {row["prompt_tokens"] for row in samples if row["curve"] == "prompt_length"}
    if slow := [str(length) for length in lengths if length not in measured]:
        said.append(
            f"a prompt of {', '.join(slow)} tokens was left out: by the shorter ones, its first token was expected "
            f"after more than {PREFILL_BUDGET_S:g} s"
        )
    return said


def _against_length(bench: Bench, server: Any, lengths: list[int]) -> Iterator[dict[str, Any]]:
    ids, order = client.vocabulary(bench.model), random.Random(bench.spec.seed)

    def request(length: int, name: str) -> client.Request:
        return client.prompts(ids, [length], OUTPUT_TOKENS, f"curves {name} {length} {bench.spec.seed}")[0]

    ask(bench, server, request(lengths[0], "warm-up"))
    known: dict[int, float] = {}
    for repeat in range(bench.spec.repeats):
        bench.progress.step(f"prompt lengths up to {lengths[-1]}, repeat {repeat + 1} of {bench.spec.repeats}")
        for length in order.sample(list(known), len(known)) if repeat else lengths:
            if not repeat and expected_s(list(known.items()), length) > PREFILL_BUDGET_S:
                continue
            row = ask(bench, server, request(length, str(repeat)))
            known.setdefault(length, row["ttft_s"])
            yield {
                "curve": "prompt_length",
                "repeat": repeat,
                **row,
                "prefill_tokens_per_s": row["prompt_tokens"] / row["ttft_s"],
                "decode_tokens_per_s": 1 / row["tpot_s"] if row["tpot_s"] else None,
            }


def _beside_busy_threads(bench: Bench, server: Any) -> list[dict[str, Any]]:
    deadline = min(bench.deadline, time.monotonic() + BUSY_WAIT_S)
    job = {
        "model": str(bench.model),
        "url": server.url,
        "served_name": server.served_name,
        "threads": BUSY_THREADS,
        "repeats": bench.spec.repeats,
        "prompt_tokens": BUSY_PROMPT_TOKENS,
        "output_tokens": OUTPUT_TOKENS,
        "seed": bench.spec.seed,
        "deadline": deadline,
    }
    try:
        return bench.child(BUSY_CHILD, job, {}, deadline).reply["rows"]
    except fresh.ProcessFailed:
        server.check()  # if it has ended, its own last words say more
        raise
