"""Action plugin: wait for a probe that measures by itself, say how far it is, and bring its result home."""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from probe_agent import progress  # noqa: E402 - found through the line above
from reports import fetching  # noqa: E402

LOOK_EVERY_S = 5.0
LOOKS_PER_S = 5  # at all nodes together; each is a process here


class ActionModule(ActionBase):
    """Takes `job`, what starting the probe returned, its `progress` file, its `result`, and where to `keep` that."""

    _VALID_ARGS = frozenset(("job", "progress", "result", "keep"))

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        try:
            done = self._wait(task_vars or {})
        except ValueError as error:
            done = {"failed": True, "msg": str(error)}
        left = fetching.fetch(self._low_level_execute_command, self._task.args["result"], Path(self._task.args["keep"]))
        return {**result, **fetching.with_result(done, left)}

    def _wait(self, variables: dict[str, Any]) -> dict[str, Any]:
        """Return the module's answer. Raises ValueError when there is none to come."""
        watched = min(variables["ansible_forks"], len(variables["ansible_play_hosts"]))
        every_s = max(LOOK_EVERY_S, watched / LOOKS_PER_S)
        job, host, shown = self._task.args["job"], variables["inventory_hostname"], None
        while True:
            answer, state = self._look(job["results_file"])
            if not running(answer):
                break
            said = progress.read(host, state)
            if shown is not None and said not in ("", shown):  # what lies there at first may be from an earlier run
                Display().display(said)
            shown = said
            time.sleep(every_s)
        where = {"jid": job["ansible_job_id"], "_async_dir": str(Path(job["results_file"]).parent)}
        done = self._execute_module("ansible.legacy.async_status", where, task_vars=variables)
        self._low_level_execute_command(f"rm -f {shlex.quote(job['results_file'])}")
        return done

    def _look(self, answer: str) -> tuple[str, str]:
        """Return the beginnings of two files on the node: what the module answered, and how far its probe is."""
        read = f"head -c {progress.LIMIT_BYTES} "
        commands = [read + shlex.quote(file) for file in (answer, self._task.args["progress"])]
        done = self._low_level_execute_command("; echo; ".join(commands))
        lines = done["stdout"].split("\n")
        if not lines[0]:
            raise ValueError(f"the probe's job is no longer on the node: {' '.join(done['stderr'].split())}")
        return lines[0], "".join(lines[1:])


def running(answer: str) -> bool:
    """Tell from a job's file whether its module still runs: until it answers, that only says that it was started."""
    try:
        return "started" in json.loads(answer)
    except ValueError:  # an answer that is longer than what was read
        return False
