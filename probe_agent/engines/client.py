"""The load on a vLLM server: requests of exact length over streaming HTTP, each timed where its tokens arrive.

The loop runs in a thread of its own with nothing else to do: bodies are encoded and connections opened before the
clock starts, so no request's time holds a connection's set-up; a `first` request is the first that the engine works on,
not the first that a socket carries. Garbage is not collected meanwhile. How late a timer in the same loop came is kept
beside the rows: it bounds how wrong their times can be.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .fresh import ProcessFailed
from .stream import Stream, refusal, times

CHECK_S = 1.0  # between two looks at the server's processes
WATCH_S = 0.2  # between two looks at deadline and silence
LAG_TICK_S = 0.005
CONNECT_S = 5.0  # a server that does not even answer /health in this time shows what it has under load
STALL_S = 120.0  # longer than any prefill that a probe asks for


@dataclass(frozen=True)
class Request:
    """`prompt` is token ids: nothing of the time is spent on a tokenizer, and the length is exact."""

    number: int
    prompt: tuple[int, ...]
    output_tokens: int


@dataclass(frozen=True)
class Load:
    """`rows` has one row per request, in their order; `stopped` says why not all had their turn, if so."""

    rows: list[dict[str, Any]]
    wall_s: float
    client_lag_max_s: float
    client_lag_p99_s: float
    stopped: str


def vocabulary(model: Path) -> range:
    """Return the ids a prompt may be made of: the longest run of the tokenizer's own, without any that were added.

    Added tokens (end of text, chat marks) mean something to a server; ids that the model has beyond its tokenizer are
    refused by it. Raises ValueError when the folder does not say.
    """
    config = _json(model / "config.json")
    size = config.get("vocab_size") or config.get("text_config", {}).get("vocab_size")
    tokenizer, described = _json(model / "tokenizer.json"), _json(model / "tokenizer_config.json")
    own = tokenizer.get("model", {}).get("vocab", {})  # {token: id}, or a list of [token, score]
    if own:
        last = max(own.values()) if isinstance(own, dict) else len(own) - 1
        size = min(size or last + 1, last + 1)
    if not size:
        raise ValueError(f"neither config.json nor tokenizer.json of {model} says how large its vocabulary is")
    added = {entry["id"] for entry in tokenizer.get("added_tokens", [])}
    added |= {int(number) for number in described.get("added_tokens_decoder", {})}
    edges = [-1, *sorted(number for number in added if number < size), size]
    return max((range(low + 1, high) for low, high in itertools.pairwise(edges)), key=len)


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def prompts(ids: range, lengths: Sequence[int], output_tokens: int, seed: int | str) -> list[Request]:
    """Return a request per length, no two with the same prompt: the server's prefix cache has nothing to give.

    Two calls on one server need two seeds. Raises ValueError when so many prompts of a length do not exist.
    """
    draw, seen, requests = random.Random(seed), set(), []
    for number, length in enumerate(lengths):
        if len(ids) ** length < lengths.count(length):
            raise ValueError(f"{len(ids)} token ids make fewer than {lengths.count(length)} prompts of {length} tokens")
        while (prompt := tuple(draw.choices(ids, k=length))) in seen:
            pass
        seen.add(prompt)
        requests.append(Request(number, prompt, output_tokens))
    return requests


def send(
    url: str,
    model: str,
    requests: Sequence[Request],
    concurrency: int,
    deadline: float,
    check: Callable[[], None],
    stall_s: float = STALL_S,
) -> Load:
    """Keep `concurrency` requests in flight until all have been answered, and return what was measured.

    `deadline` is a time.monotonic() value; `check` raises ProcessFailed when the server is gone. Either of them, a
    connection that breaks, or a request that got no byte for `stall_s` ends the load; the rows of what had not been
    answered then say so in `error`, as does the row of a request that the server refused. Raises ValueError for a
    concurrency below 1.
    """
    if concurrency < 1:
        raise ValueError(f"concurrency is {concurrency}, and must be at least 1")
    loading = _Loading(url, model, requests, concurrency, deadline, stall_s)
    with ThreadPoolExecutor(max_workers=1) as pool:
        running = pool.submit(asyncio.run, loading.run())
        try:
            while not wait([running], timeout=CHECK_S).done:
                check()
        except ProcessFailed as gone:
            loading.stop(str(gone))
        finally:
            loading.stop("the load was broken off")  # a signal to the agent is raised here, in the main thread
    return running.result()


class _Loading:
    """One load while it lives. All but `stop` runs in its loop."""

    def __init__(
        self, url: str, model: str, requests: Sequence[Request], concurrency: int, deadline: float, stall_s: float
    ) -> None:
        self.url, self.deadline, self.stall_s = url, deadline, stall_s
        self.concurrency = min(concurrency, len(requests))
        self.pending = iter([(request, _body(model, request)) for request in requests])
        self.rows: list[dict[str, Any]] = []
        self.heard_at: dict[int, float] = {}  # of the requests in flight
        self.lags: list[float] = []
        self.stopped = ""
        self.began = 0.0

    def stop(self, why: str) -> None:
        """End the load soon; the first reason stays. Any thread may call it."""
        self.stopped = self.stopped or why

    async def run(self) -> Load:
        import aiohttp  # comes with vLLM; the agent itself needs only the standard library

        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
            headers={"Content-Type": "application/json"},
        )
        async with session:
            await self._connect(session)
            with _uncollected():
                self.began = time.perf_counter()
                workers = [asyncio.create_task(self._work(session)) for _ in range(self.concurrency)]
                beside = [asyncio.create_task(self._watch(workers)), asyncio.create_task(self._measure_lag())]
                done = await asyncio.gather(*workers, return_exceptions=True)
                wall_s = time.perf_counter() - self.began
                for task in beside:
                    task.cancel()
        for outcome in done:
            if isinstance(outcome, Exception):
                raise outcome
        self.rows += [
            self._row(request, self.began + wall_s, Stream(), f"not sent: {self.stopped}")
            for request, _ in self.pending
        ]
        lags = sorted(self.lags) or [0.0]
        return Load(
            sorted(self.rows, key=lambda row: row["request"]),
            wall_s,
            lags[-1],
            lags[int(0.99 * (len(lags) - 1))],
            self.stopped,
        )

    async def _connect(self, session: Any) -> None:
        """Open all connections of the load; they stay in the session's pool."""

        async def touch() -> None:
            async with session.get(f"{self.url}/health") as answer:
                await answer.read()

        left = min(CONNECT_S, self.deadline - time.monotonic())
        touches = [touch() for _ in range(self.concurrency)]
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.gather(*touches, return_exceptions=True), max(0.1, left))

    async def _work(self, session: Any) -> None:
        for request, body in self.pending:
            self.rows.append(await self._ask(session, request, body))
            if self.stopped:
                return

    async def _ask(self, session: Any, request: Request, body: bytes) -> dict[str, Any]:
        """Send one request and return its row, whatever becomes of it."""
        import aiohttp

        stream, error = Stream(), ""
        posted_at = self.heard_at[request.number] = time.perf_counter()
        try:
            async with session.post(f"{self.url}/v1/completions", data=body) as answer:
                if answer.status != 200:
                    error = refusal(answer.status, await answer.read())
                else:
                    async for data in answer.content.iter_any():
                        at = self.heard_at[request.number] = time.perf_counter()
                        stream.feed(data, at)
                    error = stream.ended(request.output_tokens)
        except asyncio.CancelledError:
            error = self.stopped
        except (aiohttp.ClientError, OSError) as why:
            error = f"the connection to the server broke: {str(why) or type(why).__name__}"
            self.stop(error)  # on one machine that is the server's end, not the network's
        del self.heard_at[request.number]
        return self._row(request, posted_at, stream, error)

    def _row(self, request: Request, posted_at: float, stream: Stream, error: str) -> dict[str, Any]:
        return {
            "request": request.number,
            "sent_s": posted_at - self.began,
            **times(stream, posted_at),
            "prompt_tokens": stream.usage.get("prompt_tokens", len(request.prompt)),
            "error": error,
        }

    async def _watch(self, workers: list[asyncio.Task]) -> None:
        """End the workers when somebody asked for it, when the deadline has come, or when a request heard nothing."""
        while not self.stopped:
            await asyncio.sleep(WATCH_S)
            silent_since = min(self.heard_at.values(), default=time.perf_counter())
            if time.monotonic() >= self.deadline:
                self.stop("the deadline came before the server had answered")
            elif time.perf_counter() - silent_since > self.stall_s:
                self.stop(f"the server sent no byte for {self.stall_s:g} s")
        for worker in workers:
            worker.cancel()

    async def _measure_lag(self) -> None:
        while True:
            due = time.perf_counter() + LAG_TICK_S
            await asyncio.sleep(LAG_TICK_S)
            self.lags.append(max(0.0, time.perf_counter() - due))


def _body(model: str, request: Request) -> bytes:
    """Return the JSON of a completion that ends after exactly `output_tokens`."""
    return json.dumps(
        {
            "model": model,
            "prompt": request.prompt,
            "max_tokens": request.output_tokens,
            "min_tokens": request.output_tokens,
            "ignore_eos": True,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Keep the garbage collector out of the times: a full collection stops all requests at once."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
