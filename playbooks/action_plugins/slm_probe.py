"""Action plugin: show how far a node's probe is while the module of the same name measures, and bring its result home.

With `async`, the module is started and left to measure by itself; slm_probe_wait waits for it.
"""

from __future__ import annotations

import copy
import json
import shlex
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from probe_agent import progress  # noqa: E402 - found through the line above
from probe_agent import spec as specs  # noqa: E402
from probe_agent.host import parent  # noqa: E402
from reports import fetching  # noqa: E402

LOOK_EVERY_S = 5.0
HOSTS_PER_S = 2  # looks at all nodes together; each is a session on its node and a process here
WAIT_S = 2.0


class Watch:
    """Shows a line whenever what `look` returns has changed, from a thread that ends with the block."""

    def __init__(self, host: str, every_s: float, look: Callable[[], str], show: Callable[[str], None]) -> None:
        self.host, self.every_s, self.look, self.show = host, every_s, look, show
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(WAIT_S)  # a look at a node that hangs is left behind

    def _follow(self) -> None:
        if self._over.wait(max(0.0, self.every_s - LOOK_EVERY_S)):  # beside many nodes, not while all of them start
            return
        seen = shown = self._line()  # what lies there at first is from an earlier run
        while not self._over.wait(self.every_s):
            found = self._line()
            if found not in ("", seen, shown) and not self._over.is_set():
                shown = found
                self.show(found)

    def _line(self) -> str:
        """Return where the node's probe stands, nothing where that cannot be told: the measurement goes on."""
        try:
            return progress.read(self.host, self.look())
        except Exception:  # whatever a connection raises
            return ""


class ActionModule(ActionBase):
    """Takes what the module takes, and returns what it returns. The result comes to `keep`, be it whole or not."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        spec = self._task.args.get("spec", {})
        if self._task.check_mode and str(spec.get("model", "")).startswith("/"):  # a folder of the node's
            return {**result, **self._execute_module(task_vars=task_vars)}
        if self._task.check_mode:  # all else of a spec says the same here as there
            try:
                specs.parse(json.loads(json.dumps(spec)))
            except ValueError as error:
                raise AnsibleActionFail(str(error)) from None
            return {**result, "changed": False, "result": self._task.args.get("result")}
        if self._task.async_val:
            return {**result, **self._execute_module(task_vars=task_vars, wrap_async=True)}
        # A worker has a session of its own, so that what ends the whole terminal does not reach it. When Ansible is
        # killed, it ends, and its connection with it: then the node ends its probe.
        parent.end_with_it(signal.SIGTERM)
        variables = task_vars or {}
        every_s = max(LOOK_EVERY_S, len(variables.get("ansible_play_hosts", ())) / HOSTS_PER_S)
        with Watch(variables.get("inventory_hostname", ""), every_s, self._look(), Display().display):
            done = self._execute_module(task_vars=task_vars)
        keep = self._task.args.get("keep")
        left = keep and fetching.fetch(self._low_level_execute_command, self._task.args["result"], Path(keep))
        return {**result, **fetching.with_result(done, left or "")}

    def _look(self) -> Callable[[], str]:
        """Return a function that reads the progress file through a connection of its own, as the login user."""
        connection = copy.copy(self._connection)

        def look() -> str:
            file = Path(self._task.args["result"]).with_name("progress.json")
            command = f"head -c {progress.LIMIT_BYTES} {shlex.quote(str(file))}"
            return connection.exec_command(command, sudoable=False)[1].decode()

        return look
