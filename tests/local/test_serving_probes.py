"""Batching and curves on a real vLLM server: what they find, and what is kept when the server dies under them."""

import json
import os
import subprocess

import pytest
from support import ROOT

from probe_agent import models, paths, schema, spec
from probe_agent.result import ResultFile, now

SPEC = {
    "profile": "standard",
    "probes": ["batching", "curves"],
    "max_model_len": 1024,
    "batch_requests": 16,
    "batch_tokens": 8,
    "concurrencies": [1, 4],
    "prompt_lengths": [32, 64, 4096],
}


@pytest.fixture(scope="module")
def found(node_python, tmp_path_factory):
    """Return what both probes gave on one server, and what batching kept of a server that was killed under it."""
    model = models.synthetic_folder("synthetic:tiny", str(paths.HOME / "models"))
    prepare = json.dumps({"model": "synthetic:tiny", "model_revision": "", "models_dir": str(model.parent)})
    subprocess.run([node_python, "-m", "probe_agent.models.prepare", prepare], cwd=ROOT, check=True)
    folder = tmp_path_factory.mktemp("serving")
    wanted = json.dumps({**SPEC, "state_dir": str(folder / "state")})
    done = subprocess.run(
        [node_python, ROOT / "tests/local/serving_driver.py", model, wanted, folder],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_rows_and_evidence_are_as_the_schema_says(found, tmp_path):
    document = ResultFile(tmp_path / "result.json", spec.parse(SPEC)).document
    for name in SPEC["probes"]:
        document["probes"][name] = {"status": "ok", "reason": "", **found[name]}
    schema.check("result", {**document, "finished": now()})


def test_all_at_once_is_faster_than_one_after_another(found):
    figures = found["batching"]["headline"]
    assert figures["concurrent_s"] < figures["sequential_s"]
    assert figures["gain"] > 1
    assert all(row["output_tokens"] == 8 and not row["error"] for row in found["batching"]["samples"])


def test_each_load_is_accounted_for(found):
    evidence = found["batching"]["evidence"]
    asked = [(load["mode"], load["concurrency"], load["requests"]) for load in evidence["loads"]]
    assert asked[:2] == [("sequential", 1, 16), ("concurrent", 16, 16)]
    assert len(asked[2:]) + len(evidence["left_out"]) == 1  # a busy machine leaves out what exceeds the budget
    assert all(load["output_tokens"] == 8 * load["requests"] for load in evidence["loads"])
    assert all(load["queue_s"] >= 0 for load in evidence["loads"])


def test_all_blocks_are_free_after_the_loads(found):
    assert found["batching"]["evidence"]["leak"]["free"]


def test_the_first_token_is_timed_by_both_ends(found):
    rows = [row for row in found["curves"]["samples"] if row["curve"] == "prompt_length"]
    first = [row["prompt_tokens"] for row in rows if row["repeat"] == 0]
    assert first[0] == 32
    assert first == sorted(first)
    assert sorted(row["repeat"] for row in rows if row["prompt_tokens"] == 32) == [0, 1, 2]
    assert all(0 < row["server_ttft_s"] < row["ttft_s"] < row["e2e_s"] for row in rows)
    assert "max-model-len of 1024: 1008 was measured in place" in found["curves"]["evidence"]["left_out"][0]


def test_busy_threads_are_measured_beside_none(found):
    rows = [row for row in found["curves"]["samples"] if row["curve"] == "busy_threads"]
    assert sorted(row["threads"] for row in rows) == sorted([0, 1, 2, 4] * 3)
    assert {row["tokenized_tokens"] for row in rows} == {22000}


def test_a_server_killed_in_the_middle_fails_the_probe_and_keeps_its_rows(found):
    killed = found["killed"]
    assert "has ended" in killed["reason"] or "was killed by SIGKILL" in killed["reason"]
    assert [row["error"] for row in killed["samples"] if row["mode"] == "sequential"] == [""] * 16
    assert killed["headline"].keys() == {"sequential_s", "sequential_tokens_per_s"}
