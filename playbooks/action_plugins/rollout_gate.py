"""Action plugin: tell whether the next batch may be tuned, by what run.json says became of those before it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from reports import rollout  # noqa: E402 - found through the line above


class ActionModule(ActionBase):
    """Takes `rollout`, as plan_rollout left it, and the `run` folder. Returns `rollout_stopped`, empty when it may."""

    _requires_connection = False
    _VALID_ARGS = frozenset(("rollout", "run"))

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        planned = rollout.Rollout(**self._task.args["rollout"])
        host = (task_vars or {})["inventory_hostname"]
        reason = ""
        if host not in planned.batches[0]:
            rows = json.loads((Path(self._task.args["run"]) / "run.json").read_text())["hosts"]
            reason = rollout.stopped(planned, rows, host)
        return {**result, "changed": False, "rollout_stopped": reason}
