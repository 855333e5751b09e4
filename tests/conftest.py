"""What tests share: a fake root for pure functions, the playbooks, and a guard over this machine's own state."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "playbooks"))

from probe_agent.host import hugepages, hugetlbfs, knobs, snapshot, thp  # noqa: E402 - found through the lines above


@pytest.fixture
def fake_root(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    """Return a function that writes a tree of files and returns its root."""

    def make(files: dict[str, str]) -> Path:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return make


def machine_state() -> dict[str, object]:
    """Return what a test may not leave changed: THP, pools and mounts."""
    found = thp.read()
    return {
        "thp": {name: knob.value for name, knob in found.general.items()},
        "pools": {pool.path: pool.total for pool in hugepages.read()},
        "mounts": [mount.target for mount in hugetlbfs.read()],
    }


@pytest.fixture
def machine() -> Iterator[None]:
    """Let a test change this machine for real, and put it back whatever happened. Needs root."""
    if os.geteuid() != 0:
        pytest.skip("changes this machine's memory settings, which needs root")
    assert not snapshot.read(), "an earlier run left this machine tuned: playbooks/rollback.yml puts it back"
    before = machine_state()
    yield
    for mount in reversed(hugetlbfs.read()):
        if mount.target not in before["mounts"]:
            subprocess.run(["umount", mount.target], check=True)
            Path(mount.target).rmdir()
    for path, total in before["pools"].items():
        (Path("/") / path).write_text(str(total))
    for name, value in before["thp"].items():
        knob = knobs.read(f"{thp.FOLDER}/{name}")
        if knob and knob.choices:
            (Path("/") / knob.path).write_text(value)
    (Path("/") / snapshot.FILE).unlink(missing_ok=True)
    assert machine_state() == before


@dataclass(frozen=True)
class PlaybookRun:
    """`recap` maps a host to Ansible's counters."""

    code: int
    output: str
    recap: dict[str, dict[str, int]]


@pytest.fixture(scope="session")
def playbook() -> Callable[..., PlaybookRun]:
    """Return a function that runs ansible-playbook as a person would; keyword arguments become extra variables."""

    def run(name: str, *arguments: str, env: dict[str, str] | None = None, **variables: object) -> PlaybookRun:
        command = [str(Path(sys.executable).with_name("ansible-playbook")), name, *arguments]
        if variables:
            command += ["-e", json.dumps(variables)]
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
        )
        output = done.stdout + done.stderr
        rows = re.findall(r"^(\S+)\s+: (ok=.*)$", done.stdout, re.MULTILINE)
        recap = {host: {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", counts)} for host, counts in rows}
        return PlaybookRun(done.returncode, output, recap)

    return run
