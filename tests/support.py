"""Helpers that tests import: where the project is, this machine's state, and playbooks as a person runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from probe_agent import schema
from probe_agent.host import hugepages, hugetlbfs, thp

ROOT = Path(__file__).resolve().parents[1]
# For a playbook that lies elsewhere: the project's own find their plugins beside them.
OUR_ACTIONS = {"ANSIBLE_ACTION_PLUGINS": str(ROOT / "playbooks/action_plugins")}


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    for _ in range(int(seconds * 20)):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail(f"{condition.__name__} did not come true within {seconds} s")


def machine_state() -> dict[str, object]:
    """Return what a test may not leave changed: THP, pools and mounts."""
    found = thp.read()
    return {
        "thp": {name: knob.value for name, knob in found.general.items()},
        "pools": {pool.path: pool.total for pool in hugepages.read()},
        "mounts": [mount.target for mount in hugetlbfs.read()],
    }


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def result_of(folder: Path) -> dict:
    """Return the agent's result.json in `folder`, held against its schema."""
    document = json.loads((folder / "result.json").read_text())
    schema.check("result", document)
    return document


@dataclass(frozen=True)
class PlaybookRun:
    """`recap` maps a host to Ansible's counters."""

    code: int
    output: str
    recap: dict[str, dict[str, int]]


def run_playbook(
    name: str, *arguments: str, env: dict[str, str] | None = None, timeout_s: float = 540, **variables: object
) -> PlaybookRun:
    """Run ansible-playbook from the project's root; keyword arguments become extra variables."""
    command = [str(Path(sys.executable).with_name("ansible-playbook")), name, *arguments]
    if variables:
        command += ["-e", json.dumps(variables)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    rows = re.findall(r"^(\S+)\s+: (ok=.*)$", done.stdout, re.MULTILINE)
    recap = {host: {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", counts)} for host, counts in rows}
    return PlaybookRun(done.returncode, done.stdout + done.stderr, recap)
