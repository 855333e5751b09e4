"""A fresh process that crashes, hangs or is killed is told apart, and nothing of it is left."""

import os
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from probe_agent.engines import fresh
from probe_agent.host import numa

CHILD = """
import json, os, sys, time
job = json.loads(sys.argv[1])
events = os.fdopen(job["events"], "w", buffering=1)
events.write(json.dumps({"stage": "start", "at": time.perf_counter()}) + "\\n")
open(job["pid_file"], "w").write(str(os.getpid()))
exec(job["code"])
events.write(json.dumps({"reply": {"answer": 42}}) + "\\n")
sys.stdin.readline()
"""


@pytest.fixture
def child(tmp_path, monkeypatch):
    """Return a function that runs `code` in a fresh process, and one that tells whether the process is gone."""
    (tmp_path / "a_child.py").write_text(CHILD)
    monkeypatch.setattr(fresh, "PACKAGE_PARENT", tmp_path)

    def run(code, seconds=20.0, prepare=None):
        job = {"code": code, "pid_file": str(tmp_path / "pid")}
        environment = {"LEVER": "pulled", "OTHER_LEVER": ""}
        return fresh.run("a_child", job, environment, time.monotonic() + seconds, prepare)

    yield run
    process = Path("/proc") / (tmp_path / "pid").read_text()
    for _ in range(100):  # init collects an orphan when it finds the time
        if not process.exists():
            break
        time.sleep(0.05)
    assert not process.exists()


def test_gives_stages_reply_and_memory_of_the_living_process(child):
    done = child("assert os.environ['LEVER'] == 'pulled'")
    assert list(done.stages_s) == ["start"]
    assert done.reply == {"answer": 42}
    assert done.proof.tree[0].rss_mb > 1
    assert done.wall_s >= done.stages_s["start"] > 0


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("raise ValueError('no such weights')", "ended with status 1: .*no such weights"),
        ("os.kill(os.getpid(), 9)", "was killed by SIGKILL"),
        ("sys.exit(3)", "ended with status 3"),
    ],
)
def test_says_how_it_ended(child, code, sentence):
    with pytest.raises(fresh.ProcessFailed, match=sentence):
        child(code)


def test_a_hanging_process_is_ended_at_the_deadline(child):
    with pytest.raises(fresh.ProcessFailed, match="the deadline came after 'start'"):
        child("time.sleep(60)", seconds=1.5)


@pytest.mark.parametrize("error", [FileNotFoundError, ProcessLookupError])
def test_a_living_process_that_cannot_be_read_is_not_waited_for(child, monkeypatch, error):
    """A kernel without smaps_rollup once left the agent waiting for a process that waited for the agent."""

    def read(pid):
        raise error(2, "No such file or directory", f"/proc/{pid}/smaps_rollup")

    monkeypatch.setattr(fresh.proof, "read", read)
    with pytest.raises(fresh.ProcessFailed, match=r"the process lives, and cannot be read: .*/smaps_rollup"):
        child("import signal; signal.alarm(20)", seconds=60)


def test_a_process_that_ends_while_it_is_read_has_ended(child, monkeypatch):
    def read(pid):
        os.kill(pid, 9)
        raise ProcessLookupError(3, "No such process")

    monkeypatch.setattr(fresh.proof, "read", read)
    with pytest.raises(fresh.ProcessFailed, match="was killed by SIGKILL"):
        child("")


def test_what_it_started_ends_with_it(child, tmp_path):
    """The pid file then names the grandchild, which the fixture expects to be gone."""
    with pytest.raises(fresh.ProcessFailed):
        child(
            "import subprocess; p = subprocess.Popen(['sleep', '60']); "
            "open(job['pid_file'], 'w').write(str(p.pid)); sys.exit(1)"
        )


def test_the_interpreter_is_the_agents_own(child):
    assert child(f"assert os.path.samefile(sys.executable, {os.path.realpath(sys.executable)!r})").reply


def test_a_variable_given_as_empty_is_taken_away(child, monkeypatch):
    """torch takes an empty variable under its older name for the settings, and never looks at the newer one."""
    monkeypatch.setenv("OTHER_LEVER", "set by an operator's shell")
    assert child("assert 'OTHER_LEVER' not in os.environ").reply


def test_what_it_started_is_read_with_it(child):
    done = child("import subprocess; p = subprocess.Popen(['sleep', '60'])")
    assert len(done.proof.tree) == 2


def test_what_it_started_is_gone_when_the_next_may_start(child, tmp_path):
    """Killed, but not yet gone, a process held a page of the pool: the next sample found it missing."""
    child(
        "import subprocess; p = subprocess.Popen([sys.executable, '-c', 'x = bytearray(1 << 29); input()'], "
        "stdin=subprocess.PIPE); time.sleep(0.5); open(job['pid_file'], 'w').write(str(p.pid))"
    )
    status = Path("/proc") / (tmp_path / "pid").read_text() / "status"
    assert not status.exists() or "VmRSS" not in status.read_text()


def test_it_can_be_bound_to_a_numa_node(child):
    if not numa.candidates():
        pytest.skip("this kernel shows no NUMA node")
    assert child("", prepare=partial(numa.bind, numa.best())).proof.numa_policy == f"bind:{numa.best().number}"
