"""Run a playbook and show a person what goes on: a table of the hosts in a terminal, a line per step elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ansible_runner
import rich.console
from rich.live import Live
from rich.text import Text

from probe_agent import paths, progress
from probe_agent.host import process

from . import console_view, figures
from .console_view import Fleet, State

ROOT = Path(__file__).resolve().parents[1]
LOCAL = "inventory/local.yml"
TUNING = ("tune_and_probe.yml", "tune.yml")  # playbooks that change settings
BAD = {"runner_on_failed": State.FAILED, "runner_on_unreachable": State.UNREACHABLE}
INTERRUPTED = 130
FEW = 3  # hosts, of which every change gets a line above the table
ENDING = (signal.SIGINT, signal.SIGTERM)
LOOK_EVERY_S = 0.5  # how often the runner asks whether to stop, and the table is drawn anew


class Console:
    """Turns ansible-runner's events into lines, or into a table with the lines that matter above it.

    Remembers the run folder, and whether a person wants it to stop.
    """

    def __init__(self, live: bool = False, began: float | None = None) -> None:
        self.began = time.monotonic() if began is None else began
        self.run_dir: Path | None = None
        self.failed = False
        self.stopping: signal.Signals | None = None
        self.fleet = Fleet()
        self.terminal = rich.console.Console(highlight=False, markup=False, emoji=False) if live else None
        self._live: Live | None = None
        self._drawn_s = 0.0

    @property
    def now_s(self) -> float:
        return time.monotonic() - self.began

    @contextlib.contextmanager
    def showing(self) -> Iterator[None]:
        """Show the table, in a terminal, for the length of the block; the cursor is back after it."""
        if self.terminal is None:
            yield
            return
        self._live = Live(get_renderable=self._picture, console=self.terminal, auto_refresh=False, transient=True)
        try:
            with self._live:
                yield
        finally:
            self._live = None

    def say(self, text: str) -> None:
        line = f"{console_view.clock(self.now_s)}  {figures.printable(text)}"
        if self.terminal:
            self.terminal.print(Text(line))
        else:
            print(line, flush=True)  # noqa: T201 - this is the console

    def detail(self, text: str) -> None:
        """Say what became of one host; of many, the table shows it as their last message."""
        if self._live is None or len(self.fleet.hosts) <= FEW:
            self.say(f"  {text}")

    def event(self, event: dict[str, Any]) -> bool:
        kind, data = event["event"], event.get("event_data", {})
        host, result = str(data.get("host", "")), data.get("res") or {}
        if kind == "playbook_on_play_start":
            self.fleet.play = str(data.get("name", ""))
            self.say(self.fleet.play)
        elif kind == "runner_on_start":
            self.fleet.begin(host, str(data.get("task", "")), self.now_s)
        elif kind in BAD:
            self._lost(host, BAD[kind], result, bool(data.get("ignore_errors")))
        elif kind in ("runner_on_ok", "runner_on_skipped"):
            self._ended(host, str(data.get("task", "")), result)
        elif kind == "verbose" and progress.LINE.fullmatch(event["stdout"]):  # from the action plugin slm_probe
            self.fleet.progress(event["stdout"], self.now_s)
            if self._live is None:
                self.say(f"  {event['stdout']}")
        self._draw()
        return False  # runner keeps no copy: the run folder is the record

    def _lost(self, host: str, state: State, result: dict[str, Any], ignored: bool) -> None:
        words = " ".join(str(result.get("msg") or result.get("stderr") or "no word of why").split())
        if ignored:
            self.fleet.end(host, words, self.now_s)
            return
        self.failed = True
        self.fleet.lose(host, state, words, self.now_s)
        self.say(f"  {host}: {state}: {words}")

    def _ended(self, host: str, task: str, result: dict[str, Any]) -> None:
        opened = (result.get("ansible_facts") or {}).get("stethos_run")
        if opened:
            self.run_dir = Path(opened["dir"])
        changed, restored = bool(result.get("changed")), [str(each) for each in result.get("restored") or []]
        self.fleet.end(host, "; ".join(restored) or task, self.now_s, changed)
        if changed:
            self.detail(f"{host}: {task} (changed)")
        for sentence in restored:
            self.detail(f"{host}: {sentence}")
        for warning in result.get("warnings") or []:
            self.say(f"  {host}: {warning}")

    def stop(self, number: int, _frame: object) -> None:
        """End what was started, from the agent up: Ansible's workers would outlive their parent and wait for it.

        Only once: what is put back afterwards is not stopped half-way by an impatient second Ctrl-C.
        """
        if self.stopping:
            return
        self.stopping = signal.Signals(number)
        for pid in reversed(process.descendants(os.getpid())):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def tick(self) -> bool:
        """Called by the runner all the time: tells whether to stop."""
        self._draw()
        return self.stopping is not None

    def _draw(self) -> None:
        if self._live and self.now_s - self._drawn_s >= LOOK_EVERY_S / 2:
            self._drawn_s = self.now_s
            self._live.refresh()

    def _picture(self) -> rich.console.RenderableType:
        height = self.terminal.height if self.terminal else 0
        return console_view.picture(self.fleet, self.now_s, height)


def interactive() -> bool:
    """Tell whether a table can be drawn and redrawn where output goes."""
    return sys.stdout.isatty() and rich.console.Console().is_interactive


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
    console = Console(live=interactive())
    before = [signal.signal(number, console.stop) for number in ENDING]
    try:
        code = _play(playbook, inventory, extra, console)
        if console.stopping:
            code = INTERRUPTED
            console.say(f"stopped ({console.stopping.name})")
            if inventory == LOCAL and tune:  # keeps nothing, so what the run left half done goes too
                _play("playbooks/rollback.yml", inventory, [], Console(began=console.began))
            else:
                console.say(f"to undo what was changed: ansible-playbook -i {inventory} playbooks/rollback.yml")
    finally:
        for number, handler in zip(ENDING, before, strict=True):
            signal.signal(number, handler)
    return code, console.run_dir


def _play(playbook: str, inventory: str, arguments: list[str], console: Console) -> int:
    """Run one playbook under the console and return Ansible's exit status."""
    with tempfile.TemporaryDirectory(prefix="stethos-") as scratch:
        with console.showing():
            outcome = ansible_runner.run(
                private_data_dir=scratch,
                project_dir=str(ROOT),
                playbook=playbook,
                inventory=str(ROOT / inventory),
                cmdline=shlex.join(arguments) or None,
                envvars={
                    "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                    "ANSIBLE_FORCE_COLOR": "0",
                    "ANSIBLE_NOCOLOR": "1",  # its output is read here, not shown
                    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                },
                event_handler=console.event,
                cancel_callback=console.tick,
                settings={"pexpect_timeout": LOOK_EVERY_S},
                quiet=True,
            )
        if outcome.rc and not console.failed and not console.stopping:  # Ansible ended before a task could fail
            for line in filter(None, outcome.stdout.read().splitlines()):
                console.say(line)
    return outcome.rc
