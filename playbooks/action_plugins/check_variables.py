"""Action plugin: refuse bad variables on the controller, before any node is even connected to."""

from __future__ import annotations

import difflib
import re
import sys
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from reports.run_folder import is_folder_name  # noqa: E402 - found through the line above

OURS = re.compile(r"(thp|hugepages|hugetlbfs|jemalloc|tuning|probe|reports?)_\w+")
SECRET = re.compile(r"token\b|secret|password")


def known_options() -> dict[str, dict[str, Any]]:
    """Return every variable of the playbooks and roles with its argument spec."""
    options = yaml.safe_load((ROOT / "playbooks/vars/options.yml").read_text())
    for file in sorted(ROOT.glob("roles/*/meta/argument_specs.yml")):
        options |= yaml.safe_load(file.read_text())["argument_specs"]["main"]["options"]
    return options


def complaints(given: dict[str, Any], known: dict[str, dict[str, Any]]) -> list[str]:
    """Return a sentence for each variable that is unknown or has a value that is not allowed."""
    unknown = [name for name in given if name not in known]
    sentences = []
    for name in sorted(unknown):
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else f"; known are {', '.join(sorted(known))}"
        secret = SECRET.search(name) or any(known[each].get("no_log") for each in close)
        value = "given" if secret else repr(given[name])
        sentences.append(f"{name} is {value}, and no variable of this project has that name{hint}")
    for name, value in given.items():
        if name in known and value is not None:
            sentences += refusals(name, value, known[name])
    return sentences


def refusals(name: str, value: Any, option: dict[str, Any]) -> list[str]:
    try:
        return ArgumentSpecValidator({name: option}).validate({name: value}).error_messages
    except (TypeError, ArithmeticError):  # Ansible looks into what may have no parts, and takes infinity for a number
        return [
            f"{name} is {value!r}, and must be of type {option['type']} and of the kind that the role's README names"
        ]


KNOWN = known_options()  # read where all workers are forked from


class ActionModule(ActionBase):
    """Takes no arguments: it reads the host's variables."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        given = {
            name: self._templar.template(value) for name, value in (task_vars or {}).items() if OURS.fullmatch(name)
        }
        wrong = complaints(given, KNOWN)
        host = (task_vars or {}).get("inventory_hostname", "")
        if not is_folder_name(host):
            wrong.append(f"the inventory names a host {host!r}, and must name each so that a folder can have its name")
        if wrong:
            raise AnsibleActionFail("; ".join(wrong))
        return {**result, "changed": False}
