"""Runs batching and curves on a vLLM server in the node's environment, and prints as JSON what they gave.

`serving_stand_in.py MODEL SPEC [URL]`: the server is started here unless one is named. A server of ours is killed in
the end, in the middle of one more batching run.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.request import urlopen

from probe_agent import spec
from probe_agent.bench import QUIET
from probe_agent.engines.fresh import ProcessFailed
from probe_agent.probes import batching, curves

SAMPLE = re.compile(r"^(vllm:\w+)(?:\{.*\})? (\S+)$", re.MULTILINE)
START = SimpleNamespace(max_model_len=2048, max_num_seqs=64)


class Server:
    served_name, start = "probe", START

    def __init__(self, url: str, process: subprocess.Popen | None) -> None:
        self.url, self.process, self.phases = url, process, []

    def check(self) -> None:
        if self.process and self.process.poll() is not None:
            raise ProcessFailed(f"the server ended with status {self.process.returncode}")

    def mark(self, phase: str) -> None:
        self.phases.append(SimpleNamespace(at_s=time.monotonic(), phase=phase))

    def metrics(self) -> dict[str, float]:
        found: dict[str, float] = {}
        with urlopen(f"{self.url}/metrics", timeout=5) as answer:  # noqa: S310 - a server of ours
            for name, value in SAMPLE.findall(answer.read().decode()):
                found[name] = found.get(name, 0.0) + float(value)
        return found

    def timeline(self) -> SimpleNamespace:
        return SimpleNamespace(rows=[], phases=self.phases)


class Progress:
    def expect(self, steps: int) -> None:
        pass

    def step(self, text: str) -> None:
        sys.stderr.write(f"{time.monotonic():.1f} {text}\n")


@contextlib.contextmanager
def started(model: str):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = {"--model": model, "--served-model-name": "probe", "--host": "127.0.0.1", "--port": port,
               "--max-model-len": START.max_model_len, "--max-num-seqs": START.max_num_seqs,
               "--max-num-batched-tokens": 2048, "--kv-cache-memory-bytes": 500_000_000}  # fmt: skip
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--enforce-eager"]
    command += [str(part) for option in options.items() for part in option]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, env={**os.environ, **QUIET}, stdout=log, stderr=log, start_new_session=True, cwd="/"
        )
        server = Server(f"http://127.0.0.1:{port}", process)
        try:
            until = time.monotonic() + 240
            while True:
                server.check()
                assert time.monotonic() < until, "the server was not ready in time"
                with contextlib.suppress(OSError), urlopen(f"{server.url}/health", timeout=5):  # noqa: S310
                    break
                time.sleep(0.5)
            yield server
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def measure(bench: SimpleNamespace) -> dict:
    found = {}
    for probe in (batching, curves):
        rows = list(probe.rows(bench))
        name = probe.__name__.rpartition(".")[2]
        found[name] = {"samples": rows, "evidence": probe.evidence(rows, bench), "headline": probe.headline(rows)}
    return found


def measure_a_dying_server(bench: SimpleNamespace) -> dict:
    """Kill the server after the first load of a batching run."""
    rows, reason = [], ""
    try:
        for row in batching.rows(bench):
            if not rows:
                os.killpg(bench.server().process.pid, signal.SIGKILL)
            rows.append(row)
    except ProcessFailed as why:
        reason = str(why)
    return {"samples": rows, "reason": reason, "headline": batching.headline(rows)}


def main() -> None:
    model, wanted, *url = sys.argv[1:]
    with started(model) if not url else contextlib.nullcontext(Server(url[0], None)) as server:
        bench = SimpleNamespace(
            spec=spec.parse(json.loads(wanted)),
            model=Path(model),
            progress=Progress(),
            deadline=time.monotonic() + 400,
            server=lambda: server,
            needs_server=lambda: None,
        )
        found = measure(bench)
        if not url:
            found["dying"] = measure_a_dying_server(bench)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
