"""A server's whole life: first with programs that behave like one, or do not, then with vLLM itself."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support import ROOT, wait_for

from probe_agent.engines import tree, vllm_server
from probe_agent.engines.fresh import ProcessFailed
from probe_agent.engines.metrics import Cache
from probe_agent.engines.vllm_server import Start
from probe_agent.spec import Spec

STAND_IN = """
import ctypes, http.server, os, sys, time
if not os.fork():
    ctypes.CDLL(None).prctl(15, b'VLLM::EngineCore')
    time.sleep(600)
print('Starting to load model x...', flush=True)
time.sleep(0.5)
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status, body = ANSWERS.get(self.path, (404, ''))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())
    def log_message(self, *words): pass
ANSWERS = {'/health': (200, ''), '/metrics': (200, METRICS)}
"""
SERVE = "http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), Answer).serve_forever()\n"
METRICS = 'METRICS = \'vllm:cache_config_info{block_size="16",num_gpu_blocks="256"} 1\\nx{a="1"} 2\\nx{a="2"} 3\\n\'\n'
STARTED = METRICS + STAND_IN + SERVE

START = Start(
    model=Path("/no/model"),
    max_model_len=2048,
    max_num_seqs=64,
    max_num_batched_tokens=2048,
    gpu_memory_utilization=0.5,
    kv_cache_memory_bytes=300_000_000,
)


@pytest.fixture
def mark(tmp_path):
    """Return a variable that every process of the test has. At its end, none is left."""
    variable = ("STETHOS_TEST", str(tmp_path))
    yield variable
    left = tree.started_with("=".join(variable))
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


@pytest.fixture
def launch(tmp_path, mark, monkeypatch):
    """Return a function that launches `code` as if it were vLLM; all that it started is stopped afterwards."""
    started = []

    def start(code, wait_s=60.0, seconds=60.0):
        monkeypatch.setattr(vllm_server, "command", lambda start, port: [sys.executable, "-c", code, str(port)])
        log = tmp_path / "server.log"
        asked = replace(START, environment=(mark,))
        started.append(vllm_server.launch(asked, log, wait_s, time.monotonic() + seconds))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def is_free(url):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) != 0


def test_a_server_is_ready_tells_of_itself_and_ends(launch, mark):
    server = launch(STARTED)
    server.check()
    assert server.ready_s > 0
    assert server.metrics()["x"] == 5
    assert server.cache() == Cache(blocks=256, block_size=16, tokens=4096, max_concurrency=2)
    server.mark("first request")
    assert not is_free(server.url)
    line = server.stop()
    assert [phase.phase for phase in line.phases] == [
        "before",
        "start",
        "weights",
        "ready",
        "first request",
        "stop",
        "gone",
    ]
    assert is_free(server.url)
    assert tree.started_with("=".join(mark)) == []


def test_a_crash_on_the_way_is_told_with_its_cause(launch):
    with pytest.raises(ProcessFailed, match=r"^the server ended with status 1: ValueError: no such weights$"):
        launch("raise ValueError('no such weights')")


def test_a_server_that_is_never_ready_is_ended(launch):
    with pytest.raises(ProcessFailed, match=r"not ready after \d+ s, at 1 s of probe_server_wait_s: loading"):
        launch("import time; print('loading', flush=True); time.sleep(600)", wait_s=1.0)


def test_a_server_that_is_not_healthy_is_not_ready(launch):
    sick = STARTED.replace("'/health': (200, '')", "'/health': (503, '')")
    with pytest.raises(ProcessFailed, match="at the run's deadline"):
        launch(sick, seconds=2.0)


def test_an_agent_that_is_asked_to_end_meanwhile_leaves_nothing(launch, monkeypatch):
    class Stopped(Exception):
        pass

    def interrupted(server):
        raise Stopped

    monkeypatch.setattr(vllm_server.Server, "_is_healthy", interrupted)
    with pytest.raises(Stopped):
        launch("import signal; signal.pause()")


def test_an_engine_that_ended_fails_the_server_that_still_answers(launch):
    server = launch(STARTED)
    engine = next(pid for pid in server.pids() if tree.name(pid).startswith("VLLM::"))
    os.kill(engine, signal.SIGKILL)
    with pytest.raises(ProcessFailed, match="process VLLM::EngineCor of the server has ended"):
        wait_for(server.check)


def test_metrics_of_a_server_that_ended(launch):
    server = launch(STARTED)
    os.kill(server.pids()[0], signal.SIGKILL)
    wait_for(lambda: is_free(server.url))
    with pytest.raises(ProcessFailed, match="the server was killed by SIGKILL"):
        wait_for(server.metrics)


def test_metrics_that_are_refused(launch):
    server = launch(STARTED.replace("(200, METRICS)", "(500, '')"))
    with pytest.raises(ProcessFailed, match="answers GET /metrics with status 500"):
        server.metrics()


# From here on with vLLM itself, which takes most of a minute to start: one server for all.


@pytest.fixture(scope="module")
def vllm_python(node_python):
    tell = "from probe_agent.engines import vllm_server; print(vllm_server.lacks())"
    lacking = subprocess.run([node_python, "-c", tell], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    if lacking.strip():
        pytest.skip(lacking)
    return node_python


@pytest.fixture(scope="module")
def start(vllm_python):
    job = {"model": "synthetic:tiny", "model_revision": "", "models_dir": Spec().models_dir}
    command = [vllm_python, "-m", "probe_agent.models.prepare", json.dumps(job)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return replace(START, model=Path(done.stdout.splitlines()[-1]), environment=(("STETHOS_LEVER", "pulled"),))


@pytest.fixture(scope="module")
def server(vllm_python, start, tmp_path_factory):
    command = vllm_server.command
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vllm_server, "command", lambda *asked: [str(vllm_python), *command(*asked)[1:]])
        log = tmp_path_factory.mktemp("vllm") / "server.log"
        found = vllm_server.launch(start, log, 300, time.monotonic() + 300)
    yield found
    found.stop()


def test_vllm_starts_and_names_its_phases(server):
    phases = [phase.phase for phase in server.timeline().phases]
    assert phases == ["before", "start", "weights", "profile", "kv_cache", "api", "ready"]
    assert server.timeline().pss_mb["max"] > 100


def test_levers_reach_every_process_of_vllm(server):
    pids = server.pids()
    assert {tree.name(pid) for pid in pids} >= {"VLLM::EngineCor", "VLLM::Worker"}
    assert set(pids) == set(tree.started_with("STETHOS_LEVER=pulled"))


def test_vllm_tells_its_cache(server):
    cache = server.cache()
    assert cache.tokens == cache.blocks * cache.block_size
    assert cache.max_concurrency == pytest.approx(cache.tokens / START.max_model_len, rel=0.05)
    assert "vllm:time_to_first_token_seconds_count" in server.metrics()


LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}


def listening(pids):
    """Return the addresses, as the kernel writes them, on which these processes listen."""
    sockets = {str(file.readlink()) for pid in pids for file in Path(f"/proc/{pid}/fd").iterdir()}
    rows = [row.split() for kind in ("tcp", "tcp6") for row in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


def test_vllm_listens_on_the_loopback_alone(server):
    assert listening(server.pids()) == LOOPBACK & listening(server.pids()) != set()


def test_vllm_ends_with_nothing_left(server):
    maps = " ".join(Path(f"/proc/{pid}/maps").read_text() for pid in server.pids())
    shared = set(re.findall(r"\S+/psm_\S+", maps))
    assert shared
    line = server.stop()
    assert line.ended
    assert line.rows[-1].pss_mb == 0
    assert is_free(server.url)
    assert tree.started_with("STETHOS_LEVER=pulled") == []
    assert not [name for name in shared if Path(name).exists()]


def test_an_agent_killed_during_vllms_start_leaves_no_process(vllm_python, start, tmp_path, mark):
    agent = f"""
import time
from pathlib import Path, PosixPath
from probe_agent.engines.vllm_server import Start, launch
launch({replace(start, environment=(mark,))!r}, Path({str(tmp_path / "server.log")!r}), 300, time.monotonic() + 300)
"""
    running = subprocess.Popen([vllm_python, "-c", agent], cwd=ROOT)

    def engine_is_starting():
        assert running.poll() is None
        return len(tree.started_with("=".join(mark))) >= 3

    wait_for(engine_is_starting, seconds=200)
    running.kill()
    running.wait()
    wait_for(lambda: not tree.started_with("=".join(mark)), seconds=10)
