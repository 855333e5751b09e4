"""One request alone on a server, timed by both of its ends."""

from __future__ import annotations

from typing import Any

from ..bench import Bench
from ..engines.fresh import ProcessFailed
from ..engines.vllm_server import Server

TTFT = "vllm:time_to_first_token_seconds"


def ask(bench: Bench, server: Server, request: Any) -> dict[str, Any]:
    """Return the request's row, with the server's own time to first token: the growth of its sum over one request.

    Raises ProcessFailed when the request failed.
    """
    from ..engines import client  # needs aiohttp, which only the node's environment has

    before = server.metrics()
    load = client.send(server.url, server.served_name, [request], 1, bench.deadline, server.check)
    after = server.metrics()
    row = load.rows[0]
    if row["error"]:
        raise ProcessFailed(f"a request failed: {row['error']}")
    counted = after.get(f"{TTFT}_count", 0) - before.get(f"{TTFT}_count", 0)
    spent = after.get(f"{TTFT}_sum", 0) - before.get(f"{TTFT}_sum", 0)
    return {**row, "server_ttft_s": spent if counted == 1 else None}
