"""Requests one after another, all at once, and at rising concurrency: tier 3B of the labs.

Every prompt is new to the server and every answer has the same length. The sweep is a closed loop: `concurrency` slots,
each sending its next request when the last one was answered; one request after another is its first step. A step has
twice as many requests as slots, and never fewer than 16: p50 and p95 of a step mean something, its p99 is close to its
slowest request. This sweep is also the run's curve of p95 against concurrency.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..bench import Bench
from ..engines import client
from ..spec import Spec
from .alone import mean_since, refuse_failures
from .saturation import saturation

PROMPT_TOKENS = 24  # about what the labs' sentence has
WARM_UP_TOKENS = 4
SWEEP_REQUESTS_PER_SLOT, SWEEP_REQUESTS = 2, 16
STEP_BUDGET_S = 15.0  # of one step of the sweep
RISE, FLAT_STEPS = 1.05, 2  # a sweep ends when so many steps in a row gave no more than 5 % above the best before them
LEAK_WAIT_S = 5.0
QUEUE = "vllm:request_queue_time_seconds"
KV_USAGE, RUNNING, WAITING = "vllm:kv_cache_usage_perc", "vllm:num_requests_running", "vllm:num_requests_waiting"
SWEPT = ("sequential", "sweep")
OF_THE_LOAD = "load_"  # columns that all rows of a load share


@dataclass(frozen=True)
class Step:
    mode: str
    concurrency: int
    requests: int

    @property
    def phase(self) -> str:
        """Its name in the server's timeline."""
        return f"sweep at {self.concurrency}" if self.mode == "sweep" else self.mode


def rows(bench: Bench) -> Iterator[dict[str, Any]]:
    """Yield a row per request; columns that start with `load_` are the same for all requests of one load."""
    bench.needs_server()
    server, ids = bench.server(), client.vocabulary(bench.model)
    steps = _steps(bench.spec, server.start.max_num_seqs)
    bench.progress.expect(1 + len(steps))
    bench.progress.step("warm-up")
    server.mark("batching warm-up")
    for number, concurrency in enumerate((1, bench.spec.batch_requests)):
        requests = client.prompts(
            ids, [PROMPT_TOKENS] * concurrency, WARM_UP_TOKENS, f"batching warm-up {number} {bench.spec.seed}"
        )
        warm = bench.send(server, requests, concurrency)
        refuse_failures(warm.rows, server)
    measured: list[dict[str, Any]] = []
    for number, step in enumerate(steps):
        bench.progress.step(f"{step.requests} requests, {step.concurrency} at a time")
        if step.mode == "sweep" and _needless(loads(measured), step):
            continue
        for row in _load(bench, server, ids, number, step):
            measured.append(row)
            yield row
        refuse_failures([row for row in measured if row["load"] == number], server)


def evidence(samples: list[dict[str, Any]], bench: Bench) -> dict[str, Any]:
    """Return a row per load, where the sweep saturates, what was left out of it, and whether all KV blocks are free."""
    server = bench.servers.running
    found = [
        {**load, "gpu_utilization_percent": server and _utilization(server.timeline(), _step_of(load).phase)}
        for load in loads(samples)
    ]
    saturated = saturation(_sweep(found))
    return {
        "loads": found,
        "saturation": saturated._asdict() if saturated else None,
        "left_out": left_out(bench.spec, bench.servers.usual.max_num_seqs, samples),
        "leak": server and _leak(server),
    }


def headline(samples: list[dict[str, Any]]) -> dict[str, float]:
    """Return both modes' seconds and tokens/s, the gain of the one over the other, and where the sweep saturates."""
    found = [load for load in loads(samples) if not load["failed"]]
    figures = {
        f"{load['mode']}_{key}": round(load[column], 4)
        for load in found
        if load["mode"] != "sweep"
        for key, column in (("s", "wall_s"), ("tokens_per_s", "tokens_per_s"))
    }
    if {"sequential_s", "concurrent_s"} <= figures.keys():
        figures["gain"] = round(figures["sequential_s"] / figures["concurrent_s"], 2)
    saturated = saturation(_sweep(found))
    return {**figures, **({"saturation_concurrency": saturated.concurrency} if saturated else {})}


