"""The console in a real terminal, and what it says of a run that was not to measure."""

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
import yaml
from support import ROOT, machine_state, wait_for

from probe_agent.host import snapshot

NAP = "4711.25"  # seconds, by which the test knows its own sleep
ROWS, COLUMNS = 24, 100


class Terminal:
    """A console started in a terminal of its own; `shown` is all that was written there."""

    def __init__(self, *arguments, **environment):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "reports", "run", *arguments],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # Ctrl-C then comes from the terminal
        )
        os.close(slave)
        self.shown = ""

    def read(self):
        """Take what is there by now; tells whether there can be more."""
        while select.select([self.master], [], [], 0)[0]:
            try:
                self.shown += os.read(self.master, 1 << 16).decode(errors="replace")
            except OSError:  # the other end was closed
                return False
        return True

    def end(self):
        """Wait for the console's end and return its status."""

        def it_ended():
            self.read()
            return self.process.poll() is not None

        wait_for(it_ended, 120)
        self.read()
        os.close(self.master)
        return self.process.returncode


def napping():
    """Return the processes that sleep for this test."""
    wanted = f"sleep\0{NAP}\0".encode()
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [int(file.parent.name)] if file.read_bytes() == wanted else []
        except OSError:
            continue
    return found


@pytest.fixture
def short_play(tmp_path):
    """A playbook that changes THP and then sleeps for much longer than any test."""
    other = "madvise" if machine_state()["thp"]["enabled"] != "madvise" else "never"
    tasks = [
        {"name": "Set THP", "thp": {"enabled": other}},
        {"name": "Sleep", "ansible.builtin.command": f"sleep {NAP}"},
    ]
    file = tmp_path / "tune.yml"
    file.write_text(yaml.safe_dump([{"name": "A short play", "hosts": "all", "gather_facts": False, "tasks": tasks}]))
    return str(file)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("word", ["xterm-256color", "dumb"])
def test_ctrl_c_leaves_no_child_and_says_what_was_put_back(short_play, word):
    before = machine_state()
    terminal = Terminal("--playbook", short_play, TERM=word)

    def it_sleeps():
        terminal.read()
        return napping()

    wait_for(it_sleeps, 120)
    assert machine_state() != before
    os.write(terminal.master, b"\x03\x03")
    assert terminal.end() == 130, terminal.shown
    assert napping() == []
    assert machine_state() == before
    assert snapshot.read() == []
    assert "stopped (SIGINT)" in terminal.shown
    was = before["thp"]["enabled"]
    assert f"/sys/kernel/mm/transparent_hugepage/enabled is {was} again" in terminal.shown
    if word == "dumb":
        assert "\x1b" not in terminal.shown
    else:
        assert terminal.shown.rfind("\x1b[?25h") > terminal.shown.rfind("\x1b[?25l") >= 0  # the cursor is back
        assert "Last message" in terminal.shown


def test_a_run_that_was_not_to_measure_says_what_it_did(tmp_path):
    (tmp_path / "older").mkdir()
    (tmp_path / "latest").symlink_to("older")
    variables = json.dumps({"reports_dir": str(tmp_path)})
    command = [sys.executable, "-m", "reports", "run", "--tune", "no", "--", "--tags", "preflight", "-e", variables]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout
    said = done.stdout.splitlines()
    assert "No report, since nothing was to be measured." in said
    [counted] = [line for line in said if line.startswith("1 host: ")]
    assert counted.startswith(
        "1 host: 1 skipped. local skipped (nothing was to be measured (tags: preflight, not baseline"
    )
    assert "this run did: input, state, preflight)" in counted
    assert (tmp_path / "latest").readlink() == Path("older")
