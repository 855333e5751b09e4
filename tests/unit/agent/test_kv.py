"""Sizes of the KV cache: what follows from a start, and which lengths are left out."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from probe_agent import spec
from probe_agent.bench import Skipped
from probe_agent.engines import timeline, vllm_server
from probe_agent.engines.metrics import Cache
from probe_agent.models import architecture
from probe_agent.probes import kv

BYTES = 28 * 1024
CACHE = Cache(blocks=285_745, block_size=16, tokens=4_569_769, max_concurrency=285_745 / 1063)  # told at 17,000 tokens


def footprint(length, memory_used_mb):
    row = kv._capacity(length, CACHE, BYTES)
    tokens = kv.footprint_tokens(length, 16, 16)
    return {**row, "kind": "footprint", "how": "measured", "kv_tokens": tokens, "memory_used_mb": memory_used_mb}


def bench(monkeypatch, context, room_mb, **fields):
    monkeypatch.setattr(architecture, "read", lambda _: architecture.Architecture(context, BYTES // 2, "bfloat16"))
    monkeypatch.setattr(kv, "_room_mb", lambda _: room_mb)
    return SimpleNamespace(spec=spec.parse(fields), model="a model")


def test_a_sequence_takes_whole_blocks():
    assert kv.footprint_tokens(100, sequences=3, block_size=16) == 112 * 3
    assert kv.footprint_tokens(512, sequences=16, block_size=16) == 512 * 16


def test_the_blocks_of_a_cache_are_the_same_at_every_length():
    """vLLM told 8,929 sequences of 512 tokens and 4,571,920 tokens itself when it was started with that length."""
    short, long = (kv._capacity(length, kv._divided(CACHE, 17000, length), BYTES) for length in (512, 32768))
    assert (short["kv_tokens"], short["how"]) == (CACHE.blocks * 16, "derived")
    assert short["max_concurrency"] == pytest.approx(CACHE.blocks / 32)
    assert short["max_concurrency"] == pytest.approx(64 * long["max_concurrency"])


def test_the_slope_of_the_footprints_is_the_bytes_of_a_token():
    rows = [footprint(512, 4439.0), footprint(4096, 5847.0 + 160), footprint(32768, 18775.0 - 224)]
    assert kv._slope(rows) == pytest.approx(BYTES, rel=0.02)


def test_one_length_or_unread_memory_gives_no_slope():
    assert kv._slope([footprint(512, 4439.0)]) is None
    assert kv._slope([footprint(512, 4439.0), footprint(1024, None)]) is None


def test_lengths_between_measured_ones_lie_on_their_line():
    measured = [footprint(512, 4000.0), footprint(32768, 4000.0 + 16 * (32768 - 512) * BYTES / 2**20)]
    row = kv._derived(4096, 16, 16, BYTES, measured)
    assert (row["how"], row["kv_tokens"]) == ("derived", 65536)
    assert row["memory_used_mb"] == pytest.approx(4000 + 16 * (4096 - 512) * BYTES / 2**20)


def test_lengths_beyond_the_model_or_the_memory_are_left_out_with_a_word(monkeypatch):
    kept, said = kv._lengths(bench(monkeypatch, context=4096, room_mb=1000), BYTES)
    assert kept == [512, 1024, 2048]
    assert said == [
        "8192, 16384, 32768 tokens are more than the 4096 that the model takes",
        "16 sequences of 4096 tokens need more than 1000 MiB",
    ]


def test_nothing_left_to_size_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="probe_kv_lengths has nothing to size: 8192 tokens are more than the 4096"):
        kv._lengths(bench(monkeypatch, context=4096, room_mb=1000, kv_lengths=[8192]), BYTES)


def a_server(start, gpu_mb, pss_mb=0.0):
    rows = tuple(timeline.Reading(at_s, mb, None, None) for at_s, mb in gpu_mb)
    return SimpleNamespace(
        start=start,
        ready_s=20.0,
        ready_pss_mb=pss_mb,
        cache=lambda: CACHE,
        timeline=lambda: timeline.Timeline(rows, ()),
    )


def test_memory_is_what_was_held_when_the_server_was_ready():
    """Readings of a shared server go on while it computes."""
    assert kv._memory_used(a_server(None, [(-0.1, 500.0), (19.9, 5000.0), (25.0, 6000.0)])) == 4500
    assert kv._memory_used(a_server(None, [], pss_mb=3233.8)) == 3233.8


ON_A_GPU = vllm_server.Start("a model", 17000, 256, 2048, 0.9)
ON_A_CPU = vllm_server.Start("a model", 4096, 32, 2048, 0.9, kv_cache_memory_bytes=16 * 4096 * BYTES)


@pytest.fixture
def measured(monkeypatch):
    """Return a function that runs the probe where servers start as `usual`, and gives its rows and those starts."""

    def run(usual, profile, context):
        started = []

        def server(start=None):
            started.append(start)
            start = start or usual
            held = start.kv_cache_memory_bytes or CACHE.tokens * BYTES
            found = a_server(start, [(0.0, 0.0), (1.0, 4000.0 + held / 2**20)])
            return SimpleNamespace(**{**vars(found), "cache": lambda: cache_of(held // BYTES, start.max_model_len)})

        node = bench(monkeypatch, context, room_mb=90_000, profile=profile, kv_lengths=[512, 4096, 32768])
        node.needs_server, node.server = lambda: None, server
        node.servers = SimpleNamespace(usual=usual)
        node.progress = SimpleNamespace(step=lambda _: None, expect=lambda _: None)
        return list(kv.rows(node)), started

    return run


def sizes(started):
    return [start and (start.max_model_len, start.kv_cache_memory_bytes) for start in started]


def cache_of(tokens, length):
    return Cache(tokens=tokens, blocks=tokens // 16, block_size=16, max_concurrency=tokens / length)


def test_one_start_beside_the_shared_server_draws_the_line(measured):
    rows, started = measured(ON_A_GPU, "standard", 32768)
    assert sizes(started) == [None, (512, 16 * 512 * BYTES)]
    footprints = {row["max_model_len"]: row for row in rows if row["kind"] == "footprint"}
    assert [footprints[length]["how"] for length in (512, 4096, 32768)] == ["measured", "derived", "derived"]
    assert footprints[32768]["memory_used_mb"] == pytest.approx(4000 + 16 * 32768 * BYTES / 2**20)
    assert [row["max_model_len"] for row in rows if row["kind"] == "capacity"] == [17000, 512, 4096, 32768]


def test_certify_measures_what_standard_derives(measured):
    rows, started = measured(ON_A_GPU, "certify", 32768)
    assert sizes(started) == [None, (512, 16 * 512 * BYTES), (32768, 16 * 32768 * BYTES), (512, None)]
    assert sum(row["how"] == "measured" for row in rows) == 4
    tokens = [row["kv_tokens"] for row in rows if row["kind"] == "capacity"]
    assert max(tokens) - min(tokens) <= 0.001 * CACHE.tokens


def test_servers_differ_by_their_cache_alone(measured):
    """With fewer sequences a server keeps less for them and for their CUDA graphs: that is no cost of the KV cache."""
    usual = replace(ON_A_GPU, mode="graphs", graph_sizes=(1, 256))
    _, started = measured(usual, "certify", 32768)
    alike = {replace(start, max_model_len=0, kv_cache_memory_bytes=0, environment=()) for start in started if start}
    assert alike == {replace(usual, max_model_len=0, kv_cache_memory_bytes=0)}


def test_a_cache_over_several_gpus_is_not_sized_as_if_it_were_on_one(monkeypatch):
    node = bench(monkeypatch, 32768, 90_000, server_flags=["--tensor-parallel-size", "2"])
    node.needs_server = lambda: None
    with pytest.raises(Skipped, match="a server over 2 GPUs keeps a part of each token on each"):
        next(kv.rows(node))


def test_a_footprint_that_the_shared_server_is_costs_no_start(measured):
    rows, started = measured(ON_A_CPU, "standard", 4096)
    assert sizes(started) == [None, None, (512, 16 * 512 * BYTES)]
    assert [(row["max_model_len"], row["how"]) for row in rows if row["kind"] == "footprint"] == [
        (4096, "measured"),
        (512, "measured"),
    ]
