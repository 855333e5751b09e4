"""How busy the node is, from what kernels with and without each source of it say."""

from dataclasses import replace

import pytest

from probe_agent.host import pressure
from probe_agent.host.pressure import Stall

STAT = "cpu  100 0 50 800 10 0 5 35 7 0\ncpu0 100 0 50 800 10 0 5 35 7 0\nprocs_running 3\n"
CPU = "some avg10=70.21 avg60=43.64 avg300=30.12 total=440513562\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
NODE = {"proc/stat": STAT, "proc/loadavg": "3.44 2.75 2.22 2/300 4711\n"}
THROTTLE = "sys/devices/system/cpu/cpu{}/thermal_throttle/{}_throttle_count"


def test_reads_all_that_a_kernel_tells(fake_root):
    files = {
        **NODE,
        **{f"proc/pressure/{name}": CPU for name in pressure.RESOURCES},
        THROTTLE.format(0, "core"): "3\n",
        THROTTLE.format(1, "package"): "4\n",
        "sys/devices/system/cpu/cpufreq/thermal_throttle/core_throttle_count": "100\n",
    }
    found = pressure.read(fake_root(files))
    assert (found.load1, found.cpu_ticks, found.steal_ticks, found.running) == (3.44, 1000, 35, 3)
    assert found.stalls["io"] == Stall(70.21, 440513562)
    assert found.throttles == 7


def test_a_kernel_without_psi_and_throttling_leaves_them_out(fake_root):
    found = pressure.read(fake_root(NODE))
    assert (found.stalls, found.throttles) == ({}, None)
    assert pressure.during(found, found) == {
        "load1": 3.44,
        "steal_share": None,
        "psi_cpu_some_avg10": None,
        "psi_memory_some_avg10": None,
        "psi_io_some_avg10": None,
        "thermal_throttle_count": None,
    }


def test_a_sample_has_what_was_stolen_and_throttled_over_its_length(fake_root):
    before = pressure.read(fake_root({**NODE, THROTTLE.format(0, "core"): "3\n", "proc/pressure/cpu": CPU}))
    after = replace(before, cpu_ticks=1200, steal_ticks=85, throttles=5, load1=2.0)
    found = pressure.during(before, after)
    assert (found["steal_share"], found["thermal_throttle_count"], found["load1"]) == (0.25, 2, 2.0)
    assert (found["psi_cpu_some_avg10"], found["psi_memory_some_avg10"]) == (70.21, None)


@pytest.mark.parametrize(
    ("text", "times", "running"),
    [
        (STAT, [100, 0, 50, 800, 10, 0, 5, 35], 3),
        ("cpu  1 2 3 4\n", [1, 2, 3, 4, 0, 0, 0, 0], 0),
        ("", [0] * 8, 0),
    ],
)
def test_parses_the_cpu_line(text, times, running):
    assert pressure.parse_stat(text) == (times, running)


@pytest.mark.parametrize("text", ["", "full avg10=1.00 avg60=0.00 avg300=0.00 total=9\n", "Operation not supported\n"])
def test_a_file_without_a_some_line_is_no_stall(text):
    assert pressure.parse_stall(text) is None


def test_waiting_is_a_share_of_the_slice_or_without_psi_a_queue(fake_root, monkeypatch):
    monkeypatch.setattr(pressure.os, "cpu_count", lambda: 2)
    bare = pressure.read(fake_root(NODE))
    assert pressure.waiting_share(bare, bare, 0.2) == 1  # three tasks on two CPUs
    assert pressure.waiting_share(bare, replace(bare, running=2), 0.2) == 0
    before, after = (replace(bare, stalls={"cpu": Stall(0, total)}) for total in (1_000_000, 1_050_000))
    assert pressure.waiting_share(before, after, 0.2) == pytest.approx(0.25)
