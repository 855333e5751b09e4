"""Run folders to report on: a real one (two cores, synthetic:tiny), and ones made of its parts."""

import copy
import json
import shutil
from pathlib import Path

import pytest

SAMPLE = Path(__file__).parent / "samples" / "run"


@pytest.fixture
def sample_run(tmp_path):
    """A copy of the real run: node1 measured before and after, node2 unreachable, node3 skipped."""
    return shutil.copytree(SAMPLE, tmp_path / "run")


@pytest.fixture
def document():
    """The real result after tuning, free to be changed."""
    return json.loads((SAMPLE / "hosts" / "node1" / "result.json").read_text())


@pytest.fixture
def make_run(tmp_path):
    """Write a run folder: hosts by name, each a dict of run.json's fields and the files `baseline` and `result`."""

    def make(hosts):
        folder = tmp_path / "made"
        entries = {}
        for name, host in hosts.items():
            parts = copy.copy(host)
            for part in ("baseline", "result"):
                content = parts.pop(part, None)
                if content is not None:
                    place = folder / "hosts" / name
                    place.mkdir(parents=True, exist_ok=True)
                    content = content if isinstance(content, bytes) else json.dumps(content).encode()
                    (place / f"{part}.json").write_bytes(content)
            entries[name] = {"state": "ok", "phase": "probe", "reason": "", **parts}
        folder.mkdir(exist_ok=True)
        run = {"schema_version": 1, "run_id": "r1", "started": "2026-11-21T02:00:00+00:00", "finished": None}
        (folder / "run.json").write_text(json.dumps({**run, "hosts": entries}))
        return folder

    return make
