"""What the server says of requests, beside the client's times; and one request alone, timed by both ends."""

from __future__ import annotations

import time
from typing import Any

from ..bench import Bench
from ..engines import client
from ..engines.fresh import ProcessFailed

TTFT = "vllm:time_to_first_token_seconds"
NEWS_S = 1.0  # a broken connection is seen before the end of the process behind it
COUNT_WAIT_S = 1.0  # the server counts a request a moment after its last token went out


def ask(bench: Bench, server: Any, request: client.Request) -> dict[str, Any]:
    """Return the row of a request that ran alone, with the server's own time to first token.

    Raises ProcessFailed when the request failed.
    """
    before = server.metrics()
    load = bench.send(server, [request], 1)
    refuse_failures(load.rows, server)
    return {**load.rows[0], "server_ttft_s": mean_since(before, server, TTFT, 1)}


def mean_since(before: dict[str, float], server: Any, histogram: str, requests: int) -> float | None:
    """Return the mean that a histogram of the server gives for the requests since `before`.

    None where it has not counted just so many: they are somebody else's too, or the server counts otherwise.
    """
    until = time.monotonic() + COUNT_WAIT_S
    while True:
        after = server.metrics()
        counted, spent = (
            after.get(f"{histogram}_{part}", 0.0) - before.get(f"{histogram}_{part}", 0.0) for part in ("count", "sum")
        )
        if counted >= requests or time.monotonic() >= until:
            return spent / requests if counted == requests else None
        time.sleep(0.02)


def refuse_failures(rows: list[dict[str, Any]], server: Any) -> None:
    """Raise ProcessFailed when a request failed: with the server's last words where it has ended."""
    failed = [row["error"] for row in rows if row["error"]]
    if not failed:
        return
    until = time.monotonic() + NEWS_S
    while time.monotonic() < until:
        server.check()
        time.sleep(0.05)
    raise ProcessFailed(f"{len(failed)} of {len(rows)} requests failed: {failed[0]}")
