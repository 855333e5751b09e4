"""Callback plugin: keep what became of every inventory host, so that a run has a row for each, dead or alive."""

from __future__ import annotations

import atexit
import gc
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible import constants, context
from ansible.plugins.callback import CallbackBase
from ansible.plugins.loader import become_loader, connection_loader, shell_loader
from ansible.template import Templar, trust_as_template

DOCUMENTATION = """
name: run_record
type: aggregate
short_description: Writes run.json, a state for every inventory host
description:
  - Follows a run from the task that opens its folder, and writes run.json there.
  - Writes it first when a probe begins, so that a run whose controller is killed has a record too.
  - A host that this run, by its tags, was not to measure is skipped, with what was done instead.
  - Renders the pages itself when every node was lost before the report play.
  - Ends a playbook whose plays carry C(__exit_by) with the verdict's status (0 healthy, 1 could not tell, 2 unhealthy),
    since Ansible has its own meanings for 1, 2 and 4.
"""

LONGEST_REASON = 500
NO_MODULE = "Module result deserialization failed"
WRAPPING = re.compile(r"^(Data could not be sent to|Failed to connect to).*? ssh:")
WRONG_KEY = "Host key verification failed."
INTERRUPTED = "the run was ended in this phase, before the node had finished"
LOST = ("failed", "unreachable")
MEASURE = "slm_probe"
ROLLBACK = "rollback"
TUNES = "thp"  # the first of what a plain user cannot do
PLAIN_USER = "settings are skipped: they need root, and probe_become is false"
PHASES = {MEASURE: "probe", f"{MEASURE}_wait": "probe", ROLLBACK: "rollback"}  # where a play does more than it says


@dataclass
class Row:
    """`phase` is where the state was reached; after `put_back` the node is no longer as it was measured."""

    state: str
    phase: str = ""
    reason: str = ""
    put_back: bool = False


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def reason_of(result: dict[str, Any], task: str) -> str:
    """Return why `task` failed as one line, without Ansible's and ssh's wrapping."""
    if "timedout" in result:
        return f"the node did not finish {task!r} within {result['timedout']['period']} s: it hangs, or is far too slow"
    said = str(result.get("msg") or result.get("stderr") or result.get("exception") or "failed without a word")
    if said.startswith(NO_MODULE):  # the shell never came to Python: what it printed is the reason
        said = str(result.get("module_stderr") or result.get("module_stdout") or said)
    if WRONG_KEY in said:
        return f"{WRONG_KEY} The node shows a key that known_hosts does not have for it"
    said = WRAPPING.sub(" ", said.removeprefix("Task failed: "))
    return " ".join(said.split())[:LONGEST_REASON] or "the connection was lost, and the node answers no more"


def measures(play: Any) -> bool:
    """Tell whether a play measures nodes, by this run's tags; what is measured before tuning is no result."""
    tasks = (task for block in play.compile() for task in block.filter_tagged_tasks({}).get_tasks())
    return play.get_vars().get("__phase") != "baseline" and any(map(is_measurement, tasks))


def is_measurement(task: Any) -> bool:
    """Tell it from the check whether the node could be measured."""
    return task.action == MEASURE and not task.check_mode


