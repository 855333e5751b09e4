"""Run folders to report on: a real one (two cores, synthetic:tiny), and ones made of its parts."""

import copy
import json
import shutil
from pathlib import Path

import pytest

SAMPLE = Path(__file__).parent / "samples" / "run"


@pytest.fixture
def sample_run(tmp_path):
    """A copy of the real run: node1 measured before and after, node2 unreachable, node3 skipped."""
    return shutil.copytree(SAMPLE, tmp_path / "run")


@pytest.fixture
def document():
    """The real result after tuning, free to be changed."""
    return json.loads((SAMPLE / "hosts" / "node1" / "result.json").read_text())


@pytest.fixture
def gpu_document(document):
    """A result with every probe of a server, made up after what an H200 gives: two pairs of starts, no failures."""
    document["fingerprint"]["hardware"] |= {"gpus": ["NVIDIA H200"]}
    document["probes"] |= {
        "bandwidth": _bandwidth(gpu=True),
        "pressure": _pressure(),
        "serving": _serving(pairs=2, gpu=True),
        "batching": _batching(gpu=True),
        "curves": _curves(),
        "kv": _kv(gpu=True),
    }
    return document


@pytest.fixture
def cpu_document(document):
    """The same of a node without a GPU: one pair of starts, and null wherever only a GPU has a figure."""
    document["probes"] |= {
        "bandwidth": _bandwidth(gpu=False),
        "pressure": _pressure(),
        "serving": _serving(pairs=1, gpu=False),
        "batching": _batching(gpu=False),
        "curves": _curves(),
        "kv": _kv(gpu=False),
    }
    return document


@pytest.fixture
def make_run(tmp_path):
    """Write a run folder: hosts by name, each a dict of run.json's fields and its files."""

    def make(hosts):
        folder = tmp_path / "made"
        entries = {}
        for name, host in hosts.items():
            parts = copy.copy(host)
            for part in ("baseline", "result", "again"):
                content = parts.pop(part, None)
                if content is not None:
                    place = folder / "hosts" / name
                    place.mkdir(parents=True, exist_ok=True)
                    content = content if isinstance(content, bytes) else json.dumps(content).encode()
                    (place / f"{part}.json").write_bytes(content)
            entries[name] = {"state": "ok", "phase": "probe", "reason": "", **parts}
        folder.mkdir(exist_ok=True)
        run = {"schema_version": 1, "run_id": "r1", "started": "2026-11-21T02:00:00+00:00", "finished": None}
        (folder / "run.json").write_text(json.dumps({**run, "hosts": entries}))
        return folder

    return make


def completion(number, ttft_s, output_tokens=16, tpot_s=0.005, error="", **more):
    """One streamed completion; one with an error ended before its first token."""
    times = {
        "ttft_s": ttft_s,
        "e2e_s": ttft_s + (output_tokens - 1) * tpot_s,
        "tpot_s": tpot_s,
        "itl_max_s": 2 * tpot_s,
    }
    counts = {"prompt_tokens": 24, "output_tokens": output_tokens, "chunks": output_tokens}
    if error:
        times, counts["output_tokens"], counts["chunks"] = dict.fromkeys(times), 0, 0
    return {"request": number, "sent_s": 0.0, **times, **counts, "error": error, **more}


def _probe(samples, **evidence):
    return {"status": "ok", "reason": "", "samples": samples, "evidence": evidence, "headline": {}}


