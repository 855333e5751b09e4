"""Servers of a few lines, real processes all: how they are started, read and ended, whatever becomes of anybody."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import ROOT, wait_for

from probe_agent.engines import kept, tree
from probe_agent.engines.fresh import ProcessFailed
from probe_agent.engines.kept import Kept

PLAIN = "import time; print('up', flush=True); time.sleep(600)"
# Ignores SIGTERM, and so do its child, and a grandchild that has left the session and been orphaned.
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    time.sleep(600)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    sys.exit()
os.wait()
print('up', flush=True)
time.sleep(600)
"""
SHARED_MEMORY = """
import multiprocessing.shared_memory, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
block = multiprocessing.shared_memory.SharedMemory(create=True, size=1 << 20)
print(f'/dev/shm/{block.name}', flush=True)
time.sleep(600)
"""
# A library that reads GPU memory from a file: 9000 MiB as long as a process holds the device, else 450.
LIBRARY = """
import os
from types import SimpleNamespace
class NVMLError(Exception): pass
def nvmlInit(): pass
def nvmlShutdown(): pass
def nvmlDeviceGetCount(): return 1
def nvmlDeviceGetHandleByIndex(number): return number
def nvmlDeviceGetHandleByUUID(uuid): return 0
def nvmlDeviceGetMigMode(handle): raise NVMLError('not supported')
def nvmlDeviceGetName(handle): return 'NVIDIA Paper'
def nvmlDeviceGetUUID(handle): return 'GPU-paper'
def nvmlDeviceGetUtilizationRates(handle): return SimpleNamespace(gpu=42)
def nvmlDeviceGetMemoryInfo(handle):
    file = os.path.join(os.path.dirname(__file__), 'holder')
    held = os.path.exists(file) and os.path.exists('/proc/' + open(file).read())
    return SimpleNamespace(used=(9000 if held else 450) << 20, total=100000 << 20)
"""
AGENT = """
import json, os, sys, time
from pathlib import Path
from probe_agent.engines.kept import Kept
kept = Kept([sys.executable, '-c', sys.argv[1]], dict(os.environ), Path(sys.argv[2]))
child = os.fork()  # whoever forks here holds the agent's end of the leash as well
if not child:
    time.sleep(600)
print(child, flush=True)
time.sleep(600)
"""


@pytest.fixture
def mark(tmp_path):
    """Return the variable that is in the environment of every process of the test. At its end, none is left."""
    variable = f"STETHOS_TEST={tmp_path}"
    yield variable
    for pid in tree.started_with(variable):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def keep(tmp_path, mark, monkeypatch):
    """Return a function that starts `code` as a server; all are stopped afterwards."""
    monkeypatch.setattr(kept, "GRACE_S", 0.5)
    started = []

    def start(code, phases=()):
        environment = {**os.environ, **dict([mark.split("=", 1)])}
        started.append(Kept([sys.executable, "-c", code], environment, tmp_path / "server.log", phases))
        return started[-1]

    yield start
    for each in started:
        each.stop()


@pytest.fixture
def up(tmp_path):
    """Return a condition: the server has said that it is up."""

    def server_is_up():
        return (tmp_path / "server.log").exists() and (tmp_path / "server.log").read_text().endswith("\n")

    return server_is_up


def test_memory_is_read_from_before_the_spawn_until_after_the_end(keep):
    server = keep(PLAIN, (("up", "serving"),))
    wait_for(lambda: any(phase.phase == "serving" for phase in server.timeline().phases))
    server.mark("ready")
    wait_for(lambda: any(row.pss_mb for row in server.timeline().rows))
    server.check()
    line = server.stop()
    assert [phase.phase for phase in line.phases] == ["before", "start", "serving", "ready", "stop", "gone"]
    assert (line.rows[0].at_s, line.rows[0].pss_mb) <= (0, 0)
    assert line.pss_mb["max"] > 1
    assert line.rows[-1].pss_mb == 0
    assert line.ended
    assert server.status == -signal.SIGTERM
    assert server.stop() == line


