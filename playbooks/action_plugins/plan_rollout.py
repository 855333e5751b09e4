"""Action plugin: put the hosts of a run into batches, canaries first, and tell which of them ask for what is rare.

A play over those costs nothing for the others, where a task that they skip costs the controller a worker each.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from reports import rollout  # noqa: E402 - found through the line above

# By the fact that a play is for: what the inventory must say of a host, as far as it can be told before a template is.
RARE: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "services": ("jemalloc_services", bool),
    "metrics": ("report_textfile_dir", bool),
    "put_back": ("tuning_keep", lambda value: value is not None and not boolean(value, strict=False)),
}


class ActionModule(ActionBase):
    """Takes the fields of a `rollout.Wish`. Returns the facts `stethos_rollout`, and `stethos_hosts`, lists by purpose.

    A list may hold a host that turns out not to ask; it holds every one that does.
    """

    _requires_connection = False
    _VALID_ARGS = frozenset(rollout.Wish.__dataclass_fields__)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        hosts = variables["ansible_play_hosts_all"]
        try:
            planned = rollout.plan(rollout.Wish(**self._task.args), hosts, variables["groups"])
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from None
        facts = {"stethos_rollout": asdict(planned), "stethos_hosts": _asking(hosts, variables)}
        return {**result, "changed": False, "ansible_facts": facts}


def _asking(hosts: list[str], variables: dict[str, Any]) -> dict[str, list[str]]:
    raw_of = variables["hostvars"].raw_get
    here = raw_of(variables["inventory_hostname"])
    # What this task knows and its own host does not comes from the play, and holds for all hosts.
    names = [name for name, _ in RARE.values()]
    of_play = {name: variables[name] for name in names if name in variables and variables[name] != here.get(name)}
    asked: dict[str, list[str]] = {what: [] for what in RARE}
    for host in hosts:
        known = {**raw_of(host), **of_play}
        for what, (name, asks) in RARE.items():
            if asks(known.get(name)):
                asked[what].append(host)
    return asked
