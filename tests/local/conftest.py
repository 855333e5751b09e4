"""The node's environment on this machine, put there by `make test`."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support import ROOT

from probe_agent import paths


@pytest.fixture(scope="session")
def node_python() -> Path:
    python = paths.HOME / "venv/bin/python"
    assert python.exists(), "make node-environment puts the probe's environment on this machine"
    return python


@pytest.fixture
def agent(node_python: Path, tmp_path: Path) -> Callable[..., subprocess.Popen]:
    """Return a function that starts the agent on synthetic:tiny as a person would by hand; all are ended afterwards."""
    started = []

    def start(*arguments: str, **popen: object) -> subprocess.Popen:
        command = [node_python, "-m", "probe_agent", "run", "--profile", "quick", *arguments]
        if "--out" not in arguments:
            command += ["--out", tmp_path / "result.json"]
        process = subprocess.Popen(
            list(map(str, command)), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **popen
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def broken_python(node_python: Path, tmp_path: Path) -> Path:
    """A serving stack's interpreter whose torch cannot be imported, as after a half-done upgrade."""
    venv = tmp_path / "venv"
    version = next((node_python.parents[1] / "lib").iterdir()).name
    packages = venv / "lib" / version / "site-packages"
    packages.mkdir(parents=True)
    (venv / "bin").mkdir()
    shutil.copy(node_python.parents[1] / "pyvenv.cfg", venv)
    (venv / "bin/python").symlink_to(node_python.resolve())
    (packages / "torch.py").write_text("raise ImportError('libcudart.so.13: cannot open shared object file')\n")
    (packages / "rest.pth").write_text(f"{node_python.parents[1]}/lib/{version}/site-packages\n")
    return venv / "bin/python"
