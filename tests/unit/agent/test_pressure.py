"""What the pressure probe plans on a node, and what it says of its samples."""

import json
import math

import pytest
from support import ROOT

from probe_agent import spec
from probe_agent.bench import Skipped
from probe_agent.engines import balloon
from probe_agent.host import cgroup
from probe_agent.probes import pressure

MIB, GIB = 1 << 20, 1 << 30
PROBES = json.loads((ROOT / "reports/samples/h200/hosts/local/result.json").read_text())["probes"]


def row(block, level, share, load_s, **more):
    return {
        "block": block,
        "level": level,
        "resident_share_at_start": share,
        "resident_pages_at_start": int(share * 25600),
        "pages": 25600,
        "load_s": load_s,
        "pressed_mb": 100.0,
        "room_mb": 100.0 * level,
        "balloon_mb": 60.0 + 100 * (1 - level),
        "limit_mb": 172.8,
        "available_before_mb": 20000,
        "available_lowest_mb": 19000,
        **more,
    }


def block(number, slower=1.0):
    """Three levels of a node on which nothing resident takes twice as long."""
    shares = {1.0: 1.0, 0.5: 0.55, 0.0: 0.05}
    return [row(number, level, share, slower * 2 ** (1 - share)) for level, share in shares.items()]


def test_a_model_that_fits_is_squeezed_in_whole():
    found = pressure.plan(3 * GIB, 100 << 20)
    assert (found.pressed_bytes, found.floor_kb) == (3 * GIB, 25 << 20)


def test_on_the_samples_node_no_load_was_repeated():
    loads, squeezed = PROBES["load"]["samples"], PROBES["pressure"]["samples"]
    taken = [each["load_s"] for each in squeezed if each["taken_from"] == "load"]
    assert taken == [each["load_s"] for each in loads]
    assert {each["level"] for each in squeezed if each["taken_from"] == ""} == {0.5}


@pytest.mark.parametrize("model_gib", [25, 40, 95])
def test_cache_and_balloon_never_take_more_than_a_quarter_of_the_memory(model_gib):
    found = pressure.plan(model_gib * GIB, 100 << 20)
    assert balloon.limit(found.pressed_bytes) <= 25 * GIB
    assert 24 * GIB < found.pressed_bytes < 25 * GIB
    assert found.pressed_bytes % 4096 == 0


@pytest.mark.parametrize(("model_bytes", "available_kb"), [(150 * GIB, 100 << 20), (GIB, 512 << 10), (GIB, 0)])
def test_a_model_far_beyond_that_is_left_alone(model_bytes, available_kb):
    with pytest.raises(Skipped, match=r"a quarter of the .* MiB available on this node is too little"):
        pressure.plan(model_bytes, available_kb)


@pytest.mark.parametrize("pressed", [100 * MIB, 3 * GIB, 30 * GIB])
@pytest.mark.parametrize("level", [1.0, 0.5, 0.0])
def test_the_balloon_leaves_the_room_and_what_the_kernel_needs(pressed, level):
    room, own = int(level * pressed), 7 * MIB
    taken = balloon.size(pressed, room, own)
    assert taken % 4096 == 0
    assert 0 <= balloon.limit(pressed) - taken - own - room - balloon.slack(pressed) < 4096


def test_a_reader_that_took_all_itself_leaves_a_balloon_of_one_page():
    assert balloon.size(100 * MIB, 100 * MIB, 500 * MIB) == 4096


def test_the_slope_is_that_within_blocks_and_not_of_a_node_that_slows_down():
    samples = [*block(0), *block(1, slower=3.0)]
    assert pressure.slopes(samples) == pytest.approx([math.log(2)] * 2)
    assert pressure.headline(samples)["load_squeezed_ratio"] == 2.0


def test_a_block_in_which_nothing_was_squeezed_has_no_slope():
    """A neighbour had the model mapped, and a line through three equal points made of noise a factor of a thousand."""
    near = [row(0, 1.0, 1.0, 1.0), row(0, 0.5, 0.999, 1.1), row(0, 0.0, 0.998, 1.0)]
    assert pressure.slopes(near) == []
    assert "load_squeezed_ratio" not in pressure.headline(near)
    assert pressure.slopes([row(0, 1.0, 1.0, 1.0)]) == pressure.slopes([]) == []


