"""First token of a vLLM server, from its spawn on: tier 2B of the labs.

A *cold* start finds the model's files out of the page cache and the compile caches empty; the *warm* start after it
finds both as the cold one left them. Python and its libraries stay in the page cache, unless the operator allowed the
whole of it to be dropped. The last warm server is left running for the probes that share one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from .. import models
from ..bench import Bench
from ..clock import PAGE_CACHE
from ..engines import client
from ..engines.vllm_server import Server
from ..host import pagecache
from ..spec import SERVER_PAIRS
from . import cold, medians
from .alone import ask

PROMPT_TOKENS = 24
OUTPUT_TOKENS = 16  # as in the labs
NEXT_REQUESTS = 5


def rows(bench: Bench) -> Iterator[dict[str, Any]]:
    """Yield a row per server start: `ready_s`, the `first` request and the `next` ones, memory over time."""
    bench.needs_server()
    files, caches = models.files(bench.model), bench.servers.caches
    starts = 2 * SERVER_PAIRS[bench.spec.profile]
    bench.progress.expect(starts)
    for number in range(starts):
        pair, cache = number // 2, ("cold", "warm")[number % 2]
        bench.progress.step(f"{cache} server start {pair + 1} of {starts // 2}")
        bench.servers.stop()
        with bench.clock.of(PAGE_CACHE):
            if cache == "cold":
                caches.empty()
            cold.prepare(cache, files, bench.spec)
            resident, filled = pagecache.residency(files), caches.filled()
        server = bench.server()
        first, following = _requests(bench, server, number)
        shared = number == starts - 1
        timeline = server.timeline() if shared else bench.servers.stop()
        yield {
            "start": number,
            "pair": pair,
            "cache": cache,
            "pages": resident.pages,
            "resident_pages_at_start": resident.resident_pages,
            "compile_cache": ("filled" if filled else "empty") if caches.filled() else "not used",
            "ready_s": server.ready_s,
            "first": first,
            "next": following,
            "gpu_mb": timeline.gpu_mb,
            "pss_mb": timeline.pss_mb,
            "jumps": [asdict(jump) for jump in timeline.jumps()],
            "timeline": timeline.to_json(),
            "log": server.log.name,
            "shared": shared,
        }


def evidence(samples: list[dict[str, Any]], bench: Bench) -> dict[str, Any]:
    """Return what cold meant, and whether every cold start really found the model's files out of the page cache."""
    return {
        **cold.evidence(samples, bench.spec),
        "max_model_len": bench.servers.usual.max_model_len,
        "mode": bench.servers.usual.mode,
    }


def headline(samples: list[dict[str, Any]]) -> dict[str, float]:
    """Return medians over the starts per cache state, as `cold_first_ttft_s`."""
    flat = [
        {
            "cache": row["cache"],
            "ready_s": row["ready_s"],
            "first_ttft_s": row["first"]["ttft_s"],
            "next_ttft_s": medians(row["next"], "ttft_s").get("ttft_s"),
        }
        for row in samples
    ]
    return {
        f"{cache}_{key}": value
        for cache in ("cold", "warm")
        for key, value in medians(
            [row for row in flat if row["cache"] == cache], "ready_s", "first_ttft_s", "next_ttft_s"
        ).items()
    }


def _requests(bench: Bench, server: Server, start: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the first request of the server's life and those after it, one at a time."""
    requests = client.prompts(
        client.vocabulary(bench.model),
        [PROMPT_TOKENS] * (1 + NEXT_REQUESTS),
        OUTPUT_TOKENS,
        f"serving {start} {bench.spec.seed}",
    )
    server.mark("first request")
    first = ask(bench, server, requests[0])
    server.mark("next requests")
    return first, [ask(bench, server, request) for request in requests[1:]]
