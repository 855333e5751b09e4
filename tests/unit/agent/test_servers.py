"""What the run's servers are started with."""

import json

from probe_agent import gpu
from probe_agent.clock import Clock
from probe_agent.engines import servers
from probe_agent.host import meminfo
from probe_agent.models import shapes
from probe_agent.spec import Spec


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