def test_a_load_of_no_time_has_no_logarithm():
    assert pressure.slopes([row(0, 1.0, 1.0, 0.0), row(0, 0.0, 0.0, 0.0)]) == []


def test_a_headline_has_the_loads_of_the_levels_that_were_run():
    assert pressure.headline([row(0, 1.0, 1.0, 1.0), row(0, 0.0, 0.0, 4.0)]) == {
        "load_at_full_s": 1.0,
        "load_at_none_s": 4.0,
        "load_squeezed_ratio": 4.0,
    }


@pytest.mark.parametrize(("share", "expected"), [(0.5, True), (0.67, True), (0.69, False), (1.0, False)])
def test_pages_that_stay_beyond_the_room_are_told(share, expected):
    assert pressure.followed(row(0, 0.5, share, 1.0)) is expected


class Bench:
    def __init__(self, model, loads=()):
        self.model, self.loads, self.spec = model, list(loads), spec.parse({})

    def measured(self, probe):
        return self.loads if probe == "load" else []


def loads(pairs):
    states = (("cold", 256, 1.5), ("warm", 25600, 1.0))
    return [
        {"pair": pair, "cache": cache, "resident_pages_at_start": resident, "pages": 25600, "load_s": load_s}
        for pair in range(pairs)
        for cache, resident, load_s in states
    ]


def test_loads_of_the_same_run_are_the_ends_of_each_block():
    ends = pressure.ends(Bench("a model", loads(3)), pressure.Plan(100 * MIB, 0))
    assert [(end["block"], end["level"], end["resident_share_at_start"]) for end in ends[:2]] == [
        (0, 0.0, 0.01),
        (0, 1.0, 1.0),
    ]
    assert pressure.slopes(ends) == pytest.approx([math.log(1.5) / 0.99] * 3)
    assert all(map(pressure.followed, ends))


def test_loads_that_are_not_all_there_are_no_ends():
    assert pressure.ends(Bench("a model", loads(3)[:-1]), pressure.Plan(100 * MIB, 0)) == []
    assert pressure.ends(Bench("a model"), pressure.Plan(100 * MIB, 0)) == []


def test_evidence_rests_on_what_was_squeezed(evidence):
    ends = pressure.ends(Bench("a model", loads(3)), pressure.Plan(100 * MIB, 0))
    found = evidence([*(row(number, 0.5, 0.55, 1.2) for number in range(3)), *ends], 100)
    assert [each["processes"] for each in found["levels"]] == [3, 3, 3]
    assert (found["limit_mb"], found["available_lowest_mb"], found["squeeze_worked"]) == (172.8, 19000, True)


@pytest.fixture
def evidence(tmp_path, monkeypatch):
    """Return a function that gives the evidence for a model of so many MiB."""

    def tell(samples, model_mib):
        with (tmp_path / "model.safetensors").open("wb") as stream:
            stream.truncate(model_mib * MIB)
        monkeypatch.setattr(cgroup, "find", lambda _: cgroup.Hierarchy(2, "sys/fs/cgroup"))
        return pressure.evidence(samples, Bench(tmp_path), tmp_path)

    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text("")
    return tell


def test_evidence_tells_how_residency_follows_the_room(evidence):
    found = evidence([*block(0), *block(1)], 100)
    assert [(each["level"], each["processes"], each["resident_share_at_start"]) for each in found["levels"]] == [
        (1.0, 2, 1.0),
        (0.5, 2, 0.55),
        (0.0, 2, 0.05),
    ]
    assert found["squeeze_worked"]
    assert found["log_load_per_missing_share"] == round(math.log(2), 4)
    assert (found["available_before_mb"], found["available_lowest_mb"], found["cgroup_version"]) == (20000, 19000, 2)
    assert (found["partly"], found["left"]) == ("", [])


def test_evidence_says_when_a_part_was_squeezed_and_when_it_did_not_work(evidence):
    found = evidence([row(0, 0.0, 1.0, 1.0)], 200)
    assert found["partly"].startswith("100 of the model's 200 MiB were squeezed")
    assert not found["squeeze_worked"]
    assert found["log_load_per_missing_share"] is None