def _serving(pairs, gpu):
    starts = []
    for number in range(2 * pairs):
        cache, pair, slower = ("cold", "warm")[number % 2], number // 2, 1 + 0.02 * number
        cold = cache == "cold"
        rows = [
            [
                at_s,
                (3.0 if at_s < 5 else 74000.0) if gpu else None,
                (40.0 if at_s > 20 else 0.0) if gpu else None,
                at_s * 100,
            ]
            for at_s in (0.1, 4.0, 6.0, 19.0, 21.0, 22.0)
        ]
        shared = number == 2 * pairs - 1
        starts.append(
            {
                "start": number,
                "pair": pair,
                "cache": cache,
                "pages": 754577,
                "resident_pages_at_start": 0 if cold else 754577,
                "compile_cache": "empty" if cold else "filled",
                "ready_s": (76.0 if cold else 22.0) * slower,
                "first": completion(0, (0.350 if cold else 0.045) * slower, server_ttft_s=0.04),
                "next": [completion(each, 0.012 + 0.0001 * each, server_ttft_s=0.011) for each in range(1, 6)],
                "gpu_mb": {"before": 3.0, "min": 3.0, "max": 74000.0, "after": None if shared else 3.0}
                if gpu
                else None,
                "pss_mb": {"max": 5300.0},
                "jumps": [{"what": "gpu", "phase": "start", "at_s": 6.0, "from_mb": 3.0, "to_mb": 74000.0}]
                if gpu
                else [],
                "timeline": {
                    "rows": rows,
                    "phases": [
                        {"at_s": 0.0, "phase": "start"},
                        {"at_s": 20.0, "phase": "first request"},
                        {"at_s": 21.5, "phase": "next requests"},
                    ],
                },
                "log": f"server-{number}.log",
                "shared": shared,
            }
        )
    return _probe(
        starts,
        cold_means="model files evicted, libraries warm",
        eviction_worked=True,
        max_model_len=4096,
        mode="graphs" if gpu else "eager",
    )


def _batching(gpu):
    # mode, concurrency, requests, tokens per second
    plan = [("sequential", 1, 32, 307.0), ("concurrent", 32, 32, 5390.0)]
    plan += [("sweep", 2**power, max(16, 2 * 2**power), rate) for power, rate in enumerate(RATES)]
    rows, loads = [], []
    for load, (mode, concurrency, requests, rate) in enumerate(plan):
        wall_s = requests * 32 / rate
        rows += [
            {
                "load": load,
                "mode": mode,
                "concurrency": concurrency,
                **completion(number, 0.010 + 0.0001 * number, output_tokens=32, tpot_s=(wall_s - 0.02) / 31),
                "load_wall_s": wall_s,
            }
            for number in range(requests)
        ]
        loads.append(
            {
                "load": load,
                "mode": mode,
                "concurrency": concurrency,
                "requests": requests,
                "wall_s": wall_s,
                "output_tokens": requests * 32,
                "tokens_per_s": rate,
                "queue_s": 0.0001 * concurrency,
                "gpu_utilization_percent": min(95.0, 30.0 + concurrency) if gpu else None,
                "client_lag_max_s": 0.0005,
            }
        )
    return _probe(rows, loads=loads, left_out=[], leak={"kv_cache_usage_perc": 0.0, "waited_s": 0.0, "free": True})


RATES = (310.0, 600.0, 1180.0, 2250.0, 4000.0, 5500.0, 5800.0)  # of the sweep, at 1, 2, 4 … 64


def _curves():
    rows = [
        {
            "curve": "prompt_length",
            "repeat": repeat,
            **completion(repeat, length / 40000 + 0.005 + 0.0001 * repeat, prompt_tokens=length),
            "prefill_tokens_per_s": 40000.0,
            "decode_tokens_per_s": 200.0,
        }
        for length in (128, 1024, 8192)
        for repeat in range(3)
    ]
    rows += [
        {
            "curve": "busy_threads",
            "threads": threads,
            "repeat": repeat,
            "tokenize_s": 0.002 * (1 + threads),
            "tokenized_tokens": 4096,
            "ttft_s": 0.012 * (1 + threads / 2),
            "e2e_s": 0.2,
        }
        for threads in (0, 1, 2, 4)
        for repeat in range(3)
    ]
    return _probe(rows)


def _kv(gpu):
    per_token, tokens = 28672, 2476432 if gpu else 65536
    lengths = (512, 4096, 32768) if gpu else (512, 2048)
    row = {"block_size": 16, "ready_s": 22.0, "sequences": None}
    rows = [
        {
            **row,
            "kind": "capacity",
            "how": "measured" if length == 4096 or not gpu else "derived",
            "max_model_len": length,
            "memory_used_mb": 4214.0 + tokens * per_token / 2**20 if length == 4096 else None,
            "kv_tokens": tokens,
            "kv_bytes": tokens * per_token,
            "blocks": tokens // 16,
            "max_concurrency": round(tokens / length, 2),
        }
        for length in lengths
    ]
    rows += [
        {
            **row,
            "kind": "footprint",
            "how": "measured",
            "max_model_len": length,
            "memory_used_mb": (4214.0 + 16 * length * per_token / 2**20) if gpu else 5000.0,
            "kv_tokens": 16 * length,
            "kv_bytes": 16 * length * per_token,
            "blocks": length,
            "max_concurrency": 16.0,
            "sequences": 16,
        }
        for length in lengths
    ]
    said = [] if gpu else ["4096 tokens are beyond the 2048 that the model takes"]
    return _probe(rows, bytes_per_token_architecture=per_token, memory="gpu" if gpu else "pss", left_out=said)


