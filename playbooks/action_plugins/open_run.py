"""Action plugin: name this run's folder, and pack what the nodes need, once for all hosts."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from probe_agent import bundle  # noqa: E402 - found through the line above


class ActionModule(ActionBase):
    """Takes `reports_dir`. Returns the fact `stethos_run`: id, dir and root here, and the agent's name."""

    _requires_connection = False
    _VALID_ARGS = frozenset(("reports_dir",))

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        folder = Path(self._task.args.get("reports_dir") or ROOT / "reports/runs").expanduser().absolute()
        job = str((task_vars or {}).get("awx_job_id", ""))  # slices of one job begin within the same second
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}{f'-{job}' if job.isdecimal() else ''}"
        archive = bundle.write(ROOT / ".cache/agent")
        facts = {
            "id": name,
            "dir": str(folder / name),
            "root": str(ROOT),
            "agent_name": archive.name.removesuffix(".tar.gz"),
        }
        return {**result, "changed": False, "ansible_facts": {"stethos_run": facts}}
