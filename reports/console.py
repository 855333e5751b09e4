"""Run a playbook and show a person what goes on: a line per step, and how far each node's probe is."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ansible_runner

from probe_agent import paths, progress
from probe_agent.host import process

ROOT = Path(__file__).resolve().parents[1]
LOCAL = "inventory/local.yml"
TUNING = ("tune_and_probe.yml", "tune.yml")  # playbooks that change settings
BAD = {"runner_on_failed": "failed", "runner_on_unreachable": "unreachable"}
INTERRUPTED = 130


class Console:
    """Turns ansible-runner's events into lines; remembers the run folder, and whether a person wants it to stop."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.run_dir: Path | None = None
        self.failed = False
        self.stopping = False

    def say(self, text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self.began), 60)
        print(f"{minutes:3}:{seconds:02}  {text}", flush=True)  # noqa: T201 - this is the console

    def event(self, event: dict[str, Any]) -> bool:
        kind, data = event["event"], event.get("event_data", {})
        result = data.get("res") or {}
        if kind == "playbook_on_play_start":
            self.say(data.get("name", ""))
        elif kind in BAD and not data.get("ignore_errors"):
            self.failed = True
            words = result.get("msg") or result.get("stderr") or "no word of why"
            self.say(f"  {data.get('host')}: {BAD[kind]}: {' '.join(str(words).split())}")
        elif kind == "runner_on_ok":
            opened = (result.get("ansible_facts") or {}).get("stethos_run")
            if opened:
                self.run_dir = Path(opened["dir"])
            if result.get("changed"):
                self.say(f"  {data.get('host')}: {data.get('task')} (changed)")
            for warning in result.get("warnings") or []:
                self.say(f"  {data.get('host')}: {warning}")
        elif kind == "verbose" and progress.LINE.fullmatch(event["stdout"]):  # from the action plugin slm_probe
            self.say(f"  {event['stdout']}")
        return False  # runner keeps no copy: the run folder is the record

    def stop(self, number: int, _frame: object) -> None:
        """End what was started, from the agent up: Ansible's workers would outlive their parent and wait for it."""
        self.say(f"stopping ({signal.Signals(number).name})")
        for pid in reversed(process.descendants(os.getpid())):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        self.stopping = True

    def tick(self) -> bool:
        """Called by the runner all the time: tells whether to stop."""
        return self.stopping


def run(playbook: str, inventory: str, tune: bool, arguments: list[str]) -> tuple[int, Path | None]:
    """Run `playbook` and return Ansible's exit status and the run folder, None when the run never opened one.

    Raises ValueError when this user may not do what is asked.
    """
    extra = list(arguments)
    if os.geteuid() != 0 and inventory == LOCAL:
        if tune:
            raise ValueError(
                "tuning this machine needs root: sudo make run, or make run TUNE=no to probe without tuning"
            )
        extra += [
            "-e",
            json.dumps({"probe_become": False, "probe_home": str(paths.HOME), "probe_state": str(paths.STATE)}),
        ]
    if not tune:
        extra += ["--skip-tags", "baseline,tune"]
    console = Console()
    before = [signal.signal(number, console.stop) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        code = _play(playbook, inventory, extra, console)
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)
    if console.stopping:
        code = INTERRUPTED
        if inventory == LOCAL and tune:  # keeps nothing, so what the run left half done goes too
            console.stopping = False
            _play("playbooks/rollback.yml", inventory, [], console)
        else:
            console.say(f"to undo what was changed: ansible-playbook -i {inventory} playbooks/rollback.yml")
    return code, console.run_dir


def _play(playbook: str, inventory: str, arguments: list[str], console: Console) -> int:
    """Run one playbook under the console and return Ansible's exit status."""
    with tempfile.TemporaryDirectory(prefix="stethos-") as scratch:
        outcome = ansible_runner.run(
            private_data_dir=scratch,
            project_dir=str(ROOT),
            playbook=playbook,
            inventory=str(ROOT / inventory),
            cmdline=shlex.join(arguments) or None,
            envvars={
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            },
            event_handler=console.event,
            cancel_callback=console.tick,
            quiet=True,
        )
        if outcome.rc and not console.failed and not console.stopping:  # Ansible ended before a task could fail
            console.say(outcome.stdout.read().strip())
    return outcome.rc
