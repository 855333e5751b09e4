"""Shows that the client is not what is measured: it runs beside `vllm bench serve`, against the same servers.

First on a stub that answers at once, where the requests per second are the client's own; then on a real vLLM server
with synthetic:tiny, where both should see the same time to first token. Runs in the node's environment: `make bench`,
or with the URL of a server that runs already as argument. The two take turns, and the one that goes first changes from
round to round: a machine that slows down slows both. It prints and judges nothing.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from probe_agent import paths
from probe_agent.clock import Clock
from probe_agent.engines import client
from probe_agent.engines.servers import Servers
from probe_agent.models.prepare import prepare
from probe_agent.spec import Spec

STUB = Path(__file__).with_name("stub_server.py")
THEIRS = """
import argparse
from vllm.benchmarks import serve
parser = argparse.ArgumentParser()
serve.add_cli_args(parser)
serve.main(parser.parse_args())
"""


@dataclass(frozen=True)
class Work:
    """The same for both. `prompt_tokens` and `output_tokens` are those of one request."""

    rounds: int
    requests: int
    concurrency: int
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Measured:
    requests_per_s: float
    ttft_p50_ms: float


ON_THE_STUB = (Work(3, 3000, 32, 24, 16), Work(3, 1000, 1, 24, 16))
ON_VLLM = (Work(5, 40, 1, 24, 4),)


def ours(url: str, model: Path, work: Work, seed: int) -> Measured:
    requests = client.prompts(
        client.vocabulary(model), [work.prompt_tokens] * work.requests, work.output_tokens, f"bench {seed}"
    )
    load = client.send(url, "probe", requests, work.concurrency, time.monotonic() + 300, lambda: None)
    assert not any(row["error"] for row in load.rows), load.rows
    ttft_s = statistics.median(row["ttft_s"] for row in load.rows)
    return Measured(work.requests / load.wall_s, 1000 * ttft_s)


def theirs(url: str, model: Path, work: Work, seed: int) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        options = {
            "--backend": "openai",
            "--endpoint": "/v1/completions",
            "--base-url": url,
            "--model": "probe",
            "--tokenizer": model,
            "--dataset-name": "random",
            "--random-input-len": work.prompt_tokens,
            "--random-output-len": work.output_tokens,
            "--num-prompts": work.requests,
            "--max-concurrency": work.concurrency,
            "--temperature": 0,
            "--seed": seed,
            "--result-dir": folder,
            "--result-filename": "result.json",
        }
        arguments = [str(part) for option in options.items() for part in option]
        done = subprocess.run(
            [sys.executable, "-c", THEIRS, *arguments, "--ignore-eos", "--save-result", "--disable-tqdm"],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found = json.loads((Path(folder) / "result.json").read_text())
    assert found["completed"] == work.requests, found
    return Measured(found["request_throughput"], found["median_ttft_ms"])


def compare(name: str, url: str, model: Path, work: Work) -> None:
    """Print each round, and the median of what one round's two figures are to each other."""
    print(
        f"\n{name}: {work.requests} requests, {work.concurrency} at a time, "
        f"{work.prompt_tokens} tokens in and {work.output_tokens} out"
    )
    print(f"{'round':>5}  {'requests/s':>10}  {'vllm bench':>10}  {'TTFT p50 ms':>11}  {'vllm bench':>10}")
    ratios = []
    for number in range(work.rounds):
        both = {}
        for measure in (ours, theirs) if number % 2 else (theirs, ours):
            both[measure] = measure(url, model, work, seed=number + int(time.time()))
        mine, other = both[ours], both[theirs]
        ratios.append((mine.requests_per_s / other.requests_per_s, mine.ttft_p50_ms / other.ttft_p50_ms))
        print(
            f"{number + 1:>5}  {mine.requests_per_s:>10.1f}  {other.requests_per_s:>10.1f}  "
            f"{mine.ttft_p50_ms:>11.3f}  {other.ttft_p50_ms:>10.3f}",
            flush=True,
        )
    rate, ttft = (statistics.median(column) for column in zip(*ratios, strict=True))
    print(f"ours / theirs, median of the rounds: requests/s {rate:.3f}, TTFT p50 {ttft:.3f}")


@contextlib.contextmanager
def stub():
    server = subprocess.Popen([sys.executable, STUB, "answer"], stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
    finally:
        server.kill()
        server.communicate()


@contextlib.contextmanager
def vllm(model: Path):
    with tempfile.TemporaryDirectory() as folder:
        deadline = time.monotonic() + 3600
        servers = Servers(Spec(max_model_len=2048, state_dir=folder), model, Path(folder), deadline, Clock())
        try:
            yield servers.shared().url
        finally:
            servers.stop()


def main() -> None:
    model = prepare("synthetic:tiny", "", str(paths.HOME / "models"))
    with stub() as url:
        for work in ON_THE_STUB:
            compare("stub", url, model, work)
    with contextlib.nullcontext(sys.argv[1]) if sys.argv[1:] else vllm(model) as url:
        for work in ON_VLLM:
            compare("vLLM", url, model, work)


if __name__ == "__main__":
    main()
