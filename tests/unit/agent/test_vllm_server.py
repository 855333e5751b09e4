"""How a server is asked for, and the sentences of one that cannot be had."""

import json
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from probe_agent import gpu
from probe_agent.engines import vllm_server
from probe_agent.engines.fresh import ProcessFailed
from probe_agent.engines.vllm_server import Start

START = Start(
    model=Path("/models/tiny"),
    max_model_len=2048,
    max_num_seqs=64,
    max_num_batched_tokens=4096,
    gpu_memory_utilization=0.5,
)


def value_of(command, flag):
    return command[command.index(flag) + 1]


def test_the_command_line_says_all_that_start_says():
    command = vllm_server.command(replace(START, kv_cache_memory_bytes=500), 8123)
    assert command[:3] == [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    wanted = {
        "--model": "/models/tiny",
        "--served-model-name": "probe",
        "--host": "127.0.0.1",
        "--port": "8123",
        "--max-model-len": "2048",
        "--max-num-seqs": "64",
        "--max-num-batched-tokens": "4096",
        "--gpu-memory-utilization": "0.5",
        "--kv-cache-memory-bytes": "500",
    }
    assert {flag: value_of(command, flag) for flag in wanted} == wanted
    assert {"--enforce-eager", "--no-enable-prefix-caching"} <= set(command)


def test_what_start_leaves_to_vllm_is_not_said():
    command = vllm_server.command(replace(START, mode="compiled"), 8123)
    assert not {"--enforce-eager", "--compilation-config", "--kv-cache-memory-bytes"} & set(command)


def test_graphs_are_for_decoding_alone():
    command = vllm_server.command(replace(START, mode="graphs", graph_sizes=(1, 8, 64)), 8123)
    assert "--enforce-eager" not in command
    asked = json.loads(value_of(command, "--compilation-config"))
    assert asked == {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY", "cudagraph_capture_sizes": [1, 8, 64]}


def test_the_operators_flags_come_last_and_so_win():
    command = vllm_server.command(replace(START, flags=("--enable-prefix-caching", "--seed=7")), 8123)
    assert command[-2:] == ["--enable-prefix-caching", "--seed=7"]


def test_the_environment_is_the_nodes_with_levers_on_top(monkeypatch):
    monkeypatch.setenv("VLLM_CACHE_ROOT", "/cache")
    found = vllm_server.environment(replace(START, environment=(("LD_PRELOAD", "x.so"), ("HF_HUB_OFFLINE", "0"))))
    assert found["VLLM_CACHE_ROOT"] == "/cache"
    assert found["LD_PRELOAD"] == "x.so"
    assert found["HF_HUB_OFFLINE"] == "0"
    assert found["OMP_WAIT_POLICY"] == "PASSIVE"
    assert found["VLLM_NO_USAGE_STATS"] == found["DO_NOT_TRACK"] == "1"
    assert found["PATH"] == os.environ["PATH"]


def test_a_port_in_use_is_said_before_anything_is_started(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ProcessFailed, match=f"probe_server_port is {port}, which another process of this node uses"
        ):
            vllm_server.launch(replace(START, port=port), tmp_path / "server.log", 1, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_with_room_is_taken():
    assert vllm_server.no_room(400, 143771, 0.9, [gpu.Holder(7, "other", 300)]) == ""


def test_who_holds_a_gpu_is_named_with_what_still_fits():
    holders = [gpu.Holder(7, "/opt/serve", 90000), gpu.Holder(8, "python", None)]
    assert vllm_server.no_room(100000, 143771, 0.9, holders) == (
        "probe_gpu_memory_utilization is 0.9, 129393 of the GPU's 143771 MiB, and 43771 MiB are free; others hold the "
        "rest, and were not touched: /opt/serve (pid 7, 90000 MiB), python (pid 8, ? MiB); lower it to 0.29 at most"
    )


def test_a_full_gpu_whose_holder_is_hidden():
    found = vllm_server.no_room(143000, 143771, 0.05, [])
    assert found.endswith("were not touched: processes that cannot be seen from here; no server fits beside them")


def test_an_interpreter_without_vllm_is_named(monkeypatch):
    monkeypatch.setattr(vllm_server.importlib.util, "find_spec", lambda name: None)
    assert vllm_server.lacks() == f"vLLM is not installed for {sys.executable}"
