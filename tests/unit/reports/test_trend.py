"""Trends: what is called a change, since when, and what is left alone."""

import random

import pytest

from reports.limits import TREND_POINTS, TREND_SEGMENTS
from reports.trend import Point, Verdict, judge

NOISE = (0.01, -0.02, 0.03, 0.0, -0.01, 0.02, -0.03, 0.01, 0.02, -0.01)


def points(values):
    return [Point(f"r{number}", f"2026-11-{1 + number:02}", value) for number, value in enumerate(values)]


def steady(number, level=1.0):
    return [level * (1 + NOISE[each % len(NOISE)]) for each in range(number)]


def judged(values, lower_is_better=True, metric="warm_load_s"):
    *past, now = points(values)
    return judge(metric, past, now, lower_is_better)


@pytest.mark.parametrize("before", [0, 1, TREND_POINTS - 1])
def test_few_runs_are_no_history(before):
    found = judged([1.0] * before + [9.0])
    assert (found.verdict, found.since, found.change_percent) == (Verdict.UNKNOWN, None, None)
    assert f"{before} run" in found.sentence


@pytest.mark.parametrize("number", [6, 10, 15, 30, 100])
def test_noise_is_steady(number):
    assert judged(steady(number)).verdict is Verdict.STEADY


@pytest.mark.parametrize("number", [6, 14, 15, 40])
def test_equal_values_are_steady(number):
    """As a count of tokens has them, with no spread at all."""
    assert judged([65536.0] * number, lower_is_better=False).verdict is Verdict.STEADY


@pytest.mark.parametrize("before", [6, 9, 20, 50])
def test_a_step_is_named_with_the_run_at_which_it_began(before):
    found = judged(steady(before) + steady(4, 1.6))
    assert (found.verdict, found.since) == (Verdict.WORSE, f"r{before}")
    assert 50 < found.change_percent < 70
    assert found.sentence.startswith("warm_load_s is worse by ")
    assert f"since r{before}: " in found.sentence


@pytest.mark.parametrize("before", [8, 20])
@pytest.mark.parametrize(
    ("factor", "lower_is_better", "verdict"),
    [
        (1.6, True, Verdict.WORSE),
        (1.6, False, Verdict.BETTER),
        (1 / 1.6, True, Verdict.BETTER),
        (1 / 1.6, False, Verdict.WORSE),
    ],
)
def test_directions_are_respected(before, factor, lower_is_better, verdict):
    found = judged(steady(before) + steady(4, factor), lower_is_better)
    assert found.verdict is verdict
    assert (found.change_percent > 0) == (factor > 1)


@pytest.mark.parametrize("before", [8, 25])
def test_one_rerun_far_off_is_believed_and_a_small_one_is_not(before):
    found = judged([*steady(before), 2.5])
    assert (found.verdict, found.since) == (Verdict.WORSE, f"r{before}")
    assert judged([*steady(before), 1.8]).verdict is Verdict.STEADY


@pytest.mark.parametrize("before", [8, 25])
def test_a_disturbed_run_in_the_past_is_no_change(before):
    values = steady(before)
    values[before // 2] = 3.0
    assert judged(values).verdict is Verdict.STEADY


def test_a_step_too_small_to_matter_is_steady():
    assert judged(steady(30) + steady(20, 1.05)).verdict is Verdict.STEADY
    *past, now = points(steady(30) + steady(20, 1.3))
    assert judge("warm_load_s", past, now, True).verdict is Verdict.WORSE
    assert judge("warm_load_s", past, now, True, limit_percent=50).verdict is Verdict.STEADY


def test_what_recovered_is_not_worse():
    assert judged(steady(15) + steady(8, 1.6) + steady(10)).verdict is not Verdict.WORSE


def test_an_improvement_that_was_lost_is_worse_since_it_was_lost():
    found = judged(steady(12) + steady(12, 0.6) + steady(6))
    assert (found.verdict, found.since) == (Verdict.WORSE, "r24")


def test_a_creep_adds_up():
    found = judged(steady(15) + steady(8, 1.12) + steady(8, 1.25) + steady(8, 1.4))
    assert found.verdict is Verdict.WORSE
    assert found.change_percent > 30


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_values_without_a_share_are_not_judged(value):
    assert judged([*steady(9), value]).verdict is Verdict.UNKNOWN
    assert judged([value, *steady(20)]).verdict is Verdict.UNKNOWN


def test_growth_below_what_is_tolerated_is_no_matter():
    small = [0.0, 0.2, -0.1, 0.9, 0.0, 0.3, 0.1, 0.8]
    assert judged(small, metric="generation_rss_drift_mb").verdict is Verdict.STEADY
    assert judged([*small, 5.0, 5.2], metric="generation_rss_drift_mb").verdict is Verdict.WORSE


def test_twenty_reruns_of_an_unchanged_node_say_nothing():
    source = random.Random(7)
    for _ in range(10):  # figures
        runs = points([source.lognormvariate(0, 0.05) for _ in range(TREND_SEGMENTS - 5 + 20)])
        for at in range(TREND_SEGMENTS - 5, len(runs)):
            assert judge("warm_load_s", runs[:at], runs[at], True).verdict is Verdict.STEADY
