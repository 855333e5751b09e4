"""What the run's servers are started with."""

import json

import pytest

from probe_agent import gpu
from probe_agent.clock import Clock
from probe_agent.engines import servers
from probe_agent.host import meminfo
from probe_agent.models import shapes
from probe_agent.spec import Spec


@pytest.fixture
def usual(monkeypatch, tmp_path):
    """What the shared server of a run is started with, on a node with this much GPU memory, or with no GPU."""
    (tmp_path / "config.json").write_text(json.dumps(shapes.SHAPES["tiny"]))

    def of(gpu_mb, **spec):
        monkeypatch.setattr(gpu, "memory_total_mb", lambda: gpu_mb)
        return servers.Servers(Spec(**spec), tmp_path, tmp_path, 0.0, Clock()).usual

    return of


def test_graphs_are_captured_for_the_batches_that_are_measured(usual):
    start = usual(143771, concurrencies=(2, 64), batch_requests=32)
    assert (start.mode, start.graph_sizes, start.max_num_seqs) == ("graphs", (1, 2, 32, 64), 64)


@pytest.mark.parametrize(("asked", "mode"), [("graphs", "eager"), ("eager", "eager"), ("compiled", "compiled")])
def test_a_node_without_a_gpu_has_no_graphs(usual, asked, mode):
    assert usual(None, server_mode=asked).mode == mode


def test_memory_that_a_server_takes_does_not_make_it_another_one(monkeypatch, tmp_path):
    """Less is available once it runs: sized anew, the shared server would be started again for every probe."""
    (tmp_path / "config.json").write_text(json.dumps(shapes.SHAPES["tiny"]))
    monkeypatch.setattr(gpu, "memory_total_mb", lambda: None)
    available = iter([1 << 20, 1 << 19])
    monkeypatch.setattr(meminfo, "read", lambda: {"MemAvailable": next(available)})
    run = servers.Servers(Spec(), tmp_path, tmp_path, 0.0, Clock())
    first = run.usual
    assert first.kv_cache_memory_bytes == 1 << 28
    assert run.usual == first
