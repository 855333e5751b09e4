"""The example units for the controller, as systemd reads them."""

import shutil
import subprocess

import pytest
from support import ROOT

SCHEDULE = ROOT / "docs/schedule"
PLAYBOOK = "/srv/stethos/.venv/bin/ansible-playbook"


def test_systemd_takes_them(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    units = [tmp_path / path.name for path in sorted(SCHEDULE.iterdir())]
    for unit in units:  # the one path that has to be there is the operator's
        unit.write_text((SCHEDULE / unit.name).read_text().replace(PLAYBOOK, shutil.which("true")))
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
