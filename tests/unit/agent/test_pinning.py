"""What pinning adds to a process is read from the process itself; the GPU is left to the machines that have one."""

import sys
from types import SimpleNamespace

import pytest

from probe_agent.engines import pinning


@pytest.fixture
def torch(monkeypatch):
    """As much of torch as pinning asks for; its memory is the process's own, as with cudaHostRegister."""
    fake = SimpleNamespace(
        uint8=None,
        empty=lambda size, dtype, pin_memory: bytearray(b"x") * size,
        _C=SimpleNamespace(_host_emptyCache=lambda: None),
    )
    monkeypatch.setitem(sys.modules, "torch", fake)


@pytest.mark.usefixtures("torch")
def test_ordinary_memory_that_was_pinned_shows_as_anonymous():
    found = pinning.measure(64)
    assert found["asked_mb"] == 64
    assert found["anon_mb"] > 60
    assert found["private_hugetlb_mb"] == 0
    assert found["took_s"] >= found["seconds"] > 0
