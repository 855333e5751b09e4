"""Action plugin: name this run's folder, and pack what the nodes need, once for all hosts."""

from __future__ import annotations

import base64
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements"
sys.path.insert(0, str(ROOT))
from probe_agent import bundle  # noqa: E402 - found through the line above


def lines(name: str) -> list[str]:
    """Return the requirements in a file, without its comments."""
    return [line for line in (REQUIREMENTS / name).read_text().splitlines() if line and not line.startswith("#")]


class ActionModule(ActionBase):
    """Takes `reports_dir`. Returns the fact `stethos_run`: id, dir and root here; the agent and what it requires."""

    _requires_connection = False
    _VALID_ARGS = frozenset(("reports_dir",))

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        folder = Path(self._task.args.get("reports_dir") or ROOT / "reports/runs").expanduser().absolute()
        job = str((task_vars or {}).get("awx_job_id", ""))  # slices of one job begin within the same second
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}{f'-{job}' if job.isdecimal() else ''}"
        archive = bundle.write(ROOT / ".cache/agent")
        text = archive.with_name(f"{archive.name}.b64")  # a fact of each host would carry it a thousand times
        if not text.exists():
            text.write_text(base64.b64encode(archive.read_bytes()).decode())
        facts = {
            "id": name,
            "dir": str(folder / name),
            "root": str(ROOT),
            "agent_name": archive.name.removesuffix(".tar.gz"),
            "agent_archive": str(text),
            "requirements": {device: lines(f"node-{device}.lock") for device in ("gpu", "cpu")},
            "cpu_overrides": lines("overrides-cpu.txt"),
        }
        return {**result, "changed": False, "ansible_facts": {"stethos_run": facts}}
