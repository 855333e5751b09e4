"""The process that tokenizes and sends requests while its own Python threads are busy: what they take from both.

Run by `fresh.run`. Busy threads hold the interpreter's lock as a gateway's do that parses and logs beside its requests:
each thread that wants the lock waits up to sys.getswitchinterval() for every other.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import child, client

TEXT = "Explain NUMA-aware inference in 2 short bullet points. " * 400  # 22 kB, a long prompt


def measure(job: dict[str, Any], stage: Callable[[str], None]) -> dict[str, Any]:
    """Give a row per repeat and number of threads, in an order drawn anew for each repeat. Times are seconds."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(job["model"]) / "tokenizer.json"))
    order = random.Random(job["seed"])
    plan = [
        (repeat, threads)
        for repeat in range(job["repeats"])
        for threads in order.sample(job["threads"], len(job["threads"]))
    ]
    ids, lengths = client.vocabulary(Path(job["model"])), [job["prompt_tokens"]] * (len(plan) + 1)
    warm_up, *requests = client.prompts(ids, lengths, job["output_tokens"], f"busy {job['seed']}")
    ask(job, warm_up)
    tokenizer.encode(TEXT)
    stage("warm-up")
    rows = []
    for (repeat, threads), request in zip(plan, requests, strict=True):
        with busy(threads):
            began = time.perf_counter()
            encoded = tokenizer.encode(TEXT)
            tokenize_s = time.perf_counter() - began
            answered = ask(job, request)
        rows.append(
            {
                "curve": "busy_threads",
                "repeat": repeat,
                "threads": threads,
                "tokenize_s": tokenize_s,
                "tokenized_tokens": len(encoded.ids),
                "ttft_s": answered["ttft_s"],
                "e2e_s": answered["e2e_s"],
            }
        )
    return {"rows": rows}


def ask(job: dict[str, Any], request: client.Request) -> dict[str, Any]:
    """Return the row of one request. Raises RuntimeError when it failed."""
    load = client.send(job["url"], job["served_name"], [request], 1, job["deadline"], lambda: None)
    if load.rows[0]["error"]:
        raise RuntimeError(load.rows[0]["error"])
    return load.rows[0]


@contextmanager
def busy(threads: int) -> Iterator[None]:
    """Let so many threads do nothing but run Python."""
    done = threading.Event()

    def spin() -> None:
        while not done.is_set():
            pass

    running = [threading.Thread(target=spin, daemon=True) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in running:
            thread.join()


if __name__ == "__main__":
    child.main(measure)
