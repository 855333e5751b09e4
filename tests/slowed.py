"""A disk that is slow for real, for this process and all that it starts: a cgroup of version 1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from probe_agent import paths
from probe_agent.host import mounts


@contextmanager
def reading_at_most(bytes_per_s: float) -> Iterator[None]:
    """Hold reads from the disk that the model is on to so much."""
    root = next(
        (mount.target for mount in mounts.read() if mount.fstype == "cgroup" and "blkio" in mount.options), None
    )
    if os.geteuid() != 0 or root is None:
        pytest.skip("slowing a disk takes root and a blkio hierarchy of version 1")
    disk = paths.HOME.stat().st_dev
    group = Path(root, f"stethos-test-{os.getpid()}")
    group.mkdir()
    try:
        limit = f"{os.major(disk)}:{os.minor(disk)} {int(bytes_per_s)}"
        (group / "blkio.throttle.read_bps_device").write_text(limit)
        (group / "cgroup.procs").write_text(str(os.getpid()))
        yield
    finally:
        for pid in (group / "cgroup.procs").read_text().split():  # what an interrupted test started may live on
            Path(root, "cgroup.procs").write_text(pid)
        group.rmdir()
