"""The vLLM servers of one run of the agent: one lives at a time, and probes that can share a start do."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .. import gpu
from ..clock import SERVER_START, SERVER_STOP, Clock
from ..host import cpu, meminfo
from ..models import architecture
from ..spec import Spec
from . import vllm_server
from .fresh import ProcessFailed
from .vllm_server import Server, Start, Timeline

LOG_LIMIT = 64 << 10  # characters of one log that travel with the result; its end says why a start failed
# What vLLM computes in one step. Memory and time depend on it, and its default on the device, so it is pinned.
GPU_BATCHED_TOKENS, CPU_BATCHED_TOKENS = 8192, 2048
# Without them bf16 is emulated, and batching gains nothing: prefill ran at 55 tokens/s, and at 362 in float32.
BF16_INSTRUCTIONS = {"avx512_bf16", "amx_bf16", "bf16"}
CPU_KV_SHARE = 0.25  # of the memory that is available: without a GPU vLLM would help itself to most of the node's


@dataclass(frozen=True)
class CompileCaches:
    """What servers compiled and keep between starts, in a folder of ours: the node's own caches stay as they are."""

    folder: Path

    def environment(self) -> tuple[tuple[str, str], ...]:
        return (
            ("VLLM_CACHE_ROOT", str(self.folder / "vllm")),
            ("TORCHINDUCTOR_CACHE_DIR", str(self.folder / "inductor")),
            ("TRITON_CACHE_DIR", str(self.folder / "triton")),
        )

    def filled(self) -> bool:
        """Tell whether anything compiled is there; vLLM keeps notes about models beside it, which do not count."""
        compiled = (self.folder / name for name in ("vllm/torch_compile_cache", "inductor", "triton"))
        return any(path.is_file() for folder in compiled for path in folder.rglob("*"))

    def empty(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def batches_of(concurrencies: Sequence[int], batch_requests: int) -> tuple[int, ...]:
    """Return the sizes of batch that are measured."""
    return tuple(sorted({1, *concurrencies, batch_requests}))


class Servers:
    """`folder` takes their logs. Whoever makes one calls `stop` in the end."""

    def __init__(self, spec: Spec, model: Path, folder: Path, deadline: float, clock: Clock) -> None:
        self.spec, self.model, self.folder, self.deadline, self.clock = spec, model, folder, deadline, clock
        self.caches = CompileCaches(Path(spec.state_dir) / "server-caches")
        self.log_files: list[Path] = []
        self._running: Server | None = None

    @cached_property
    def usual(self) -> Start:
        """What the shared server is started with. Raises ValueError for a model without a known length.

        Worked out once: memory that is available changes, and must not make the running server another one.
        """
        spec, shape = self.spec, architecture.read(self.model)
        batches = batches_of(spec.concurrencies, spec.batch_requests)
        length, on_gpu = min(spec.max_model_len, shape.context_tokens), gpu.memory_total_mb() is not None
        dtype = "auto" if on_gpu or BF16_INSTRUCTIONS & cpu.flags() else "float32"
        return Start(
            model=self.model,
            max_model_len=length,
            max_num_seqs=max(batches),
            max_num_batched_tokens=GPU_BATCHED_TOKENS if on_gpu else CPU_BATCHED_TOKENS,
            gpu_memory_utilization=spec.gpu_memory_utilization,
            kv_cache_memory_bytes=None if on_gpu else self._cpu_kv_bytes(length, shape.kv_bytes_per_token(dtype)),
            dtype=dtype,
            mode=spec.server_mode if on_gpu or spec.server_mode != "graphs" else "eager",
            graph_sizes=batches,
            port=spec.server_port,
            flags=spec.server_flags,
            environment=(
                *self.caches.environment(),
                *gpu.of_server(spec.server_flags, gpu.chosen(), gpu.listed()).items(),
            ),
        )

    @property
    def running(self) -> Server | None:
        """The server there is, if it answers; none is started."""
        return self._running if self._running and self._answers() else None

    def shared(self) -> Server:
        """Return the running server where it was started as usual and still answers; else start one."""
        running = self.running
        return running if running and running.start == self.usual else self.fresh(self.usual)

    def fresh(self, start: Start) -> Server:
        """End the running server, if any, and return a new one. Raises ProcessFailed."""
        self.stop()
        log = self.folder / f"server-{len(self.log_files)}.log"
        self.log_files.append(log)
        with self.clock.of(SERVER_START):
            self._running = vllm_server.launch(start, log, self.spec.server_wait_s, self.deadline)
        return self._running

    def stop(self) -> Timeline | None:
        """End the running server and return its readings. Raises ProcessFailed when GPU memory does not come back."""
        running, self._running = self._running, None
        if running is None:
            return None
        with self.clock.of(SERVER_STOP):
            timeline = running.stop()
        if timeline.gpu_back() is False:
            raise ProcessFailed(
                f"the server has ended, and {timeline.gpu_mb['after']:.0f} MiB of the GPU's memory are in use where "
                f"{timeline.gpu_mb['before']:.0f} were before its start"
            )
        return timeline

    def logs(self) -> dict[str, str]:
        """Return the end of each log by the name of its file."""
        return {log.name: log.read_text(errors="replace")[-LOG_LIMIT:] for log in self.log_files if log.exists()}

    def _answers(self) -> bool:
        try:
            self._running.check()
        except ProcessFailed:
            return False
        return True

    def _cpu_kv_bytes(self, length: int, bytes_per_token: int | None) -> int:
        available = meminfo.read()["MemAvailable"] << 10
        wanted = self.spec.kv_sequences * length * (bytes_per_token or 0) or available
        return int(min(wanted, CPU_KV_SHARE * available))
