"""What a probe works with: the model, the clock, the progress file, and fresh processes."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from . import gpu
from .arms import Arm, Stack
from .clock import PROCESSES, READING, REQUESTS, Clock
from .engines import QUIET, client, fresh, vllm_server
from .engines.servers import Servers
from .engines.vllm_server import Server, Start
from .host import numa, proof
from .progress import Progress
from .spec import SERVER_PAIRS, Spec

CHILD = "probe_agent.engines.transformers_child"
PROMPT = "Explain NUMA-aware inference in 2 short bullet points."


@functools.cache
def stack() -> Stack:
    """Return what this interpreter and the driver bring to the levers."""
    try:
        torch = metadata.version("torch")
    except metadata.PackageNotFoundError:
        torch = None
    return Stack(torch, len(gpu.chosen()))


def _address(device: str) -> str:
    """Return where on PCI a GPU sits: `device`, or the one that processes take first. Empty where there is none."""
    uuid = device or next(iter(gpu.chosen()), "")
    return next((link["pci_bus_id"] or "" for link in gpu.links() if link["uuid"] == uuid), "")


class Skipped(Exception):
    """This node cannot run the probe; the text says why."""


@dataclass(frozen=True)
class Bench:
    """`deadline` is a time.monotonic() value that ends the whole run. At most one server runs at a time.

    `measured` returns the rows that an earlier probe of this run has left, none of one taken over from another run.
    """

    spec: Spec
    model: Path
    progress: Progress
    deadline: float
    servers: Servers
    clock: Clock
    measured: Callable[[str], list[dict[str, Any]]] = lambda _: []

    def process(
        self, arm: Arm, new_tokens: int, generations: int, pin_mb: int = 0, device: str = ""
    ) -> tuple[dict[str, Any], fresh.Finished]:
        """Measure one fresh process. Returns the row every probe keeps, and all that the process gave.

        On a node with a GPU it pins `pin_mb` MiB when all else is done. `device` is the UUID of another GPU than the
        first that is visible.
        """
        if time.monotonic() >= self.deadline:
            raise fresh.ProcessFailed(f"the deadline of {self.spec.deadline_s} s came before all samples were taken")
        job = {
            "model": str(self.model),
            "prompt": PROMPT,
            "new_tokens": new_tokens,
            "generations": generations,
            "pin_mb": pin_mb,
        }
        prepare = functools.partial(numa.bind, numa.best(_address(device))) if arm.binds else None
        load = os.getloadavg()[0]
        environment = {**arm.environment(stack().torch or ""), **gpu.environment([device] if device else [])}
        done = self.child(CHILD, job, environment, prepare=prepare)
        stages = {f"{name}_s": seconds for name, seconds in done.stages_s.items()}
        memory = asdict(proof.total(done.proof.tree))
        memory["allocators"] = list(memory["allocators"])
        row = {
            "arm": arm.name,
            "load1_before": load,
            **stages,
            "wall_real_s": done.wall_s,
            **memory,
            "device": done.reply["device"],
            **({"gpu": done.reply["gpu"]} if done.reply["gpu"] else {}),
        }
        return row, done

    def child(
        self,
        module: str,
        job: dict[str, Any],
        environment: dict[str, str],
        deadline: float | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> fresh.Finished:
        """Run one fresh process; as `fresh.run`, before `deadline` or the run's. Raises ProcessFailed."""
        with self.clock.of(PROCESSES):
            done = fresh.run(module, job, {**QUIET, **environment}, deadline or self.deadline, prepare)
        self.clock.move(done.held_s, PROCESSES, READING)
        return done

    def send(self, server: Server, requests: list[client.Request], concurrency: int) -> client.Load:
        """Send requests to a server and return what became of each."""
        with self.clock.of(REQUESTS):
            return client.send(server.url, server.served_name, requests, concurrency, self.deadline, server.check)

    def needs_server(self) -> None:
        """Raise Skipped where no vLLM server is started: by the profile, or for want of vLLM."""
        if self.spec.profile not in SERVER_PAIRS:
            raise Skipped(f"profile {self.spec.profile} starts no server")
        lacks = vllm_server.lacks()
        if lacks:
            raise Skipped(lacks)

    def server(self, start: Start | None = None) -> Server:
        """Return the shared vLLM server, started when first asked for, or one of its own for `start`."""
        return self.servers.fresh(start) if start else self.servers.shared()
