"""Action plugin: send files of the controller with the module of the same name, those that there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Takes what the module takes, and `src` in place of `content`."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        files = [sent for file in self._task.args.get("files", []) if (sent := _to_send(**file))]
        if not files:
            return {**result, "skipped": True, "skip_reason": "this run made none of the files"}
        return {**result, **self._execute_module(module_args={"files": files}, task_vars=task_vars)}


def _to_send(dest: str, src: str = "", content: str | None = None) -> dict[str, str] | None:
    """Return the file as the module takes it, None for one that is not there or has no place to go."""
    if content is None and Path(src).is_file():
        content = Path(src).read_text()
    return {"dest": dest, "content": content} if dest and content is not None else None
