"""What one run of the agent measures. The controller sends it as JSON; by hand it comes from the command line.

Checked here with the standard library alone, so that a module on the system Python can refuse bad input before anything
happens on the node. `schema/spec.schema.json` says the same for other tools; a test holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from . import models, paths

PROFILES = {"quick": 1, "standard": 3, "certify": 6}
# How vLLM runs the model: step by step; decoding as CUDA graphs; compiled as well, as it does of itself.
SERVER_MODES = ("eager", "graphs", "compiled")
SERVER_PAIRS = {"standard": 1, "certify": 3}  # of a cold and a warm start of vLLM, which takes ten times a process
# In the order in which they run: those that share a server stand together; kv, which needs others, comes last.
PROBES = ("load", "allocator", "bandwidth", "pressure", "serving", "batching", "curves", "kv")
# Compared with the control where the spec names nothing: each costs a process per block. Of the two THP modes the node
# runs the one that it is not set to. One process judges no lever, so profile quick runs the controls alone.
ARMS_OF = {
    "quick": (),
    "standard": ("thp-always", "thp-madvise", "jemalloc", "pinned-register"),
    "certify": ("thp-always", "thp-madvise", "jemalloc", "jemalloc-thp", "glibc-thp", "pinned-register"),
}
GPU = re.compile(r"\d+|(GPU|MIG)-[0-9A-Za-z-]+")  # as nvidia-smi numbers or names it
LONGEST_S = 24 * 3600
LONGEST_TOKENS = 1 << 24

# Field → the smallest and the largest value; of a list, that of each element.
LIMITS: dict[str, tuple[float, float]] = {
    "seed": (0, 2**32 - 1),
    "deadline_s": (1, LONGEST_S),
    "max_model_len": (64, LONGEST_TOKENS),
    "gpu_memory_utilization": (0.05, 0.98),
    "server_port": (0, 65535),
    "server_wait_s": (1, LONGEST_S),
    "batch_requests": (2, 10_000),
    "batch_tokens": (2, 4096),
    "concurrencies": (1, 4096),
    "prompt_lengths": (1, LONGEST_TOKENS),
    "kv_lengths": (64, LONGEST_TOKENS),
    "kv_sequences": (1, 4096),
}

# Of vLLM, to why a spec may not carry them.
BARRED_FLAGS = {
    "--host": "servers listen on 127.0.0.1 alone",
    "--trust-remote-code": "no code that comes with a model is run",
    "--config": "it would bring flags that nobody checked",
    "--hf-token": "the process list would show it; probe_hub_token keeps it out of there",
    "--enforce-eager": "probe_server_mode says how vLLM runs the model",
}
# What mode compiled leaves to them, and the others set themselves.
COMPILING_FLAGS = ("--compilation-config", "--optimization-level", "-cc", "-O")


@dataclass(frozen=True)
class Spec:
    """`profile` sets the fresh processes per arm; `deadline_s` ends the whole run, children included.

    `drop_caches` lets the load probe drop the page cache of the whole node instead of the model's files only.
    `seed` orders the arms and draws the prompts. `max_model_len` is that of the server which serving, batching and
    curves share; lengths beyond what the model takes are cut to that. `kv_lengths` and `prompt_lengths` are tokens.
    `arms` are what the allocator probe compares with the control; empty takes those of the profile.
    `gpus` are indices or UUIDs, or `all`: the model runs on the first, and generates on each of them in the bandwidth
    probe; empty takes the first that is visible. `server_mode` is one of SERVER_MODES; `server_flags` are
    added to vLLM's command line; `server_port` 0 takes a free one. `resume` keeps what an earlier run measured under
    the same fingerprint.
    """

    model: str = "synthetic:tiny"
    model_revision: str = ""
    probes: tuple[str, ...] = PROBES
    profile: str = "standard"
    arms: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    host: str = ""
    label: str = ""
    seed: int = 1
    deadline_s: int = 1800
    drop_caches: bool = False
    resume: bool = False
    max_model_len: int = 4096
    gpu_memory_utilization: float = 0.9
    server_mode: str = "graphs"
    server_flags: tuple[str, ...] = ()
    server_port: int = 0
    server_wait_s: int = 600
    batch_requests: int = 32
    batch_tokens: int = 32
    concurrencies: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256)
    prompt_lengths: tuple[int, ...] = (128, 256, 512, 1024, 2048, 4096, 8192, 16384)
    kv_lengths: tuple[int, ...] = (512, 1024, 2048, 4096, 8192, 16384, 32768)
    kv_sequences: int = 16
    models_dir: str = str(paths.HOME / "models")
    state_dir: str = str(paths.STATE)

    @property
    def repeats(self) -> int:
        """Fresh processes per arm, the unit that statistics count."""
        return PROFILES[self.profile]

    @property
    def compared(self) -> tuple[str, ...]:
        """The arms that the allocator probe compares with the control."""
        return self.arms or ARMS_OF[self.profile]

    def to_json(self) -> dict[str, Any]:
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {"schema_version": 1, **values}


def parse(document: dict[str, Any]) -> Spec:
    """Return the spec. Raises ValueError with one sentence that names the field, its value and what is allowed."""
    given = {name: value for name, value in document.items() if name != "schema_version"}
    if document.get("schema_version", 1) != 1:
        raise ValueError(f"schema_version is {document['schema_version']!r}, and this agent understands 1")
    kinds = {field.name: type(field.default) for field in fields(Spec)}
    for name, value in given.items():
        if name not in kinds:
            raise ValueError(f"{name} is no field of a probe spec, which has {', '.join(kinds)}")
        if kinds[name] is tuple and isinstance(value, (list, tuple)):
            given[name] = tuple(value)
        elif kinds[name] is float and type(value) is int:
            given[name] = float(value)
        elif type(value) is not kinds[name]:
            raise ValueError(f"probe_{name} is {value!r}, and must be of type {kinds[name].__name__}")
    spec = Spec(**given)
    _check(spec)
    return replace(spec, probes=tuple(name for name in PROBES if name in spec.probes))


def _check(spec: Spec) -> None:
    if spec.profile not in PROFILES:
        raise ValueError(f"probe_profile is {spec.profile}, and must be one of {', '.join(PROFILES)}")
    if spec.server_mode not in SERVER_MODES:
        raise ValueError(f"probe_server_mode is {spec.server_mode}, and must be one of {', '.join(SERVER_MODES)}")
    unknown = [name for name in spec.probes if name not in PROBES]
    if unknown or not spec.probes or len(set(spec.probes)) < len(spec.probes):
        named = ", ".join(map(str, unknown or spec.probes)) or "empty"
        raise ValueError(f"probe_probes has {named}, and must name one or more of {', '.join(PROBES)}, each once")
    if spec.arms:
        _check_arms(spec.arms)
    unknown = [name for name in spec.gpus if not (isinstance(name, str) and GPU.fullmatch(name))]
    if (unknown or len(set(spec.gpus)) < len(spec.gpus)) and spec.gpus != ("all",):
        named = ", ".join(map(str, unknown or spec.gpus))
        raise ValueError(f"probe_gpus has {named}, and must be all, or hold indices and UUIDs of GPUs, each once")
    for name, limits in LIMITS.items():
        _check_range(name, getattr(spec, name), *limits)
    if not all(isinstance(flag, str) for flag in spec.server_flags):
        raise ValueError(f"probe_server_flags is {list(spec.server_flags)}, and must be a list of strings")
    for flag in spec.server_flags:
        name = flag.partition("=")[0].replace("_", "-")
        if barred := _meant(name, BARRED_FLAGS):
            raise ValueError(f"probe_server_flags has {barred[0]}, and must not: {BARRED_FLAGS[barred[0]]}")
        compiles = name.startswith(COMPILING_FLAGS) or _meant(name, COMPILING_FLAGS)
        if spec.server_mode != "compiled" and compiles:
            raise ValueError(f"probe_server_flags has {flag}, which goes with probe_server_mode compiled alone")
    models.check(spec.model, spec.model_revision)


def _meant(name: str, flags: Iterable[str]) -> list[str]:
    """Return which of the flags a word may mean: vLLM takes beginnings."""
    return [flag for flag in flags if len(name) > 3 and flag.startswith(name)]


def _check_arms(arms: tuple[str, ...]) -> None:
    from .arms import COMPARED  # which brings half of host/: a node's module compiles what it imports at every run

    unknown = [name for name in arms if name not in COMPARED]
    if unknown or len(set(arms)) < len(arms):
        named = ", ".join(map(str, unknown or arms))
        raise ValueError(f"probe_arms has {named}, and must name any of {', '.join(COMPARED)}, each once")


def _check_range(name: str, value: Any, low: float, high: float) -> None:
    if not isinstance(value, tuple):
        if not low <= value <= high:
            raise ValueError(f"probe_{name} is {value}, and must be between {low} and {high}")
        return
    wrong = [each for each in value if type(each) is not int or not low <= each <= high]
    if wrong or not value or len(set(value)) < len(value):
        shown = ", ".join(map(str, wrong or value)) or "empty"
        raise ValueError(f"probe_{name} has {shown}, and must hold whole numbers between {low} and {high}, each once")
