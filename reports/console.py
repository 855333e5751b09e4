"""Run a playbook and show a person what goes on: a line per step, and the probe's own progress while it measures."""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ansible_runner

from probe_agent import paths

ROOT = Path(__file__).resolve().parents[1]
BAD = {"runner_on_failed": "failed", "runner_on_unreachable": "unreachable"}
BEAT_S = 5.0


class Console:
    """Turns ansible-runner's events into lines, and remembers which run folder the run opened."""

    def __init__(self, progress: Path) -> None:
        self.began = time.monotonic()
        self.run_dir: Path | None = None
        self.failed = False
        self._progress, self._shown, self._beat = progress, "", self.began

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
        return False  # runner keeps no copy: the run folder is the record

    def tick(self) -> bool:
        """Show the local agent's progress when it moved. Called by the runner all the time; returns False: go on."""
        now = time.monotonic()
        if now - self._beat < BEAT_S:
            return False
        self._beat = now
        try:
            if time.time() - self._progress.stat().st_mtime > 60:
                return False
            state = json.loads(self._progress.read_text())
        except (OSError, ValueError):
            return False
        left = f", about {state['phase_left_s']:.0f} s left" if state["phase_left_s"] else ""
        text = f"  {state['phase']}: {state['message']} ({state['step']} of {state['steps']}{left})"
        if text != self._shown and state["phase"] != "done":
            self._shown = text
            self.say(text)
        return False


def run(playbook: str, inventory: str, tune: bool, arguments: list[str]) -> tuple[int, Path | None]:
    """Run `playbook` and return Ansible's exit status and the run folder, None when the run never opened one.

    Raises ValueError when this user may not do what is asked.
    """
    extra = list(arguments)
    if os.geteuid() != 0 and inventory == "inventory/local.yml":
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
    console = Console(paths.STATE / "probe/progress.json")
    with tempfile.TemporaryDirectory(prefix="stethos-") as scratch:
        outcome = ansible_runner.run(
            private_data_dir=scratch,
            project_dir=str(ROOT),
            playbook=playbook,
            inventory=str(ROOT / inventory),
            cmdline=shlex.join(extra) or None,
            envvars={
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            },
            event_handler=console.event,
            cancel_callback=console.tick,
            quiet=True,
        )
        if outcome.rc and not console.failed:  # Ansible ended before a task could fail
            console.say(outcome.stdout.read().strip())
    return outcome.rc, console.run_dir
