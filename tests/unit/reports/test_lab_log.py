"""LOG.md: the labs' template, its figures those of the result, its commands such that a shell takes them."""

import json
import re
import shlex
import subprocess

import pytest

from reports import lab_log, render, run_folder

EVIL = "a b'; touch /tmp/x; `id` $(id) <script>\n\u202e\ud800"
HEADINGS = [
    "SLM & Environment",
    "Commands Run",
    "Files Created/Updated",
    "Key Numbers / Metrics",
    "Observations / Surprises",
]


def written(run):
    render.render(run_folder.read(run))
    return (run / "hosts/n/LOG.md").read_text()


def commands(text):
    return [line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]


def test_has_the_templates_headings_and_the_results_figures(make_run, gpu_document):
    text = written(make_run({"n": {"result": gpu_document}}))
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == HEADINGS
    for line in (
        "- MODEL: synthetic:tiny",
        "- GPU type: NVIDIA H200",
        "- THP mode: always",
        "- sequential_s: 3.336 s",
        "- GPU memory at max-model-len 4096 (capacity): 71,929 MiB",
        "  - 32 requests took 3.336 s one by one and 0.190 s all at once: 17.6 times the tokens per second",
    ):
        assert line in text


def test_commands_repeat_what_was_asked_for(make_run, gpu_document):
    gpu_document["fingerprint"]["probe"] = {
        "max_model_len": 2048,
        "server_mode": "compiled",
        "kv_lengths": [512, 4096],
        "batch_requests": 32,
        "concurrencies": ["; reboot"],
    }
    found = commands(written(make_run({"n": {"result": gpu_document}})))
    asked = {line.split()[5]: line for line in found if line.startswith("python -m probe_agent")}
    assert list(asked) == ["load", "allocator", "serving", "kv", "batching"]
    assert " --arm jemalloc " in asked["allocator"]
    assert "--max-model-len 2048 --server-mode compiled" in asked["serving"]
    assert "--kv-lengths 512 4096" in asked["kv"]
    assert "reboot" not in asked["batching"]
    assert "--batch-requests" not in asked["batching"]  # as by default


def test_servers_by_hand_run_the_model_as_the_measured_ones_did(make_run, gpu_document):
    gpu_document["fingerprint"]["probe"] = {
        "server_flags": ["--tensor-parallel-size", "2", "; reboot"],
        "batch_requests": 32,
        "concurrencies": [1, 256],
    }
    found = commands(written(make_run({"n": {"result": gpu_document}})))
    assert any("--server-flag=--tensor-parallel-size --server-flag=2" in line for line in found)
    by_hand = [line for line in found if "api_server" in line]
    for line in by_hand:
        assert """"cudagraph_capture_sizes": [1, 32, 256]}'""" in line
        assert line.endswith(" --tensor-parallel-size 2 $'\\x3b reboot'")
    sized = [row["kv_bytes"] for row in gpu_document["probes"]["kv"]["samples"] if row["kind"] == "footprint"]
    assert any(f"--kv-cache-memory-bytes {sized[0]} " in line for line in by_hand)


@pytest.mark.parametrize("lie", [["; reboot"], None, 7])
def test_sizes_that_are_no_numbers_reach_no_command(make_run, gpu_document, lie):
    gpu_document["fingerprint"]["probe"] = {"batch_requests": 32, "concurrencies": lie, "server_flags": lie and 7}
    assert "reboot" not in written(make_run({"n": {"result": gpu_document}}))


def test_a_changed_setting_can_be_set_by_hand_and_a_levers_is_put_back(make_run, document):
    before = json.loads(json.dumps(document))
    before["host_memory"]["thp"]["enabled"], document["host_memory"]["thp"]["enabled"] = "never", "madvise"
    document["host_memory"]["allocators"] = {"jemalloc": "/usr/lib/libjemalloc.so.2"}
    for row in document["probes"]["allocator"]["samples"]:
        row["arm"] = row["arm"].replace("glibc-again", "thp-always")
    found = commands(written(make_run({"n": {"baseline": before, "result": document}})))
    assert "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled" in found
    place = found.index("echo always | sudo tee /sys/kernel/mm/transparent_hugepage/enabled")
    assert found[place + 1].endswith("slm_gen_latency.py")
    assert found[place + 2] == "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled"
    assert any(line.startswith("LD_PRELOAD=/usr/lib/libjemalloc.so.2 /usr/bin/time") for line in found)


def test_what_was_not_measured_is_said(make_run, document):
    text = written(make_run({"n": {"result": document}}))
    assert "  - Not measured: the probe serving was not asked for." in text
    assert "batch_client.py" not in text


def test_nothing_foreign_reaches_a_shell(make_run, document):
    document["spec"]["model"] = document["spec"]["profile"] = EVIL
    document["fingerprint"]["model"] = {"revision": EVIL}
    document["host_memory"]["thp"] |= {EVIL: EVIL, "enabled": EVIL}
    document["host_memory"]["allocators"] = {"jemalloc": EVIL}
    document["host_memory"]["hugetlbfs_mounts"] = [{"target": EVIL}]
    document["host_memory"]["pools"] = [{"size_kb": EVIL, "total": 1}, {"size_kb": 4, "total": 1, "numa_node": EVIL}]
    bare = {**document, "host_memory": {"thp": {"enabled": "never"}}}
    text = written(make_run({"n": {"baseline": bare, "result": document}}))
    assert not re.search("[<\u202e\ud800]", text)
    for line in commands(text):
        assert "`" not in line
        assert "$(" not in line.replace("\\x24\\x28", "")
        shlex.split(line, comments=True)


@pytest.mark.parametrize("value", ["plain/path-1.0", "two words", "it's", '"', "$HOME `id`", "a\tb\n", "ü→", "*"])
def test_a_quoted_value_is_the_same_to_bash(value):
    shown = subprocess.run(
        ["bash", "-c", f"printf %s {lab_log.quoted(value)}"], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert shown.stdout.decode() == value
