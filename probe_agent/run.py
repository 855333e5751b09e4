"""One run on the node: prepare the model, measure probe after probe, keep every sample."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from . import fingerprint, gpu, resume
from .bench import Bench, Skipped
from .clock import MODEL, Clock, timing
from .engines.fresh import ProcessFailed, last_words, python_path
from .engines.servers import Servers
from .host import cgroup, loans, lock, state
from .probes import allocator, bandwidth, batching, curves, kv, load, pressure, serving
from .progress import Progress
from .renewed import NotKept
from .result import ResultFile
from .spec import Spec

PROBES: dict[str, ModuleType] = {
    "load": load,
    "allocator": allocator,
    "bandwidth": bandwidth,
    "pressure": pressure,
    "serving": serving,
    "batching": batching,
    "curves": curves,
    "kv": kv,
}
FAILURES = (ProcessFailed, ValueError, OSError, subprocess.SubprocessError)  # of one probe; the others are measured


class Stopped(BaseException):
    """Somebody asked the agent to end. No Exception: what takes any of those for a missing library would lose it."""


def run(spec: Spec, out: Path) -> int:
    """Measure what `spec` asks for and write `out`. Returns 0, or 1 when a probe failed or nothing could be kept."""
    deadline = time.monotonic() + spec.deadline_s
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, _stop)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with _alone(Path(spec.state_dir)):
            clock, previous = Clock(), _previous(spec, out)
            result = ResultFile(out, spec)
            progress = Progress(
                out.with_name("progress.json"), ("model", *spec.probes), kind=f"{spec.model} {spec.profile}"
            )
            try:
                _measure(spec, previous, result, progress, deadline, clock)
            except (Stopped, *FAILURES) as error:
                result.fail_all(str(error))
                _say(str(error))
            result.finish(clock)
            progress.finish()
    except (NotKept, OSError, Stopped, ValueError) as error:
        _say(f"no result can be kept in {out}: {error}")
        return 1
    failed = {name: part["reason"] for name, part in result.document["probes"].items() if part["status"] == "failed"}
    for name, reason in failed.items():
        _say(f"probe {name} failed: {reason}")
    return 1 if failed else 0


def _previous(spec: Spec, out: Path) -> dict[str, Any] | None:
    """Return the result to resume from, None without one that can be used."""
    if not spec.resume:
        return None
    resume.set_aside(out)
    try:
        return resume.read(resume.previous_of(out))
    except ValueError as error:
        _say(str(error))
        return None


def _measure(
    spec: Spec,
    previous: dict[str, Any] | None,
    result: ResultFile,
    progress: Progress,
    deadline: float,
    clock: Clock,
) -> None:
    gpus = gpu.choose(spec.gpus, gpu.listed(), os.environ.get(gpu.VISIBLE))
    os.environ.update(gpu.environment(gpus))
    result.describe(gpus=gpus, host_memory=state.read())
    with clock.of(MODEL):
        model = _prepare(spec, deadline)
    result.describe(fingerprint=fingerprint.read(spec, model, result.document["host_memory"]["memory_total_mb"]))
    kept = resume.kept(previous, result.document) if previous else {}
    result.take(kept)
    progress.leave_out(set(kept))
    servers = Servers(spec, model, result.path.parent, deadline, clock)
    try:
        measured = functools.partial(_measured, result, set(spec.probes) - set(kept))
        _probe_all(Bench(spec, model, progress, deadline, servers, clock, measured), result, set(kept))
    finally:
        servers.stop()
        result.describe(server_logs=servers.logs())


def _measured(result: ResultFile, names: set[str], name: str) -> list[dict[str, Any]]:
    return result.samples(name) if name in names else []


def _probe_all(bench: Bench, result: ResultFile, kept: set[str]) -> None:
    for name in [name for name in bench.spec.probes if name not in kept]:
        before = bench.clock.read()
        bench.progress.phase(name)
        status, reason = _sampled(name, bench, result)
        parts = {}
        if status != "skipped":
            try:
                parts = _conclusions(PROBES[name], bench, result.samples(name))
            except FAILURES as why:
                status, reason = "failed", reason or str(why)  # the first reason is often that of the second
        result.close(name, status, reason, **parts, timing=timing(bench.clock.read(), before))


def _sampled(name: str, bench: Bench, result: ResultFile) -> tuple[str, str]:
    """Keep every row of a probe. Returns its status and the reason, should there be one."""
    try:
        for row in PROBES[name].rows(bench):
            result.add(name, row)
    except Skipped as why:
        return "skipped", str(why)
    except FAILURES as why:
        return "failed", str(why)
    return "ok", ""


def _conclusions(probe: ModuleType, bench: Bench, samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Return evidence and headline of what was measured, be it all or not."""
    return {"evidence": probe.evidence(samples, bench), "headline": probe.headline(samples)} if samples else {}


def _prepare(spec: Spec, deadline: float) -> Path:
    """Put the model on the node, in a process of its own: building one imports torch. Returns its folder."""
    request = {name: getattr(spec, name) for name in ("model", "model_revision", "models_dir")}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "probe_agent.models.prepare", json.dumps(request)],
            env={**os.environ, **python_path()},
            capture_output=True,
            text=True,
            timeout=max(1.0, deadline - time.monotonic()),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ProcessFailed(f"model {spec.model} was not ready before the deadline of {spec.deadline_s} s") from None
    finally:
        token = os.environ.pop("HF_TOKEN_PATH", "")  # nothing that is measured shall see the hub's token
        if token:
            Path(token).unlink(missing_ok=True)
    if done.returncode:
        raise ProcessFailed(f"model {spec.model} could not be made ready: {last_words(done.stderr)}")
    return Path(done.stdout.splitlines()[-1])


@contextmanager
def _alone(state_dir: Path) -> Iterator[None]:
    """Hold the node's lock: two probes at once would measure each other. Raises ValueError when it is taken.

    What a killed agent left changed is given back first, should its guard have been killed as well.
    """
    with lock.take(state_dir, wait_s=0):
        for sentence in (*loans.give_back(loans.journal(state_dir)), *cgroup.clear()):
            _say(sentence)
        yield


def _stop(number: int, _frame: object) -> None:
    for each in (signal.SIGTERM, signal.SIGINT):  # once is enough; a second one would cut the last words short
        signal.signal(each, signal.SIG_IGN)
    raise Stopped(f"the agent was ended by {signal.Signals(number).name}")


def _say(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")
