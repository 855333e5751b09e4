"""What batching concludes from its rows: rates, gain, saturation, and what had to be left out."""

from types import SimpleNamespace

import pytest

from probe_agent.engines.fresh import ProcessFailed
from probe_agent.probes import alone, batching
from probe_agent.probes.batching import Step
from probe_agent.spec import Spec


def rows_of(load: int, mode: str, concurrency: int, requests: int, wall_s: float, errors: int = 0) -> list[dict]:
    shared = {
        "load": load,
        "mode": mode,
        "concurrency": concurrency,
        "load_wall_s": wall_s,
        "load_queue_s": 0.001,
        "load_client_lag_max_s": 0.002,
        "load_client_lag_p99_s": 0.001,
    }
    return [
        {**shared, "request": number, "output_tokens": 0 if number < errors else 32, "error": "no" * (number < errors)}
        for number in range(requests)
    ]


def test_a_load_is_summed_from_its_requests():
    (load,) = batching.loads(rows_of(0, "concurrent", 32, 32, wall_s=2.0))
    assert load == {
        "load": 0,
        "mode": "concurrent",
        "concurrency": 32,
        "wall_s": 2.0,
        "queue_s": 0.001,
        "client_lag_max_s": 0.002,
        "client_lag_p99_s": 0.001,
        "requests": 32,
        "failed": 0,
        "output_tokens": 1024,
        "tokens_per_s": 512.0,
    }


def test_the_headline_has_the_gain_and_the_saturation():
    samples = [
        *rows_of(0, "sequential", 1, 32, 16.0),
        *rows_of(1, "concurrent", 32, 32, 2.0),
        *rows_of(2, "sweep", 1, 16, 8.0),
        *rows_of(3, "sweep", 8, 16, 1.0),
        *rows_of(4, "sweep", 16, 32, 2.0),
    ]
    assert batching.headline(samples) == {
        "sequential_s": 16.0,
        "sequential_tokens_per_s": 64.0,
        "concurrent_s": 2.0,
        "concurrent_tokens_per_s": 512.0,
        "gain": 8.0,
        "saturation_concurrency": 8,
    }


def test_a_load_with_a_failed_request_is_no_headline():
    samples = [*rows_of(0, "sequential", 1, 32, 16.0), *rows_of(1, "concurrent", 32, 32, 2.0, errors=1)]
    assert batching.headline(samples) == {"sequential_s": 16.0, "sequential_tokens_per_s": 64.0}
    assert batching.headline([]) == {}


def test_a_step_is_expected_to_be_as_fast_as_the_loads_beside_it():
    known = batching.loads([*rows_of(0, "sequential", 1, 32, 16.0), *rows_of(1, "concurrent", 32, 32, 2.0)])
    assert batching.expected_s(known, Step("sweep", 1, 16)) == 8.0
    between = batching.expected_s(known, Step("sweep", 16, 32))
    assert 2.0 < between < 16.0  # faster than one after another, slower than 32 slots
    assert batching.expected_s(known, Step("sweep", 64, 128)) == 8.0
    assert batching.expected_s([], Step("sweep", 1, 16)) == 0.0


@pytest.mark.parametrize(
    ("points", "flat"),
    [
        ([(1, 100.0), (2, 200.0)], False),
        ([(1, 100.0), (2, 200.0), (4, 205.0)], False),
        ([(1, 100.0), (2, 200.0), (4, 205.0), (8, 195.0)], True),
        ([(8, 195.0), (4, 212.0), (2, 200.0), (1, 100.0)], False),
        ([], False),
    ],
)
def test_a_sweep_is_flat_after_two_steps_without_a_rise(points, flat):
    assert batching.is_flat(points) is flat


def test_steps_beyond_a_flat_sweep_are_left_out_with_a_word():
    spec = Spec(concurrencies=(1, 2, 4, 8), batch_requests=4)
    samples = [row for number in (1, 2, 4) for row in rows_of(number, "sweep", number, 16, 8.0)]
    assert batching.left_out(spec, 64, samples) == ["concurrency 8 was left out: throughput had stopped rising"]