def _pressure():
    """Three blocks in which a load with nothing resident takes twice as long, give or take two per cent."""
    process = dict.fromkeys(
        ("load1_before", "start_s", "imports_s", "tokenizer_s", "weights_s", "to_device_s", "first_token_s"), 0.5
    )
    process |= dict.fromkeys(("rss_mb", "vsz_mb", "pss_mb", "anon_huge_mb", "private_hugetlb_mb"), 600.0)
    process |= {"arm": "glibc", "wall_real_s": 6.0, "minor_faults": 90000, "major_faults": 7, "device": "cpu"}
    rows = [
        {
            **process,
            "level": level,
            "block": block,
            "position": position,
            "load_s": 0.5 * 2 ** ((1 - share) * (1 + 0.02 * (block - 1))),
            "pages": 40000,
            "resident_pages_at_start": int(40000 * share),
            "resident_share_at_start": share,
            "pressed_mb": 156.2,
            "room_mb": 156.2 * level,
            "balloon_mb": 220.0 - 156.2 * level,
            "limit_mb": 229.4,
            "available_before_mb": 22000,
            "available_lowest_mb": 21000,
        }
        for block in range(3)
        for position, (level, share) in enumerate(((1.0, 1.0), (0.5, 0.55), (0.0, 0.05)))
    ]
    return _probe(rows, squeeze_worked=True, partly="", left=[])


def _bandwidth(gpu):
    uuid = "GPU-0f1e2d3c"
    moves = {"first_touch": 0.15, "read_cold": 1.2, "read_warm": 0.12}
    moves |= {"pinned_alloc": 0.4, "h2d_pinned": 0.005, "d2h_pinned": 0.005, "h2d_pageable": 0.03} if gpu else {}
    rows = [
        {
            "measure": "generation",
            "repeat": number,
            "bytes": None,
            "seconds": 0.5 + 0.01 * (number % 3),
            "rss_mb": 1500.0 + number,
            "device": "cuda:0" if gpu else "cpu",
        }
        for number in range(12)
    ]
    rows += [
        {
            "measure": measure,
            "repeat": repeat,
            "bytes": 256 << 20,
            "seconds": seconds * (1 + 0.1 * repeat),
            **({"gpu": uuid} if measure.endswith(("pinned", "pageable", "alloc")) else {}),
            **({"advice": "none", "page_faults": 65536, "anon_huge_mb": 0} if measure == "first_touch" else {}),
            **({"pages": 65536, "resident_pages_at_start": 0} if measure == "read_cold" else {}),
        }
        for measure, seconds in moves.items()
        for repeat in range(3)
    ]
    device = {
        "uuid": uuid,
        "name": "NVIDIA H200",
        "numa_node": 1,
        "cpus_near": "8-15",
        "process_is_near": "none",
        "nearness": "none of the CPUs this process may use (0-7) is on NUMA node 1 (CPUs 8-15)",
        "iommu": "passthrough",
        "pcie": {"generation": 4, "width": 16, "max_generation": 5, "max_width": 16, "read": "during copies"},
        "pcie_below_device": "generation 4 of 5",
    }
    return _probe(
        rows,
        gpus=[device] if gpu else [],
        numa={
            "nodes": [
                {"number": number, "cpus": cpus, "memory_mb": 64000} for number, cpus in enumerate(("0-7", "8-15"))
            ],
            "allowed_cpus": "0-7",
            "allowed_memory_nodes": "0-1",
        },
        iommu={"mode": "passthrough", "read_from": "nothing of it on the command line"},
        cold_means="model files evicted from this node's page cache",
        generation={"warm_up": 3, "generations": 9, "rss_drift_mb": 1.0, "jitter": 0.02},
        unread=[] if gpu else ["NVML and torch see no GPU: pinned memory and copies were not measured"],
    )
