"""The agent's archive: whole, and the same for the same source."""

import subprocess
import sys
import tarfile

from probe_agent import bundle


def test_two_archives_of_one_source_are_one(tmp_path):
    first, second = bundle.write(tmp_path / "a"), bundle.write(tmp_path / "b")
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


def test_the_unpacked_agent_runs_without_any_package(tmp_path):
    with tarfile.open(bundle.write(tmp_path)) as packed:
        packed.extractall(tmp_path / "agent", filter="data")
    command = [sys.executable, "-S", "-m", "probe_agent", "run", "--out", "x", "--model", "synthetic:none"]
    done = subprocess.run(command, cwd=tmp_path / "agent", capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("probe_model is synthetic:none, and must be one of")