def test_gpu_memory_is_read_and_waited_for(keep, up, tmp_path, monkeypatch):
    (tmp_path / "pynvml.py").write_text(LIBRARY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    allocating = f"import os; open({str(tmp_path / 'holder')!r}, 'w').write(str(os.getpid())); "
    server = keep(allocating + PLAIN)
    wait_for(up)
    wait_for(lambda: (server.timeline().gpu_mb or {}).get("max") == 9000)
    line = server.stop()
    assert line.gpu_mb == {"before": 450, "min": 450, "max": 9000, "after": 450}
    assert line.gpu_back() is True
    rise = next(jump for jump in line.jumps() if jump.what == "gpu")
    assert (rise.phase, rise.from_mb, rise.to_mb) == ("start", 450, 9000)
    assert {row.gpu_utilization_percent for row in line.rows} == {42}


def test_whoever_does_not_end_when_asked_is_killed(keep, up, mark):
    server = keep(STUBBORN)
    wait_for(up)
    assert len(tree.started_with(mark)) == 3
    server.stop()
    assert tree.started_with(mark) == []


def test_every_process_can_be_spared_by_the_node_and_has_the_environment(keep, up, mark):
    server = keep(STUBBORN)
    wait_for(up)
    pids = server.pids()
    assert sorted(pids) == sorted(tree.started_with(mark))
    assert {Path(f"/proc/{pid}/oom_score_adj").read_text() for pid in pids} == {"1000\n"}


def test_a_crash_is_noticed_and_its_orphans_end(keep, up, mark):
    server = keep(STUBBORN)
    wait_for(up)
    os.kill(server.pids()[0], signal.SIGSEGV)
    with pytest.raises(ProcessFailed, match=r"^the server was killed by SIGSEGV$"):
        wait_for(server.check)
    wait_for(lambda: not tree.started_with(mark))


def test_a_status_is_told(keep):
    server = keep("raise SystemExit(3)")
    with pytest.raises(ProcessFailed, match=r"^the server ended with status 3$"):
        wait_for(server.check)


def test_a_command_that_does_not_exist_is_told_in_the_log(tmp_path):
    server = Kept(["/no/such/server"], dict(os.environ), tmp_path / "server.log")
    with pytest.raises(ProcessFailed, match="keeper ended with status 1"):
        wait_for(server.check)
    server.stop()
    assert "No such file or directory: '/no/such/server'" in (tmp_path / "server.log").read_text()


def test_shared_memory_of_a_killed_server_is_given_back(keep, up, tmp_path):
    server = keep(SHARED_MEMORY)
    wait_for(up)
    block = Path((tmp_path / "server.log").read_text().splitlines()[0])
    assert block.exists()
    server.stop()
    assert server.status is None
    assert not block.exists()


def test_temporary_files_go_with_the_server(keep, up, tmp_path):
    server = keep("import tempfile; print(tempfile.mkstemp()[1], flush=True); import time; time.sleep(600)")
    wait_for(up)
    file = Path((tmp_path / "server.log").read_text().strip())
    assert file.exists()
    server.stop()
    assert not file.parent.exists()


@pytest.mark.parametrize("when", ["starting", "up"])
def test_a_killed_agent_leaves_nothing(up, mark, tmp_path, when):
    environment = {**os.environ, **dict([mark.split("=", 1)])}
    agent = subprocess.Popen(
        [sys.executable, "-c", AGENT, STUBBORN, tmp_path / "server.log"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    forked = int(agent.stdout.readline())
    if when == "up":
        wait_for(up)
    agent.kill()
    agent.wait()
    wait_for(lambda: set(tree.started_with(mark)) <= {forked}, seconds=10)
    os.kill(forked, signal.SIGKILL)
    agent.stdout.close()


def test_a_killed_keeper_takes_the_server_with_it(keep, up, mark):
    server = keep(STUBBORN)
    wait_for(up)
    keeper = int(Path(f"/proc/{server.pids()[0]}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(keeper, signal.SIGKILL)
    with pytest.raises(ProcessFailed, match=r"^the server's keeper was killed by SIGKILL$"):
        wait_for(server.check)
    assert tree.started_with(mark) == []
    line = server.stop()
    assert line.rows
    assert not line.ended


def test_a_keeper_asked_to_end_by_somebody_else_ends_the_server(keep, up, mark):
    server = keep(PLAIN)
    wait_for(up)
    os.kill(int(Path(f"/proc/{server.pids()[0]}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGTERM)
    with pytest.raises(ProcessFailed, match=r"^the server was killed by SIGTERM$"):
        wait_for(server.check)
    wait_for(lambda: not tree.started_with(mark))


def test_a_stranger_is_not_hit():
    """What the search returned first is somebody else's when it is to be killed: the second search does not name it."""
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        answers = [[stranger.pid], []]
        assert not tree.kill(lambda: answers.pop(0), time.monotonic())
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_process_is_told_from_the_next_with_its_pid():
    child = subprocess.Popen(["sleep", "600"])
    born = tree.born(child.pid)
    assert born >= tree.born(os.getpid())
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert tree.born(child.pid) is None
    child.wait()
    assert tree.born(child.pid) is None
