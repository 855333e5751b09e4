"""The pressure probe on this machine: a page cache that is really squeezed, and nothing left of what squeezed it."""

import functools
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from support import children_of, result_of, wait_for

from probe_agent import models, paths
from probe_agent.engines import balloon
from probe_agent.engines.balloon import Balloon
from probe_agent.engines.fresh import ProcessFailed
from probe_agent.host import cgroup, meminfo, pagecache

MIB = 1 << 20


@pytest.fixture(scope="module")
def hierarchy():
    try:
        return cgroup.find()
    except ValueError as reason:
        pytest.skip(str(reason))


@pytest.fixture
def model(hierarchy, node_python, tmp_path):
    """A copy of synthetic:tiny for this test alone: pages that somebody else has mapped cannot be squeezed."""
    folder = models.synthetic_folder("synthetic:tiny", str(paths.HOME / "models"))
    if not folder.exists():
        request = json.dumps({"model": "synthetic:tiny", "model_revision": "", "models_dir": str(folder.parent)})
        subprocess.run([node_python, "-m", "probe_agent.models.prepare", request], check=True)
    yield shutil.copytree(folder, tmp_path / "model")
    shutil.rmtree(tmp_path / "model")


@pytest.fixture
def weights(hierarchy, tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(bytes(64 * MIB))
    yield file
    file.unlink()


def job_of(group, hierarchy, file, **more):
    pressed = file.stat().st_size
    job = {"pressed_bytes": pressed, "room_bytes": 0, "floor_kb": 0, **more}
    return balloon.Job(str(group), hierarchy.version, (str(file),), **job)


@pytest.fixture
def pressure(agent, model, tmp_path):
    """Return a function that starts the agent for this probe, in a state of its own."""
    return functools.partial(agent, "--probe", "pressure", "--model", model, "--state-dir", tmp_path / "state")


def test_residency_falls_with_the_room_and_nothing_stays_behind(pressure, tmp_path):
    run = pressure("--profile", "standard")
    assert run.wait() == 0, run.stdout.read()
    probe = result_of(tmp_path)["probes"]["pressure"]
    evidence, figures = probe["evidence"], probe["headline"]
    assert (probe["status"], len(probe["samples"])) == ("ok", 9)
    assert evidence["squeeze_worked"]
    shares = {row["level"]: row["resident_share_at_start"] for row in evidence["levels"]}
    assert shares[1.0] > 0.95
    assert 0.4 < shares[0.5] < 0.65
    assert shares[0.0] < 0.2
    assert set(figures) == {"load_at_full_s", "load_at_half_s", "load_at_none_s", "load_squeezed_ratio"}
    orders = [[row["level"] for row in probe["samples"] if row["block"] == block] for block in range(3)]
    assert all(sorted(order) == [0.0, 0.5, 1.0] for order in orders)
    assert len(set(map(tuple, orders))) > 1
    assert evidence["limit_mb"] <= evidence["available_before_mb"] / 4
    assert evidence["available_lowest_mb"] > evidence["available_before_mb"] / 4
    assert evidence["left"] == []
    assert run.pid not in cgroup.left()


def test_an_agent_killed_in_the_middle_leaves_no_balloon_and_the_next_run_clears_up(pressure, tmp_path):
    run = pressure("--profile", "standard")

    def a_balloon_is_held():
        return run.pid in cgroup.left() and (cgroup.left()[run.pid] / "cgroup.procs").read_text().split()

    wait_for(a_balloon_is_held)
    (held,) = a_balloon_is_held()
    assert int(held) in children_of(run.pid)
    run.kill()
    run.wait()
    wait_for(lambda: not Path(f"/proc/{held}").exists(), seconds=10)
    assert run.pid in cgroup.left()
    again = pressure("--out", tmp_path / "again/result.json")
    assert again.wait() == 0, again.stdout.read()
    assert run.pid not in cgroup.left()
    probe = result_of(tmp_path / "again")["probes"]["pressure"]
    assert (probe["status"], probe["reason"]) == ("skipped", "profile quick squeezes no page cache")


def test_a_balloon_squeezes_what_its_cgroup_read_and_nobody_elses(hierarchy, weights, tmp_path):
    other = tmp_path / "other"
    other.write_bytes(bytes(16 * MIB))
    pagecache.evict([weights])
    with cgroup.limited(balloon.limit(64 * MIB), hierarchy) as group:
        with Balloon(job_of(group, hierarchy, weights), time.monotonic() + 60) as held:
            assert held.bytes > 64 * MIB
            assert pagecache.residency([weights]).share < 0.2
            assert pagecache.residency([other]).share == 1
            assert held.release() > 0
        pagecache.evict([weights])
    assert os.getpid() not in cgroup.left()


def test_a_balloon_lets_go_where_the_node_runs_short(hierarchy, weights):
    floor_kb = 2 * meminfo.read()["MemTotal"]
    pagecache.evict([weights])
    with cgroup.limited(balloon.limit(64 * MIB), hierarchy) as group:
        job = job_of(group, hierarchy, weights, floor_kb=floor_kb)
        with Balloon(job, time.monotonic() + 60) as held:
            wait_for(lambda: not (group / "cgroup.procs").read_text().split(), seconds=10)
            with pytest.raises(ProcessFailed, match="let go: MemAvailable of the node fell to"):
                held.release()
        pagecache.evict([weights])
    assert os.getpid() not in cgroup.left()


def test_a_balloon_beyond_its_limit_is_killed_alone(hierarchy, weights):
    """A limit that is far too small ends the balloon, and nothing else on the node."""
    pagecache.evict([weights])
    with cgroup.limited(32 * MIB, hierarchy) as group:
        with pytest.raises(ProcessFailed, match="was killed by SIGKILL"):
            Balloon(job_of(group, hierarchy, weights), time.monotonic() + 60)
        pagecache.evict([weights])
    assert os.getpid() not in cgroup.left()


def test_a_balloon_that_is_not_ready_by_the_deadline_is_ended(hierarchy, weights):
    with cgroup.limited(balloon.limit(64 * MIB), hierarchy) as group:
        with pytest.raises(ProcessFailed, match="did not answer in time"):
            Balloon(job_of(group, hierarchy, weights), time.monotonic())
        pagecache.evict([weights])
    assert os.getpid() not in cgroup.left()
