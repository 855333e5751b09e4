"""LOG.md: the labs' logging template filled from one host's run, with the commands that repeat each step by hand.

Nothing is said that the figures do not say: where a step was not measured, the log says so and why.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from probe_agent.arms import ARMS, COMPARED, CONTROL, Arm
from probe_agent.engines import servers, vllm_server
from probe_agent.models import SYNTHETIC
from probe_agent.settings import pool_name, values
from probe_agent.spec import Spec

from . import documents, figures, fleet
from .fleet import Row
from .loose import mapping, mappings, number, sentences, words
from .run_folder import Host, Measurement, Run
from .sections import allocators, batching, kv, serving, settings
from .statistics import CALLED

THP = "/sys/kernel/mm/transparent_hugepage"
POOLS = "/sys/kernel/mm/hugepages/hugepages-{size_kb}kB/nr_hugepages"
NODE_POOLS = "/sys/devices/system/node/node{numa_node}/hugepages/hugepages-{size_kb}kB/nr_hugepages"
MODELS = "/opt/stethos/models"  # where the agent builds synthetic ones for root
ON_PATH = "export PYTHONPATH=/opt/stethos/agent/current PATH=/opt/stethos/venv/bin:$PATH"
PORT = 8000
SERVER = ("max_model_len", "gpu_memory_utilization", "server_mode", "server_flags")
OPTIONS = {  # of the spec, what a probe's figures depend on
    "load": ("drop_caches",),
    "serving": SERVER,
    "batching": (*SERVER, "batch_requests", "batch_tokens", "concurrencies"),
    "kv": (*SERVER, "kv_lengths", "kv_sequences"),
}


@dataclass(frozen=True)
class Step:
    """`note` says what the commands are, where they do not say it themselves."""

    title: str
    commands: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class Log:
    run_id: str
    host: str
    environment: tuple[tuple[str, str], ...]
    steps: tuple[Step, ...]
    files: tuple[str, ...]
    numbers: tuple[str, ...]
    observations: tuple[tuple[str, tuple[str, ...]], ...]


def log(run: Run, host: Host, row: Row) -> Log:
    """Return the log of a host that was measured."""
    measured = host.measured
    assert measured is not None  # noqa: S101 - `fleet.files` names no log otherwise
    return Log(
        run.run_id,
        host.name,
        tuple(_environment(measured, row)),
        tuple(_steps(host, measured)),
        tuple(path.rpartition("/")[2] for path in row.files.values()),
        tuple(_numbers(measured, row)) or ("Nothing was measured to its end.",),
        tuple((question, tuple(_answer(measured, probe, said))) for question, probe, said in QUESTIONS),
    )


def quoted(value: Any) -> str:
    """Return a foreign value as one word of bash that no page takes for markup and no terminal for control."""
    text = str(value)
    if re.fullmatch(r"[\w./:=,+@-]+", text, re.ASCII):
        return text
    return "$'" + "".join(c if re.match(r"[\w ./:=,+@-]", c, re.ASCII) else _escaped(c) for c in text) + "'"


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x80 else f"\\U{code:08x}"


def _environment(measured: Measurement, row: Row) -> Iterator[tuple[str, str]]:
    huge = mapping(measured.host_memory.get("meminfo_huge"))
    yield "MODEL", row.model
    gpus = mapping(measured.fingerprint.get("hardware")).get("gpus")
    yield "GPU type", words(gpus) if gpus else f"none, measured on {row.device or 'no device'}"
    yield "THP mode", fleet.before_after(row.settings.get(settings.THP)) or "not read"
    yield "nr_hugepages", figures.count(number(huge.get("HugePages_Total")))


def _steps(host: Host, measured: Measurement) -> Iterator[Step]:
    yield Step("The agent and its Python", (ON_PATH,))
    yield Step(
        "Huge pages as they are",
        ("grep -i huge /proc/meminfo", f"cat {THP}/enabled", f"cat {THP}/defrag", "cat /proc/sys/vm/nr_hugepages"),
    )
    changed = tuple(_set(host))
    if changed:
        yield Step("Settings that this run changed", changed)
    for probe, title, by_hand in STEPS:
        if measured.samples(probe):
            yield Step(title, (_agent(measured, probe), *by_hand(measured)))


def _agent(measured: Measurement, probe: str) -> str:
    """Return what repeats a probe as it was run here."""
    compared = allocators.arms(measured) if probe == "allocator" else []
    levers = "".join(f" --arm {name}" for name in compared if name in COMPARED)
    revision = mapping(measured.fingerprint.get("model")).get("revision")
    pinned = f" --model-revision {quoted(revision)}" if isinstance(revision, str) and revision else ""
    model = f"--model {quoted(measured.model)}{pinned} --profile {quoted(measured.profile)}"
    return f"python -m probe_agent run --probe {probe}{levers} {model}{_options(measured, probe)} --out {probe}.json"


def _options(measured: Measurement, probe: str) -> str:
    """Return what was asked of a probe other than by default."""
    asked, said = mapping(measured.fingerprint.get("probe")), ""
    for field in fields(Spec):
        value = asked.get(field.name)
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        if field.name not in OPTIONS.get(probe, ()) or value in (None, default):
            continue
        flag = field.name.replace("_", "-")
        if type(value) is bool:
            said += f" --{flag}" if value else f" --no-{flag}"
        elif type(value) is type(field.default) in (int, float):
            said += f" --{flag} {value}"
        elif isinstance(value, str):
            said += f" --{flag} {quoted(value)}"
        elif isinstance(value, list) and all(type(each) is int for each in value):
            said += f" --{flag} {' '.join(map(str, value))}"
        elif field.name == "server_flags":
            said += "".join(f" --server-flag={quoted(each)}" for each in sentences(value))
    return said


def _set(host: Host) -> Iterator[str]:
    """Yield what sets each changed setting to what was found after."""
    if not (host.baseline and host.result):
        return
    before, after = values(host.baseline.host_memory), values(host.result.host_memory)
    paths = dict(_paths(host.result))
    for name, value in after.items():
        if name in paths and before.get(name) != value:
            yield f"echo {quoted(value.removesuffix(' pages'))} | sudo tee {paths[name]}"
    for mount in mappings(host.result.host_memory.get("hugetlbfs_mounts")):
        if f"hugetlbfs at {mount.get('target')}" not in before:
            target = quoted(mount.get("target"))
            yield f"sudo mkdir -p {target} && sudo mount -t hugetlbfs none {target}"


def _paths(measured: Measurement) -> Iterator[tuple[str, str]]:
    """Yield the kernel's file behind each setting, as far as its name is one that the kernel gives."""
    for name in values(measured.host_memory):
        if found := re.fullmatch(r"THP (?:(hugepages-\d+kB) )?([a-z_]+)", name):
            yield name, "/".join(filter(None, (THP, *found.groups())))
        elif found := re.fullmatch(r"khugepaged ([a-z_]+)", name):
            yield name, f"{THP}/khugepaged/{found[1]}"
    for pool in mappings(measured.host_memory.get("pools")):
        whole = pool.get("numa_node") is None
        if type(pool.get("size_kb")) is int and (whole or type(pool["numa_node"]) is int):
            yield pool_name(pool), (POOLS if whole else NODE_POOLS).format(**pool)


