#!/usr/bin/python
"""Ansible module: put the probe agent and the Python environment it measures with on the node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: probe_environment
short_description: Install the probe agent and its Python environment
description:
  - Makes a virtual environment at exact versions, with bytecode compiled; without it every Python start compiles torch.
  - Unpacks the agent beside it, in a folder named after its content.
  - Installs nothing into an interpreter the operator names; it only checks that one.
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
    description: The agent as a gzipped tar archive, base64.
    type: str
    required: true
  requirements:
    description: The versions to install, a line for each, as name==version.
    type: list
    elements: str
    required: true
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
    description: Build of torch to install, as uv names it, such as auto, cpu or cu130.
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
    requirements: [torch==2.13.0, transformers==5.19.0]
"""

RETURN = r"""
python: {description: Interpreter the agent runs with., type: str, returned: always}
agent: {description: Folder to put on PYTHONPATH., type: str, returned: always}
installed: {description: Requirements that were missing., type: list, elements: str, returned: always}
"""

import base64
import io
import json
import os
import shutil
import sys
import tarfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

OLDEST_PYTHON = (3, 10)
NEEDED = ("jsonschema", "torch", "transformers")
ARGUMENTS = {
    "home": {"type": "path", "required": True},
    "agent_name": {"type": "str", "required": True},
    "agent_archive": {"type": "str", "required": True},
    "requirements": {"type": "list", "elements": "str", "required": True},
    "python": {"type": "path"},
    "base_python": {"type": "path"},
    "wheels": {"type": "path"},
    "torch_backend": {"type": "str", "default": "auto"},
}
LIST_VERSIONS = (
    "import importlib.metadata as m, json; "
    "print(json.dumps({d.metadata['Name'].lower().replace('_', '-'): d.version for d in m.distributions()}))"
)


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

    def install(self, requirements: list[str]) -> None:
        params = self.module.params
        base = params["base_python"] or sys.executable
        code, out, _ = self.module.run_command([base, "-c", "import sys; print(*sys.version_info[:2])"])
        if code or tuple(map(int, out.split())) < OLDEST_PYTHON:
            self.module.fail_json(
                msg=f"probe_base_python is {base} ({'.'.join(out.split()) or 'does not run'}), and must be Python "
                f"{'.'.join(map(str, OLDEST_PYTHON))} or newer"
            )
        if not self.versions():
            self._run([base, "-m", "venv", "--clear", str(self.folder)], "is python3-venv installed?")
        source = ["--no-index", "--find-links", params["wheels"]] if params["wheels"] else []
        uv = [line for line in requirements if line.startswith("uv==")]
        self._run([str(self.python), "-m", "pip", "install", "--quiet", *source, *uv], "")
        # pip's setting; uv has its own name for it
        links = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS") or ""
        backend = [] if links or source else [f"--torch-backend={params['torch_backend']}"]
        self._run(
            [str(self.python), "-m", "uv", "pip", "install", "--quiet", "--compile-bytecode", *source, *backend,
             "--python", str(self.python), *requirements],
            "",
            {"UV_FIND_LINKS": links} if links else {},
        )  # fmt: skip

    def _run(self, command: list[str], hint: str, environment: dict[str, str] | None = None) -> None:
        code, out, error = self.module.run_command(command, environ_update=environment or {})
        if code:
            words = " | ".join(line for line in (out + error).splitlines() if line.strip())[-800:]
            self.module.fail_json(msg=f"the probe's environment cannot be installed: {words or hint} {hint}".strip())


def missing(requirements: list[str], versions: dict[str, str]) -> list[str]:
    """Return the requirements not fulfilled; a build tag such as +cpu does not make a version another one."""
    return [
        line
        for line in requirements
        for name, _, version in [line.partition("==")]
        if versions.get(name.lower().replace("_", "-"), "").split("+")[0] != version
    ]


def unpack(archive: str, folder: Path) -> None:
    """Unpack the agent next to its place and move it there whole, so that a half-written one is never run."""
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(str(fresh), ignore_errors=True)
    fresh.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(archive)), mode="r:gz") as packed:
        packed.extractall(str(fresh))  # noqa: S202 - our own archive, made on the controller
    fresh.rename(folder)


def serving_stack(module: AnsibleModule, python: str) -> None:
    """Check an interpreter of the operator's; nothing is installed into it."""
    if not Path(python).exists():
        module.fail_json(msg=f"probe_python is {python}, and no such file is on this node")
    code, out, error = module.run_command([python, "-c", LIST_VERSIONS])
    if code:
        module.fail_json(msg=f"probe_python is {python}, which does not run: {error.strip()[-300:]}")
    absent = [name for name in NEEDED if name not in json.loads(out)]
    if absent:
        module.fail_json(msg=f"probe_python is {python}, and must have {', '.join(absent)} installed")


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    home = Path(params["home"])
    agent = home / "agent" / params["agent_name"]
    environment = Environment(module, home / "venv")
    python, owed, before = params["python"], [], {}
    if python:
        serving_stack(module, python)
    else:
        python, before = str(environment.python), environment.versions()
        owed = missing(params["requirements"], before)
    agent_owed = not agent.is_dir()

    if not module.check_mode:
        try:
            if owed:
                environment.install(params["requirements"])
                still = missing(params["requirements"], environment.versions())
                if still:
                    module.fail_json(msg=f"installed, and yet missing from {python}: {', '.join(still)}")
            if agent_owed:
                unpack(params["agent_archive"], agent)
        except OSError as error:
            module.fail_json(msg=f"{home} cannot be written: {error.strerror}")

    names = [line.partition("==")[0] for line in owed]
    module.exit_json(
        changed=bool(owed or agent_owed),
        python=python,
        agent=str(agent),
        installed=owed,
        diff={
            "before": "".join(f"{name}=={before[name]}\n" for name in names if name in before),
            "after": "".join(f"{line}\n" for line in owed) + (f"{agent}\n" if agent_owed else ""),
        },
    )


if __name__ == "__main__":
    main()