def test_what_was_left_out_is_said():
    spec = Spec(concurrencies=(64, 1, 256), batch_requests=4)
    samples = [
        *rows_of(0, "sequential", 1, 4, 8.0),
        *rows_of(1, "concurrent", 4, 4, 2.0),
        *rows_of(2, "sweep", 1, 16, 32),
    ]
    assert batching.left_out(spec, 64, samples) == [
        "concurrency 256 is beyond the 64 sequences the server runs at once",
        "concurrency 64 was expected to take 64 s, more than the 15 s a step may",
    ]
    complete = [*samples, *rows_of(3, "sweep", 64, 128, 20.0)]
    assert batching.left_out(Spec(concurrencies=(1, 64), batch_requests=4), 64, complete) == []


def test_utilization_is_the_mean_within_the_phase():
    rows = [(0.0, 100, 5, 1), (1.0, 100, 50, 1), (1.2, 100, 70, 1), (1.4, None, None, 1), (2.0, 100, 0, 1)]
    phases = [SimpleNamespace(at_s=0.5, phase="concurrent"), SimpleNamespace(at_s=1.9, phase="between loads")]
    timeline = SimpleNamespace(rows=rows, phases=phases)
    assert batching._utilization(timeline, "concurrent") == 60.0
    assert batching._utilization(timeline, "between loads") == 0.0
    assert batching._utilization(timeline, "sequential") is None


class FakeServer:
    """Gives one reading of /metrics after another, the last one again and again."""

    def __init__(self, *readings: dict, ended: str = "") -> None:
        self.readings, self.ended = list(readings), ended

    def metrics(self) -> dict:
        return self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]

    def check(self) -> None:
        if self.ended:
            raise ProcessFailed(self.ended)


def counted(count: float, total: float) -> dict:
    return {"wait_count": count, "wait_sum": total}


def test_the_servers_mean_waits_until_it_has_counted_all():
    server = FakeServer(counted(10, 5.0), counted(11, 5.5), counted(14, 7.0))
    assert alone.mean_since(counted(10, 5.0), server, "wait", 4) == 0.5


def test_a_mean_over_other_peoples_requests_is_none(monkeypatch):
    monkeypatch.setattr(alone, "COUNT_WAIT_S", 0.0)
    assert alone.mean_since(counted(10, 5.0), FakeServer(counted(15, 9.0)), "wait", 4) is None
    assert alone.mean_since(counted(10, 5.0), FakeServer(counted(13, 9.0)), "wait", 4) is None
    assert alone.mean_since({}, FakeServer({}), "wait", 1) is None


def test_failures_are_told_with_the_servers_last_words(monkeypatch):
    monkeypatch.setattr(alone, "NEWS_S", 0.1)
    rows = rows_of(0, "sweep", 2, 16, 1.0, errors=3)
    with pytest.raises(ProcessFailed, match="3 of 16 requests failed: no"):
        alone.refuse_failures(rows, FakeServer({}))
    with pytest.raises(ProcessFailed, match="out of memory"):
        alone.refuse_failures(rows, FakeServer({}, ended="the server ended: out of memory"))
    alone.refuse_failures(rows_of(0, "sweep", 2, 16, 1.0), FakeServer({}, ended="too late to matter"))


def held(usage: float, running: float) -> dict:
    return {batching.KV_USAGE: usage, batching.RUNNING: running, batching.WAITING: 0.0}


def test_blocks_that_come_free_a_little_later_are_no_leak():
    found = batching._leak(FakeServer(held(0.1, 1), held(0.0, 0)))
    assert found["free"]
    assert found["kv_cache_usage_perc"] == 0


def test_blocks_that_stay_taken_are_a_leak(monkeypatch):
    monkeypatch.setattr(batching, "LEAK_WAIT_S", 0.0)
    found = batching._leak(FakeServer(held(0.25, 0)))
    assert (found["free"], found["kv_cache_usage_perc"]) == (False, 0.25)
    assert not batching._leak(FakeServer({}))["free"]  # a server that does not say proves nothing