def warm_up(play: Any) -> None:
    """Load what every worker needs into the process that workers are forked from: there is one per task and host.

    Filters, tests and Jinja's lexer come with a template; the connection is taken for that of the play's first host.
    """
    Templar().evaluate_expression(trust_as_template("(nothing | default(1) | int) is defined"))
    variables = play.get_variable_manager()
    for host in variables._inventory.get_hosts(play.hosts)[:1]:
        known = variables.get_vars(play=play, host=host, include_hostvars=False)
        connection_loader.get(str(known.get("ansible_connection", constants.DEFAULT_TRANSPORT)), class_only=True)
    become_loader.get(constants.DEFAULT_BECOME_METHOD, class_only=True)
    shell_loader.get("sh", class_only=True)


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "run_record"

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, Row] = {}
        self.run: dict[str, str] = {}
        self.started = now()
        self.phase = ""
        self.action = ""
        self.exit_by = ""
        self.ended = False
        atexit.register(self.interrupted, os.getpid())
        self.measuring = True
        self.done: dict[str, None] = {}  # phases, in their order
        self.due: set[str] = set()  # hosts that are to be tuned, whose batch has begun, and those of the last batch
        self.begun: set[str] = set()
        self.batch: set[str] = set()
        self.stopped = ""

    def v2_playbook_on_start(self, playbook: Any) -> None:
        self.measuring = any(measures(play) for play in playbook.get_plays())
        self.exit_by = next(filter(None, (play.get_vars().get("__exit_by") for play in playbook.get_plays())), "")

    def v2_playbook_on_play_start(self, play: Any) -> None:
        if not self.rows:
            warm_up(play)
        gc.collect()
        gc.freeze()  # a worker's collector then leaves alone what it shares with this process, and copies no page of it
        inventory = play.get_variable_manager()._inventory
        for host in inventory.get_hosts(ignore_limits=True, ignore_restrictions=True):
            self.rows.setdefault(host.name, Row("skipped", reason="left out by --limit"))
        for host in inventory.get_hosts(play.hosts):
            row = self.rows.get(host.name)
            if row and row.state == "skipped":
                self.rows[host.name] = Row("ok")
        self.phase = play.get_vars().get("__phase", "")
        if self.phase == "tune":
            if self.begun:  # what became of the batches before decides on this one
                self.write(None)
            self.due |= {host.name for host in inventory.get_hosts(play.hosts, ignore_restrictions=True)}
            self.batch = {host.name for host in inventory.get_hosts(play.hosts)}
            self.begun |= self.batch
        if self.phase == "report":
            self.leave_out()
            self.write(now())

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self.action = task.action
        if is_measurement(task):
            self.write(None)

    def v2_runner_on_ok(self, result: Any) -> None:
        self.run = result._result.get("ansible_facts", {}).get("stethos_run") or self.run
        if result._result.get("rollout_stopped"):
            self.stopped = result._result["rollout_stopped"]
            self.begun -= self.batch
        row = self.rows.get(result._host.get_name())
        if row and row.state == "ok":
            row.phase = self.phase
            row.put_back |= result._task.action == ROLLBACK and bool(result._result.get("changed"))
            self.done.setdefault(self.phase)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            self.lose(result, "failed")

    def v2_runner_on_skipped(self, result: Any) -> None:
        if result._task.action == TUNES and self.phase == "tune":
            self._display.warning(PLAIN_USER)  # it says a thing once

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self.lose(result, "unreachable")

    def lose(self, result: Any, state: str) -> None:
        name = result._host.get_name()
        row = self.rows.get(name)
        if row is None or self.phase == "report":
            return
        reason = reason_of(result._result, result._task.get_name())
        if row.state in LOST:  # the first reason is the cause, later ones its consequences
            row.reason += f"; then: {reason}"
        else:
            self.rows[name] = Row(state, self.phase_of(result._task.action), reason)

    def phase_of(self, action: str) -> str:
        return PHASES.get(action, self.phase) if self.phase == "tune" else self.phase

    def leave_out(self) -> None:
        """Give the hosts whose batch never began their row."""
        lost = [(name, row) for name, row in self.rows.items() if row.state in LOST]
        why = self.stopped or "; ".join(f"{name} {row.state} in {row.phase}: {row.reason}" for name, row in lost[:1])
        for name in self.due - self.begun:
            if self.rows[name].state == "ok":
                self.rows[name] = Row("skipped", self.phase, f"rollout stopped: {why}"[:LONGEST_REASON])

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self.ended = True
        self.finish()
        if self.exit_by:
            raise SystemExit(self.status(stats))  # nothing else decides on the exit status; Ansible lets it through

    def interrupted(self, pid: int) -> None:
        """Keep what is known when Ansible ends without its recap, as it does after a Ctrl-C. Workers are other pids."""
        if not self.run or self.ended or os.getpid() != pid:
            return
        for name, row in self.rows.items():
            if row.state == "ok" and self.phase != "report":
                self.rows[name] = Row("failed", self.phase_of(self.action), INTERRUPTED)
        self.finish()

    def status(self, stats: Any) -> int:
        """Return the verdict's status, or 1 when a host was lost or there is no verdict."""
        lost = 1 if stats.failures or stats.dark else 0
        if context.CLIARGS.get("check"):
            return lost
        try:
            verdict = json.loads((Path(self.run["dir"]) / f"{self.exit_by}.json").read_text())["code"]
        except (OSError, ValueError, KeyError):
            return 1
        return max(verdict, lost)

    def finish(self) -> None:
        """Render what the report play did not come to."""
        if not self.run or context.CLIARGS.get("check"):
            return
        self.leave_out()
        folder = Path(self.run["dir"])
        lost = any(row.state in LOST for row in self.rows.values())
        if (lost or (self.measuring and (folder / "hosts").is_dir())) and not (folder / "index.html").exists():
            self.write(now())
            render = [sys.executable, "-m", "reports", "render", self.run["dir"]]
            subprocess.run(render, cwd=self.run["root"], check=False)

    def told(self, row: Row) -> Row:
        """Return a row as run.json has it."""
        if self.measuring or row.state != "ok":
            return row
        tags = ", ".join(
            (*context.CLIARGS.get("tags", ()), *(f"not {tag}" for tag in sorted(context.CLIARGS.get("skip_tags", ()))))
        )
        done = ", ".join(filter(None, self.done)) or "nothing"
        return Row("skipped", row.phase, f"nothing was to be measured (tags: {tags}); this run did: {done}")

    def write(self, finished: str | None) -> None:
        """Renew run.json; `finished` is None as long as measuring goes on."""
        if not self.run or context.CLIARGS.get("check"):
            return
        folder = Path(self.run["dir"])
        folder.mkdir(parents=True, exist_ok=True)
        document = {
            "schema_version": 1,
            "run_id": self.run["id"],
            "started": self.started,
            "finished": finished,
            "hosts": {name: asdict(self.told(row)) for name, row in self.rows.items()},
        }
        fresh = folder / "run.json.new"
        fresh.write_text(json.dumps(document, indent=1))
        fresh.replace(folder / "run.json")
        if not self.measuring:
            return
        latest = folder.parent / "latest"
        link = folder.parent / f".latest-{self.run['id']}"
        link.symlink_to(folder.name)
        link.replace(latest)
