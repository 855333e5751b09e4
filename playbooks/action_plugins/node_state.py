"""Action plugin: keep what the module of the same name reads in the run folder, where no fact has to carry it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Takes what the module takes."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = {**super().run(tmp, task_vars), **self._execute_module(task_vars=task_vars)}
        if "state" in result and "keep" in self._task.args:
            self._keep(self._task.args["keep"], json.dumps(result.pop("state"), indent=1) + "\n")
        if "certificate" in result and "keep_certificate" in self._task.args:
            self._keep(self._task.args["keep_certificate"], str(result.pop("certificate")))
        return result

    def _keep(self, name: str, text: str) -> None:
        if not self._task.check_mode:
            file = Path(name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