def _loads(_: Measurement) -> tuple[str, ...]:
    return (
        "# the labs' own script: cold, then warm; the agent evicts the model's files alone",
        "sync; echo 3 | sudo tee /proc/sys/vm/drop_caches",
        '/usr/bin/time -f "cold_load_real_s=%E" python slm_load.py',
        '/usr/bin/time -f "warm_load_real_s=%E" python slm_load.py',
        "ps -C python -o pid,rss,vsz,cmd",
    )


def _levers(measured: Measurement) -> tuple[str, ...]:
    """Return the labs' generation under each lever that was compared."""
    found = [ARMS[name] for name in allocators.arms(measured) if name in ARMS and name != CONTROL]
    lines = [line for arm in found for line in _pulled(arm, measured)]
    return ("# the labs' own script under the same levers", _timed(CONTROL), *lines)


def _pulled(arm: Arm, measured: Measurement) -> Iterator[str]:
    known = {name: path for name, path in mapping(measured.host_memory.get("allocators")).items() if path}
    if (arm.library and arm.library not in known) or arm.binds:
        return  # which library it was, or which node, this result does not say
    torch = mapping(measured.fingerprint.get("packages")).get("torch")
    variables = arm.pulled(known, torch if isinstance(torch, str) else "")
    found = values(measured.host_memory)
    usual = {path.removeprefix("/"): found[name] for name, path in _paths(measured)}
    yield from (f"echo {value} | sudo tee /{path}" for path, value in arm.settings.items())
    if variables or arm.settings:
        yield _timed(arm.name, variables)
    yield from (f"echo {quoted(usual[path])} | sudo tee /{path}" for path in arm.settings if path in usual)


def _timed(name: str, variables: dict[str, str] | None = None) -> str:
    pulled = "".join(f"{variable}={quoted(value)} " for variable, value in (variables or {}).items())
    return f'{pulled}/usr/bin/time -f "{name}_real_s=%E" python slm_gen_latency.py'


def _server(measured: Measurement, length: Any, kv_bytes: Any = None) -> str:
    """Return what starts a server like the one that was measured."""
    asked = mapping(measured.fingerprint.get("probe"))
    synthetic = measured.model.startswith(SYNTHETIC)
    model = f"{MODELS}/{quoted(measured.model.replace(':', '-', 1))}-*" if synthetic else quoted(measured.model)
    longest = f" --max-model-len {length}" if type(length) is int else ""
    cache = f" --kv-cache-memory-bytes {kv_bytes}" if type(kv_bytes) is int else ""
    more = "".join(f" {quoted(flag)}" for flag in sentences(asked.get("server_flags")))
    served = f"--served-model-name slm{longest}{cache}{_mode(measured, asked)}{more}"
    return f"python -m vllm.entrypoints.openai.api_server --model {model} {served}"


