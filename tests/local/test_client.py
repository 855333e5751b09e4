"""The client against a server that answers at once, refuses, dies, falls silent or sends too little."""

import json
import subprocess
import sys
import time

import pytest
from support import ROOT

STUB = ROOT / "tests/bench/stub_server.py"
# Runs in the node's environment, which has aiohttp.
LOAD = """
import dataclasses, json, sys, time
from probe_agent.engines import client
from probe_agent.engines.fresh import ProcessFailed

job = json.loads(sys.argv[1])
began = time.monotonic()

def check():
    if time.monotonic() - began > job["gone_after_s"]:
        if job["asked_to_end"]:
            raise KeyboardInterrupt
        raise ProcessFailed("the server ended with status 1: out of memory")

requests = client.prompts(range(1000), [8] * job["requests"], job["tokens"], seed=1)
load = client.send(job["url"], "probe", requests, job["concurrency"], began + job["seconds"], check, job["stall_s"])
print(json.dumps(dataclasses.asdict(load)))
"""


@pytest.fixture
def stub():
    """Return a function that starts a stub server and returns its process, with its `url`."""
    started = []

    def start(*arguments: object) -> subprocess.Popen:
        server = subprocess.Popen([sys.executable, STUB, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
        started.append(server)
        server.url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        return server

    yield start
    for server in started:
        server.kill()
        server.communicate()


@pytest.fixture
def driver(node_python):
    """Return a function that runs LOAD to its end."""

    def run(server: subprocess.Popen, **changes: object) -> subprocess.CompletedProcess:
        job = {"url": server.url, "requests": 40, "concurrency": 8, "tokens": 16}
        job |= {"seconds": 60, "stall_s": 60, "gone_after_s": 60, "asked_to_end": False, **changes}
        return subprocess.run(
            [node_python, "-c", LOAD, json.dumps(job)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    return run


@pytest.fixture
def load(driver):
    """Return a function that puts a load on a server, and returns what the client measured."""

    def run(server: subprocess.Popen, requests=40, concurrency=8, **changes: object) -> dict:
        done = driver(server, requests=requests, concurrency=concurrency, **changes)
        assert done.returncode == 0, done.stderr
        measured = json.loads(done.stdout)
        assert [row["request"] for row in measured["rows"]] == list(range(requests))
        return measured

    return run


@pytest.fixture
def seen():
    """Return a function that tells which completions a stub server was asked for."""

    def ask(server: subprocess.Popen) -> list[dict]:
        from urllib.request import urlopen

        with urlopen(f"{server.url}/seen") as answer:  # noqa: S310 - a server of ours
            return [json.loads(line) for line in answer.read().splitlines()]

    return ask


def errors(measured: dict) -> set[str]:
    return {row["error"] for row in measured["rows"]}


@pytest.mark.parametrize("concurrency", [1, 8, 40, 100])
def test_every_request_is_answered_and_timed(stub, load, seen, concurrency):
    server = stub("answer")
    measured = load(server, concurrency=concurrency)
    assert errors(measured) == {""}
    assert measured["stopped"] == ""
    for row in measured["rows"]:
        assert (row["output_tokens"], row["chunks"], row["prompt_tokens"]) == (16, 16, 8)
        assert 0 < row["ttft_s"] <= row["e2e_s"] <= measured["wall_s"]
        assert row["tpot_s"] == pytest.approx((row["e2e_s"] - row["ttft_s"]) / 15)
        assert 0 <= row["sent_s"] <= measured["wall_s"]
    bodies = seen(server)
    assert len({tuple(body["prompt"]) for body in bodies}) == len(bodies) == 40
    assert {(body["max_tokens"], body["min_tokens"], body["ignore_eos"], body["stream"]) for body in bodies} == {
        (16, 16, True, True)
    }


def test_what_a_server_refuses_is_told_in_its_words_and_the_rest_goes_on(stub, load):
    measured = load(stub("refuse", 30), concurrency=1)
    assert [row["error"] for row in measured["rows"]] == [""] * 30 + [
        "the server answered 400: the prompt is too long"
    ] * 10
    assert measured["rows"][-1]["ttft_s"] is None


def test_an_answer_that_is_too_short_is_an_error(stub, load):
    assert errors(load(stub("short"))) == {"the server sent 8 of 16 tokens"}


def test_a_server_that_dies_ends_the_load_and_keeps_what_was_measured(stub, load):
    measured = load(stub("die", 20), concurrency=1)
    assert [row["error"] for row in measured["rows"][:20]] == [""] * 20
    assert measured["rows"][20]["error"].startswith("the connection to the server broke: ")
    assert {row["error"] for row in measured["rows"][21:]} == {f"not sent: {measured['stopped']}"}


def test_a_server_that_is_not_there_is_said(stub, load):
    server = stub("answer")
    server.kill()
    server.wait()
    assert "Cannot connect to host 127.0.0.1" in load(server)["stopped"]


def test_a_server_that_falls_silent_ends_the_load(stub, load):
    began = time.monotonic()
    measured = load(stub("stall", 20), stall_s=0.5)
    assert time.monotonic() - began < 50  # not one stall after the other, and not the deadline
    assert measured["stopped"] == "the server sent no byte for 0.5 s"
    assert errors(measured) == {"", measured["stopped"], f"not sent: {measured['stopped']}"}
    assert [row["error"] for row in measured["rows"]].count("") == 20
    silent = next(row for row in measured["rows"] if row["error"] == measured["stopped"])
    assert silent["ttft_s"] is not None  # its first token had come


def test_the_deadline_ends_the_load(stub, load):
    measured = load(stub("stall", 20), seconds=1)
    assert measured["stopped"] == "the deadline came before the server had answered"
    assert [row["error"] for row in measured["rows"]].count("") == 20


def test_a_load_after_the_deadline_ends_at_once(stub, load):
    assert load(stub("stall"), seconds=-1)["stopped"] == "the deadline came before the server had answered"


def test_a_server_process_that_ended_is_noticed_while_its_connections_stay(stub, load):
    measured = load(stub("stall", 20), gone_after_s=0.5)
    assert measured["stopped"] == "the server ended with status 1: out of memory"
    assert measured["stopped"] in errors(measured)


def test_an_agent_that_is_asked_to_end_does_not_wait_for_the_server(stub, driver):
    done = driver(stub("stall"), gone_after_s=0, asked_to_end=True)
    assert "KeyboardInterrupt" in done.stderr
    assert done.returncode != 0
