"""Ways to make this machine slow for real, for this process and all that it starts: cgroups of version 1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from probe_agent import paths
from probe_agent.host import mounts

PERIOD_US = 100_000


@contextmanager
def reading_at_most(bytes_per_s: float) -> Iterator[None]:
    """Hold reads from the disk that the model is on to so much."""
    disk = paths.HOME.stat().st_dev
    limit = f"{os.major(disk)}:{os.minor(disk)} {int(bytes_per_s)}"
    with _group("blkio", {"blkio.throttle.read_bps_device": limit}):
        yield


@contextmanager
def computing_at_most(cpus: float) -> Iterator[None]:
    """Hold the CPU time to so many CPUs, as a wrong limit of a container or a power cap does."""
    with _group("cpu", {"cpu.cfs_period_us": str(PERIOD_US), "cpu.cfs_quota_us": str(int(cpus * PERIOD_US))}):
        yield


@contextmanager
def _group(controller: str, limits: dict[str, str]) -> Iterator[None]:
    root = next(
        (mount.target for mount in mounts.read() if mount.fstype == "cgroup" and controller in mount.options), None
    )
    if os.geteuid() != 0 or root is None:
        pytest.skip(f"slowing a process takes root and a {controller} hierarchy of version 1")
    group = Path(root, f"stethos-test-{os.getpid()}")
    group.mkdir()
    try:
        for name, value in limits.items():
            (group / name).write_text(value)
        (group / "cgroup.procs").write_text(str(os.getpid()))
        yield
    finally:
        for pid in (group / "cgroup.procs").read_text().split():  # what an interrupted test started may live on
            Path(root, "cgroup.procs").write_text(pid)
        group.rmdir()