def _mode(measured: Measurement, asked: Mapping[str, Any]) -> str:
    """Return the flags of the mode in which the server ran, where the result says it."""
    mode = measured.probes["serving"].evidence.get("mode") if "serving" in measured.probes else None
    concurrencies, requests = asked.get("concurrencies"), asked.get("batch_requests")
    if not isinstance(concurrencies, list) or not all(type(size) is int for size in (*concurrencies, requests)):
        return ""
    flags = vllm_server.mode_flags(mode, servers.batches_of(concurrencies, requests))
    return "".join(f" {flag}" if flag.startswith("-") else f" '{flag}'" for flag in flags)


def _requests(measured: Measurement) -> tuple[str, ...]:
    asked = (
        f'/usr/bin/time -f "{{0}}_req_real_s=%E" curl -s http://localhost:{PORT}/v1/completions '
        '-H "Content-Type: application/json" -d \'{{"model": "slm", "prompt": "test {0}", "max_tokens": 16}}\''
    )
    return (
        _server(measured, measured.probes["serving"].evidence.get("max_model_len")),
        "nvidia-smi --query-gpu=memory.used --format=csv -l 1",
        asked.format("cold"),
        asked.format("warm"),
    )


def _lengths(measured: Measurement) -> tuple[str, ...]:
    rows = [row for row in measured.samples("kv") if row["how"] == "measured"]
    sized = {(row["max_model_len"], row["kv_bytes"] if row["kind"] == "footprint" else 0) for row in rows}
    started = (_server(measured, length, size or None) for length, size in sorted(sized))
    return (*started, "# kv_scaling.sh of the labs does the same in a loop")


def _together(_: Measurement) -> tuple[str, ...]:
    return ("# against the server above", "python batch_client.py", "nvidia-smi dmon -s pucv -d 1")


STEPS = (
    ("load", "Cold and warm load (slm_load.py)", _loads),
    ("allocator", "Generation under each lever (slm_gen_latency.py)", _levers),
    ("serving", "vLLM server, cold and warm request", _requests),
    ("kv", "Memory against max-model-len (kv_scaling.sh)", _lengths),
    ("batching", "One by one against all at once (batch_client.py)", _together),
)


def _numbers(measured: Measurement, row: Row) -> Iterator[str]:
    """Yield the labs' key figures under their names, medians where there are several."""
    for name in NUMBERS:
        if name in row.headline:
            yield f"{name}: {figures.seconds(row.headline[name])} s"
    for each in (row for row in measured.samples("kv") if row["how"] == "measured"):
        used = f"{figures.mib(each['memory_used_mb'])} MiB"
        yield f"{kv.MEMORY[kv.memory_kind(measured)]} at max-model-len {each['max_model_len']} ({each['kind']}): {used}"
    if measured.samples("batching"):
        found = batching.loads(measured)
        for name, mode in zip(("sequential_s", "concurrent_s"), batching.MODES, strict=True):
            wall = batching.wall(batching.of_mode(found, mode))
            if wall is not None:
                yield f"{name}: {figures.seconds(wall)} s"


NUMBERS = (
    "cold_load_s",
    "warm_load_s",
    "glibc_gen_latency_s",
    "jemalloc_gen_latency_s",
    "cold_ready_s",
    "warm_ready_s",
    "cold_first_ttft_s",
    "warm_first_ttft_s",
    "warm_next_ttft_s",
)


def _wins(measured: Measurement) -> list[str]:
    found = allocators.headlines(allocators.effects(measured))
    called = [allocators.sentence(effect) for effect in found if effect.verdict in CALLED]
    rest = [effect for effect in found if effect.verdict not in CALLED]
    if not rest:
        return called
    words = {verdict: [each.arm for each in rest if each.verdict is verdict] for verdict in {e.verdict for e in rest}}
    others = "; ".join(f"{verdict}: {', '.join(names)}" for verdict, names in sorted(words.items()))
    return [*called, f"Without an effect that could be called, {others}."]


def _warm(measured: Measurement) -> list[str]:
    return [*serving.ready_sentences(measured), *documents.slo_sentences(measured)]


def _scales(measured: Measurement) -> list[str]:
    return [*documents.scales(measured), *documents.recommended(measured)]


def _gain(measured: Measurement) -> list[str]:
    found = batching.loads(measured)
    return [*batching.gain_sentences(found), *batching.saturation_sentences(found)]


QUESTIONS = (
    ("Any allocator wins?", "allocator", _wins),
    ("How big is the cold→warm improvement in vLLM?", "serving", _warm),
    ("KV memory scaling pattern?", "kv", _scales),
    ("Throughput gain from continuous batching, even for an SLM?", "batching", _gain),
)


def _answer(measured: Measurement, probe: str, said: Any) -> list[str]:
    """Return what the figures say to a question, or why they do not."""
    part = measured.probes.get(probe)
    if part is None:
        return [f"Not measured: the probe {probe} was not asked for."]
    if part.samples:
        return said(measured) or [f"The samples of the probe {probe} do not tell."]
    return [f"Not measured: the probe {probe} {part.status} ({part.reason or 'no reason given'})."]
