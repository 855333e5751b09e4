"""What tests share: a fake root for pure functions, the playbooks, and a guard over this machine's own state."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import PlaybookRun, machine_state, run_playbook

from probe_agent.host import hugetlbfs, knobs, loans, snapshot, thp


@pytest.fixture
def fake_root(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    """Return a function that writes a tree of files and returns its root."""

    def make(files: dict[str, str]) -> Path:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return make


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
    for journal in (snapshot.FILE, loans.FILE):
        (Path("/") / journal).unlink(missing_ok=True)
    assert machine_state() == before


@pytest.fixture(scope="session")
def playbook() -> Callable[..., PlaybookRun]:
    """Return a function that runs a playbook on this machine."""
    return run_playbook
