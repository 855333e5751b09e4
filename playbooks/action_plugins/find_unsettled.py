"""Action plugin: tell which nodes may have to change, by what this run has read of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from reports import run_folder  # noqa: E402 - found through the line above
from reports.loose import mapping  # noqa: E402


class ActionModule(ActionBase):
    """Takes the `run` folder, and `hosts` that count in any case. Returns the fact `stethos_unsettled`, their names.

    A node whose state was not read counts.
    """

    _requires_connection = False
    _VALID_ARGS = frozenset(("run", "hosts"))

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        folder, certain = Path(self._task.args["run"]) / "hosts", set(self._task.args["hosts"])
        unsettled = [
            host
            for host in (task_vars or {})["ansible_play_hosts_all"]
            if host in certain or not _as_wanted(folder / host / "state.json")
        ]
        return {**result, "changed": False, "ansible_facts": {"stethos_unsettled": unsettled}}


def _as_wanted(state: Path) -> bool:
    try:
        return mapping(run_folder.load(state)).get("as_wanted") is True
    except (OSError, ValueError):
        return False
