"""Action plugin: put the hosts of a run into batches, canaries first."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from reports import rollout  # noqa: E402 - found through the line above


class ActionModule(ActionBase):
    """Takes the fields of a `rollout.Wish`. Returns the fact `stethos_rollout`."""

    _requires_connection = False
    _VALID_ARGS = frozenset(rollout.Wish.__dataclass_fields__)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        try:
            wish = rollout.Wish(**self._task.args)
            planned = rollout.plan(wish, variables["ansible_play_hosts_all"], variables["groups"])
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from None
        return {**result, "changed": False, "ansible_facts": {"stethos_rollout": asdict(planned)}}
