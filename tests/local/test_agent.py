"""The agent on this machine, with a real model: what it measures, and what is left when things go wrong."""

import json
import os
import signal
import statistics
import subprocess
from pathlib import Path

import pytest
from support import children_of, result_of, wait_for

from probe_agent.host import allocators


def test_a_cold_load_is_proven_cold_and_reads_what_a_warm_one_has(agent, tmp_path):
    run = agent("--probe", "load", "--profile", "standard")
    assert run.wait() == 0, run.stdout.read()
    result = result_of(tmp_path)
    probe = result["probes"]["load"]
    assert probe["evidence"]["eviction_worked"]
    cold = [row for row in probe["samples"] if row["cache"] == "cold"]
    warm = [row for row in probe["samples"] if row["cache"] == "warm"]
    assert [row["resident_pages_at_start"] for row in cold] == [0, 0, 0]
    assert all(row["resident_pages_at_start"] == row["pages"] for row in warm)
    assert all(row["resident_pages_before"] > 0 for row in cold[1:])
    read_cold, read_warm = (statistics.median(row["major_faults"] for row in rows) for rows in (cold, warm))
    assert read_cold > read_warm  # the first pair reads libraries too
    assert probe["headline"].keys() >= {"cold_load_s", "warm_load_s"}
    assert all(row["rss_mb"] > 150 for row in probe["samples"])
    processes_s = sum(row["wall_real_s"] for row in probe["samples"])
    spent_s = probe["timing"]["spent_s"]["processes"]
    assert processes_s <= spent_s <= probe["timing"]["took_s"] <= result["timing"]["took_s"]


@pytest.mark.skipif(os.geteuid() != 0, reason="dropping the page cache needs root")
def test_a_dropped_page_cache_leaves_nothing_of_the_model_resident(agent, tmp_path):
    run = agent("--probe", "load", "--drop-caches")
    assert run.wait() == 0, run.stdout.read()
    probe = result_of(tmp_path)["probes"]["load"]
    assert probe["evidence"]["cold_means"] == "whole page cache dropped"
    assert probe["evidence"]["eviction_worked"]
    cold, warm = probe["samples"]
    assert (cold["cache"], cold["resident_pages_at_start"]) == ("cold", 0)
    assert warm["resident_pages_at_start"] == warm["pages"] > 0


def test_each_arm_proves_its_allocator(agent, tmp_path):
    if "jemalloc" not in allocators.find():
        pytest.skip("libjemalloc2 is not installed")
    run = agent("--probe", "allocator", "--arm", "jemalloc")
    assert run.wait() == 0, run.stdout.read()
    probe = result_of(tmp_path)["probes"]["allocator"]
    assert sorted(row["arm"] for row in probe["samples"]) == ["glibc", "glibc-again", "jemalloc"]
    assert all(row["engaged"] and row["new_tokens"] == 64 for row in probe["samples"])
    mapped = {row["arm"]: row["allocators"] for row in probe["samples"]}
    assert mapped["glibc"] == []
    assert "libjemalloc" in mapped["jemalloc"][0]


def test_a_killed_agent_leaves_a_true_result_and_no_process(agent, tmp_path):
    run = agent("--probe", "load", "--probe", "allocator", "--profile", "standard")

    def first_sample_is_kept():
        file = tmp_path / "result.json"
        return file.exists() and result_of(tmp_path)["probes"]["load"]["samples"]

    wait_for(first_sample_is_kept)
    wait_for(lambda: children_of(run.pid))
    children = children_of(run.pid)
    run.kill()
    run.wait()
    probes = result_of(tmp_path)["probes"]
    assert probes["load"]["samples"]
    assert {probe["status"] for probe in probes.values()} == {"failed"}
    assert "the agent ended before" in probes["allocator"]["reason"]
    wait_for(lambda: not any(Path(f"/proc/{child}").exists() for child in children), seconds=10)


def test_a_probe_that_finished_is_not_measured_again(agent, tmp_path):
    first = agent("--probe", "load")
    assert first.wait() == 0, first.stdout.read()
    measured = result_of(tmp_path)
    again = agent("--probe", "load", "--resume")
    assert again.wait() == 0, again.stdout.read()
    resumed = result_of(tmp_path)
    assert resumed["started"] != measured["started"]
    part = {**measured["probes"]["load"], "resumed": True, "measured": measured["started"]}
    assert resumed["probes"]["load"] == part
    progress = json.loads((tmp_path / "progress.json").read_text())
    assert (progress["phases"], progress["finished"]) == (["model"], True)


def test_an_agent_asked_to_end_says_so_in_the_result(agent, tmp_path):
    run = agent("--probe", "load")
    wait_for(lambda: (tmp_path / "progress.json").exists() and '"load"' in (tmp_path / "progress.json").read_text())
    run.send_signal(signal.SIGTERM)
    assert run.wait(timeout=20) == 1
    assert "ended by SIGTERM" in result_of(tmp_path)["probes"]["load"]["reason"]


def test_the_deadline_ends_a_probe_and_keeps_its_samples(agent, tmp_path):
    run = agent("--probe", "load", "--profile", "certify", "--deadline-s", "14")
    assert run.wait(timeout=40) == 1
    probe = result_of(tmp_path)["probes"]["load"]
    assert "deadline" in probe["reason"]
    assert probe["samples"]


def test_one_probe_at_a_time(agent, tmp_path):
    first = agent("--probe", "load")
    wait_for(lambda: (tmp_path / "progress.json").exists())
    second = agent("--probe", "load", "--out", str(tmp_path / "second/result.json"))
    assert second.wait() == 1
    assert "another probe is running on this node" in second.stdout.read()
    first.terminate()


def test_a_model_that_does_not_load_fails_its_probe_with_the_reason(agent, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "tokenizer_config.json", "model.safetensors"):
        (model / name).write_text("{}")
    run = agent("--probe", "load", "--model", str(model))
    assert run.wait() == 1
    reason = result_of(tmp_path)["probes"]["load"]["reason"]
    assert reason.startswith("the process ended with status 1: ")
    assert f"probe load failed: {reason}" in run.stdout.read()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small filesystem needs root")
def test_a_full_disk_is_said_and_an_earlier_result_stays(agent, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=True)
    try:
        (disk / "result.json").write_text('{"earlier": "result"}')
        (disk / "filler").write_bytes(b"x" * (60 << 10))
        run = agent("--probe", "load", "--out", str(disk / "result.json"))
        assert run.wait() == 1
        assert "no result can be kept in" in (said := run.stdout.read())
        assert "No space left on device" in said
        assert (disk / "result.json").read_text() == '{"earlier": "result"}'
    finally:
        subprocess.run(["umount", disk], check=True)
