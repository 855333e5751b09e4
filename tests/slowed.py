"""A disk that is slow for real, for this process and all that it starts, and the certificate that it does not reach.

This machine is shared: what is tested with them is the verdict, not how steady its figures are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from probe_agent import figures, paths
from probe_agent.host import mounts

LOOSE = 20  # times as bad as certified, a figure is still within its limit
READ_COLD = "read_cold_gib_per_s"
MISSED = 2  # times as slow as its limit allows, a slowed disk is
GIB = 1 << 30


def loosen(path: Path) -> None:
    """Give a certificate limits that no disturbance of this machine reaches."""
    document = json.loads(path.read_text())
    for name, known in document["limits"].items():
        known["limit"] *= 1 if name == figures.DRIFT else LOOSE if known["lower_is_better"] else 1 / LOOSE
    document["limits"][figures.DRIFT]["limit"] = 100
    path.write_text(json.dumps(document))


def expect_disk(document: dict[str, Any]) -> float:
    """Have a loosened certificate ask for a quarter of the disk's certified speed; return bytes/s that miss it."""
    limit = document["limits"][READ_COLD]
    limit["limit"] *= LOOSE / 4
    return limit["limit"] / MISSED * GIB


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
