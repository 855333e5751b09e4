"""Jumps are told from slow growth and named by their phase, in readings as a keeper writes them."""

import json

from probe_agent.engines import timeline
from probe_agent.engines.timeline import Phase, Reading, Timeline


def gpu(points, phases=((-1.0, "before"),)):
    rows = tuple(Reading(at_s, mb, 0, None) for at_s, mb in points)
    return Timeline(rows, tuple(Phase(*phase) for phase in phases))


def moves(line):
    return [(jump.phase, jump.from_mb, jump.to_mb) for jump in line.jumps()]


def test_a_rise_over_several_readings_is_one_jump():
    line = gpu([(0.0, 500), (0.1, 500), (0.2, 900), (0.3, 900), (0.4, 1500), (0.5, 1500)], [(-1.0, "weights")])
    (jump,) = line.jumps()
    assert jump == timeline.Jump("gpu", "weights", at_s=0.2, took_s=0.3, from_mb=500, to_mb=1500)


def test_a_jump_belongs_to_the_phase_of_the_reading_that_shows_it():
    line = gpu([(0.0, 0), (0.1, 3000), (0.2, 70000)], [(-1.0, "start"), (0.05, "weights"), (0.2, "kv_cache")])
    assert moves(line) == [("weights", 0, 3000), ("kv_cache", 3000, 70000)]


def test_what_a_phase_adds_below_64_mib_is_no_jump_of_it():
    line = gpu([(0.0, 0), (0.1, 40), (0.2, 1000)], [(-1.0, "start"), (0.2, "weights")])
    assert moves(line) == [("weights", 40, 1000)]


def test_slow_growth_is_gradual():
    assert moves(gpu([(second * 0.5, second * 20) for second in range(100)])) == []


def test_up_and_down_are_two_jumps():
    assert moves(gpu([(0.0, 100), (0.1, 600), (0.2, 599.5), (0.3, 100)])) == [
        ("before", 100, 600),
        ("before", 599.5, 100),
    ]


def test_two_rises_far_apart_are_two_jumps():
    assert len(moves(gpu([(0.0, 0), (0.1, 100), (1.0, 100), (2.0, 100), (2.1, 200)]))) == 2


def test_noise_below_64_mib_is_nothing():
    assert moves(gpu([(number / 10, 1000 + 60 * (number % 2)) for number in range(50)])) == []


def test_gpu_memory_before_during_and_after():
    points = [(-0.1, 400), (0.0, 401), (1.0, 9000), (2.0, 410)]
    alive = gpu(points[:3])
    assert alive.gpu_mb == {"before": 401, "min": 400, "max": 9000, "after": None}
    assert alive.gpu_back() is None
    ended = gpu(points, [(-1.0, "before"), (1.9, "gone")])
    assert ended.gpu_mb["after"] == 410
    assert ended.gpu_back() is True
    assert gpu([*points[:3], (2.0, 9000)], [(1.9, "gone")]).gpu_back() is False


def test_a_node_without_a_gpu_has_pss_alone():
    line = Timeline((Reading(0.0, None, None, 0.0), Reading(0.5, None, None, 900.0)), (Phase(0.0, "start"),))
    assert line.gpu_mb is None
    assert line.gpu_back() is None
    assert line.pss_mb == {"max": 900.0}
    assert [jump.what for jump in line.jumps()] == ["pss"]


def test_nothing_read_is_no_error():
    empty = timeline.from_lines("", [], 0.0)
    assert (empty.rows, empty.jumps(), empty.gpu_mb, empty.pss_mb) == ((), [], None, {"max": 0.0})


def test_reads_what_a_keeper_wrote_and_leaves_out_a_cut_line():
    lines = [
        {"at": 99.9, "phase": "before"},
        [99.95, 400, 0, 0.0],
        {"at": 100.0, "phase": "start"},
        [100.1, 400, 7, None],
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines) + "[100.2, 40"
    read = timeline.from_lines(text, [(105.0, "ready")], 100.0)
    assert read.rows == (Reading(-0.05, 400, 0, 0.0), Reading(0.1, 400, 7, None))
    assert [phase.phase for phase in read.phases] == ["before", "start", "ready"]
    assert read.to_json()["phases"][-1] == {"at_s": 5.0, "phase": "ready"}
    assert read.to_json()["rows"][1] == [0.1, 400, 7, None]
