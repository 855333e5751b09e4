"""Every second of a run is counted once, for what was innermost at the time."""

import pytest

from probe_agent import clock
from probe_agent.clock import OTHER, PAGE_CACHE, PROCESSES, READING, Clock


@pytest.fixture
def times():
    """Seconds that a clock reads, one after another."""
    return []


@pytest.fixture
def counting(times):
    times.append(100.0)
    return Clock(lambda: times.pop(0))


def test_what_is_inside_is_taken_from_what_is_around(counting, times):
    times += [101.0, 103.0, 108.0, 109.0, 109.5]
    with counting.of(PAGE_CACHE), counting.of(PROCESSES):
        pass
    spent = counting.read()
    assert (spent[OTHER], spent[PAGE_CACHE], spent[PROCESSES]) == (1.5, 3.0, 5.0)


def test_a_process_that_fails_is_counted_until_then(counting, times):
    times += [101.0, 105.0, 105.0]
    with pytest.raises(ValueError), counting.of(PROCESSES):
        raise ValueError
    assert counting.read()[PROCESSES] == 4.0


def test_a_process_that_is_held_for_reading_is_not_at_work(counting, times):
    times += [100.0, 110.0, 110.0]
    with counting.of(PROCESSES):
        pass
    counting.move(0.5, PROCESSES, READING)
    assert clock.timing(counting.read()) == {
        "took_s": 10.0,
        "spent_s": {"processes": 9.5, "reading": 0.5},
        "overhead_percent": 5.0,
    }


def test_a_probe_has_what_came_since_it_began():
    assert clock.timing({"requests": 5.0, "other": 2.0}, {"requests": 1.0, "other": 1.0}) == {
        "took_s": 5.0,
        "spent_s": {"requests": 4.0, "other": 1.0},
        "overhead_percent": 20.0,
    }


def test_the_model_counts_neither_as_work_nor_as_overhead():
    assert clock.overhead_percent({"model": 60.0, "server_start": 19.0, "settle": 1.0}) == 5.0


def test_a_run_that_only_made_its_model_has_no_overhead():
    assert clock.timing({"model": 60.0}) == {"took_s": 60.0, "spent_s": {"model": 60.0}}
