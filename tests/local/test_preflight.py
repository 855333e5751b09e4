"""Pre-flight on this machine: fit; not fit by THP and a throttled disk; nothing told by a broken torch."""

import json
import subprocess
from pathlib import Path

import pytest
from slowed import READ_COLD, expect_disk, loosen, reading_at_most
from support import ROOT

from probe_agent.host import thp
from reports.__main__ import main


def verdict_of(folder):
    return json.loads((folder / "latest/preflight.json").read_text())["hosts"]["local"]


@pytest.fixture(scope="module")
def certified(node_python, tmp_path_factory):
    """The runs' folder, where this machine's certificate is one that the agent alone found it fit for."""
    tmp_path = tmp_path_factory.mktemp("certified")
    run = tmp_path / "runs/by-hand"
    (run / "hosts/local").mkdir(parents=True)
    result = run / "hosts/local/result.json"
    command = [node_python, "-m", "probe_agent", "preflight", "--state-dir", tmp_path / "state", "--out", result]
    done = subprocess.run(
        [*command, "--certificate", tmp_path / "certificate.json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no baseline: certificate: nothing was certified here" in done.stdout
    assert "first baseline: recorded in" in done.stdout
    started = json.loads(result.read_text())["started"]
    entry = {"state": "ok", "phase": "probe", "reason": ""}
    document = {"schema_version": 1, "run_id": "by-hand", "started": started, "finished": started}
    (run / "run.json").write_text(json.dumps({**document, "hosts": {"local": entry}}))
    assert main(["certify", str(run)]) == 0
    assert main(["preflight", str(run)]) == 0
    loosen(run.parent / "certified/local.json")
    return run.parent


@pytest.mark.usefixtures("machine")
def test_thp_and_a_disk_against_the_certificate_are_found_and_nothing_else(playbook, certified, tmp_path):
    path = certified / "certified/local.json"
    document = json.loads(path.read_text())
    slow = expect_disk(document)
    path.write_text(json.dumps(document))
    knob = thp.read().general["enabled"]
    other = next(value for value in knob.choices if value not in (knob.value, "never"))
    (Path("/") / knob.path).write_text(other)
    with reading_at_most(slow):
        done = playbook("playbooks/preflight.yml", reports_dir=str(certified), probe_state=str(tmp_path / "state"))
    assert done.code == 2, done.output
    found = verdict_of(certified)
    unfit, unknown = (
        {each["subject"]: each["sentence"] for each in found["findings"] if each["word"] == word}
        for word in ("unfit", "unknown")
    )
    assert unfit["THP enabled"] == f"is {other}, and was certified as {knob.value}"
    assert f"THP enabled: {unfit['THP enabled']}" in done.output
    assert READ_COLD in unfit or "the hypervisor took" in unknown[READ_COLD]  # then it cannot be held against the node
    assert set(unfit) <= {"THP enabled", *(name for name in document["limits"] if "cold" in name)}, done.output
    assert (tmp_path / "state/certificate.json").read_bytes() == path.read_bytes()


@pytest.mark.usefixtures("machine")
def test_a_broken_environment_cannot_tell(playbook, tmp_path, broken_python):
    done = playbook(
        "playbooks/preflight.yml",
        reports_dir=str(tmp_path),
        probe_state=str(tmp_path / "state"),
        probe_python=str(broken_python),
    )
    assert done.code == 1, done.output
    reasons = {each["subject"]: each["sentence"] for each in verdict_of(tmp_path)["findings"]}
    assert "ImportError: libcudart.so.13" in reasons["probe load"]
    assert not (tmp_path / "state/certificate.json").exists()
