"""Action plugin: tell the module of the same name what to install, and send the agent to a node that lacks it.

What is large or long comes from this project's files at once: as facts, each host would carry it, and as templates each
worker would take it apart.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS, AGENTS = ROOT / "requirements", ROOT / ".cache/agent"


def lines(name: str) -> list[str]:
    """Return the requirements in a file, without its comments."""
    return [line for line in (REQUIREMENTS / name).read_text().splitlines() if line and not line.startswith("#")]


class ActionModule(ActionBase):
    """Takes what the module takes, less the agent, as open_run has packed it, and the requirements."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        wanted = {
            **self._task.args,
            "requirements": {device: lines(f"node-{device}.lock") for device in ("gpu", "cpu")},
            "cpu_overrides": lines("overrides-cpu.txt"),
        }
        done = self._execute_module(module_args=wanted, task_vars=task_vars)
        if done.get("agent_wanted"):
            packed = (AGENTS / f"{wanted['agent_name']}.tar.gz").read_bytes()
            wanted["agent_archive"] = base64.b64encode(packed).decode()
            done = self._execute_module(module_args=wanted, task_vars=task_vars)
        return {**result, **done}
