"""The agent as a wheel: built without an index, and run in an environment that has nothing else. Takes some seconds."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from support import ROOT

from probe_agent import VERSION


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy: setuptools leaves folders beside what it builds."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "probe_agent", source / "probe_agent", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run([sys.executable, "-m", "build", "--no-isolation", "--outdir", source / "dist", source], check=True)
    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder)
    uv = Path(sys.executable).with_name("uv")
    python = folder / "bin/python"
    subprocess.run([uv, "pip", "install", "--quiet", "--offline", "--no-cache", "--python", python, wheel], check=True)
    return folder / "bin"


def test_the_version_has_one_place(wheel):
    assert wheel.name == f"stethos_probe_agent-{VERSION}-py3-none-any.whl"


@pytest.mark.parametrize("command", [["python", "-I", "-m", "probe_agent"], ["stethos-probe"]])
def test_the_installed_agent_explains_its_preflight(installed, command):
    done = subprocess.run(
        [installed / command[0], *command[1:], "preflight", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--certificate" in done.stdout  # the options are described from the schemas, which are in the wheel


def test_the_wheel_holds_all_that_the_bundle_holds(installed):
    (package,) = installed.parent.glob("lib/python*/site-packages/probe_agent")
    assert _sources(package) == _sources(ROOT / "probe_agent")


def _sources(package):
    return {path.relative_to(package) for path in package.rglob("*") if path.suffix in {".py", ".json"}}