def loads(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row per load, from the rows of its requests."""
    found = []
    for number in sorted({row["load"] for row in samples}):
        rows_of_it = [row for row in samples if row["load"] == number]
        first, tokens = rows_of_it[0], sum(row["output_tokens"] for row in rows_of_it)
        found.append(
            {
                **{key: first[key] for key in ("load", "mode", "concurrency")},
                **{key.removeprefix(OF_THE_LOAD): first[key] for key in first if key.startswith(OF_THE_LOAD)},
                "requests": len(rows_of_it),
                "failed": sum(bool(row["error"]) for row in rows_of_it),
                "output_tokens": tokens,
                "tokens_per_s": tokens / first["load_wall_s"] if first["load_wall_s"] else 0.0,
            }
        )
    return found


def expected_s(known: list[dict[str, Any]], step: Step) -> float:
    """Return how long a step would take: its rate lies between those of the loads with fewer and with more slots.

    Between two of them it grows with a power of the concurrency; without one with more, no faster is expected.
    """
    rates = {
        load["concurrency"]: load["requests"] / load["wall_s"]
        for load in known
        if load["wall_s"] and not load["failed"]
    }
    fewer = max((number for number in rates if number <= step.concurrency), default=None)
    more = min((number for number in rates if number > step.concurrency), default=None)
    if fewer is None:
        return 0.0
    rate = rates[fewer]
    if more is not None and rates[more] > rate:
        rate *= (rates[more] / rate) ** (math.log(step.concurrency / fewer) / math.log(more / fewer))
    return step.requests / rate


def is_flat(points: Sequence[tuple[int, float]]) -> bool:
    """Tell whether the last steps of a sweep, as (concurrency, tokens_per_s), gave no more than those before them."""
    rates = [rate for _, rate in sorted(points)]
    earlier, last = rates[:-FLAT_STEPS], rates[-FLAT_STEPS:]
    return bool(earlier) and max(last) < RISE * max(earlier)


def left_out(spec: Spec, max_num_seqs: int, samples: list[dict[str, Any]]) -> list[str]:
    """Return a sentence for every part of the sweep that was not measured."""
    known = loads(samples)
    measured = {load["concurrency"] for load in known if load["mode"] in SWEPT}
    said = []
    if beyond := [str(number) for number in sorted(spec.concurrencies) if number > max_num_seqs]:
        said.append(f"concurrency {', '.join(beyond)} is beyond the {max_num_seqs} sequences the server runs at once")
    missing = [step for step in _steps(spec, max_num_seqs) if step.mode == "sweep" and step.concurrency not in measured]
    if is_flat(_sweep(known)) and missing:
        beyond = ", ".join(str(step.concurrency) for step in missing)
        return [*said, f"concurrency {beyond} was left out: throughput had stopped rising"]
    return said + [
        f"concurrency {step.concurrency} was expected to take {expected_s(known, step):.0f} s, "
        f"more than the {STEP_BUDGET_S:g} s a step may"
        for step in missing
    ]


def _needless(known: list[dict[str, Any]], step: Step) -> bool:
    return is_flat(_sweep(known)) or expected_s(known, step) > STEP_BUDGET_S


def _steps(spec: Spec, max_num_seqs: int) -> list[Step]:
    sweep = [number for number in sorted(spec.concurrencies) if 1 < number <= max_num_seqs]
    return [
        Step("sequential", 1, spec.batch_requests),
        Step("concurrent", spec.batch_requests, spec.batch_requests),
        *(Step("sweep", number, max(SWEEP_REQUESTS_PER_SLOT * number, SWEEP_REQUESTS)) for number in sweep),
    ]


def _step_of(load: dict[str, Any]) -> Step:
    return Step(load["mode"], load["concurrency"], load["requests"])


def _sweep(found: list[dict[str, Any]]) -> list[tuple[int, float]]:
    return [(load["concurrency"], load["tokens_per_s"]) for load in found if load["mode"] in SWEPT]


def _load(bench: Bench, server: Any, ids: range, number: int, step: Step) -> list[dict[str, Any]]:
    """Measure one load and return the rows of its requests."""
    seed = f"batching {number} {bench.spec.seed}"
    requests = client.prompts(ids, [PROMPT_TOKENS] * step.requests, bench.spec.batch_tokens, seed)
    before = server.metrics()
    server.mark(step.phase)
    load = bench.send(server, requests, step.concurrency)
    server.mark("between loads")
    failed = any(row["error"] for row in load.rows)
    shared = {
        "load_wall_s": load.wall_s,
        "load_queue_s": None if failed else mean_since(before, server, QUEUE, step.requests),
        "load_client_lag_max_s": load.client_lag_max_s,
        "load_client_lag_p99_s": load.client_lag_p99_s,
    }
    return [{"load": number, "mode": step.mode, "concurrency": step.concurrency, **row, **shared} for row in load.rows]


def _utilization(timeline: Any, phase: str) -> float | None:
    """Return the mean of the GPU's gauge between the phase's mark and the next; None where nothing was read."""
    starts = [mark.at_s for mark in timeline.phases]
    spans = [
        (mark.at_s, end)
        for mark, end in zip(timeline.phases, [*starts[1:], math.inf], strict=True)
        if mark.phase == phase
    ]
    read = [percent for at_s, _, percent, _ in timeline.rows if any(low <= at_s < high for low, high in spans)]
    read = [percent for percent in read if percent is not None]
    return round(statistics.fmean(read), 1) if read else None


def _leak(server: Any) -> dict[str, Any]:
    """Return what the server still holds after the loads, once that is nothing or LEAK_WAIT_S have passed."""
    began = time.monotonic()
    while True:
        metrics = server.metrics()
        held = {name.removeprefix("vllm:"): metrics.get(name) for name in (KV_USAGE, RUNNING, WAITING)}
        spent = time.monotonic() - began
        if not any(held.values()) or spent >= LEAK_WAIT_S:
            return {**held, "waited_s": round(spent, 2), "free": all(value == 0 for value in held.values())}
        time.sleep(0.1)
