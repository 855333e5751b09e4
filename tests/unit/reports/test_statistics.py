"""Verdicts on campaigns whose truth is known: simulated with drift, and a few by hand."""

import math
import random

import pytest
from campaigns import LEVER, METRICS, arms, campaign

from reports import statistics
from reports.metrics import ALLOCATOR_METRICS, PINNING, Metric
from reports.statistics import (
    CALLED,
    LOG_THRESHOLD,
    MOST_BLOCKS,
    PERMUTATION_BLOCKS,
    Precision,
    Verdict,
    effects,
    estimate,
    holm,
    log_ratios,
    noise_floor,
)

LATENCY = Metric("gen_latency_s", "first generation")
RATE = Metric("gen_latency_s", "rate", lower_is_better=False)
FIRST = METRICS[0]


def rows(**values):
    """One process per arm and block: `rows(glibc=[2, 2], jemalloc=[1, 1])`; `again` is the A/A control."""
    return [
        {"arm": arm.replace("again", "glibc-again"), "block": block, "gen_latency_s": value, "engaged": True}
        for arm, found in values.items()
        for block, value in enumerate(found)
    ]


def standing_out(count, rate, campaigns):
    """Return whether a count is more than three standard deviations above the rate."""
    return count - rate * campaigns > 3 * math.sqrt(rate * (1 - rate) * campaigns)


@pytest.mark.parametrize("drift", [0.0, 0.3])
@pytest.mark.parametrize("blocks", [3, 6])
def test_equal_arms_are_rarely_called_different_in_any_metric(blocks, drift):
    source, campaigns = random.Random(6), 250
    found = [effects(campaign(source, blocks, drift=drift), LEVER, METRICS) for _ in range(campaigns)]
    alarms = sum(any(effect.verdict in CALLED for effect in arm) for arm in found)
    assert not standing_out(alarms, statistics.ALPHA, campaigns)


@pytest.mark.parametrize("drift", [0.0, 0.3])
@pytest.mark.parametrize("blocks", [3, 6])
def test_the_effect_printed_is_found_by_the_next_campaign_with_the_promised_power(blocks, drift):
    source, campaigns = random.Random(8), 150
    missed = 0
    for _ in range(campaigns):
        smallest = effects(campaign(source, blocks, drift=drift), LEVER, METRICS)[0].detectable
        truth = campaign(source, blocks, drift=drift, effects={FIRST.key: smallest})
        missed += effects(truth, LEVER, METRICS)[0].verdict is not Verdict.WORSE
    assert not standing_out(missed, 1 - statistics.POWER, campaigns)


def test_an_arm_noisier_than_the_control_fools_no_certificate():
    source, campaigns = random.Random(9), 150
    found = [effects(campaign(source, 6, spread=2.5), LEVER, METRICS) for _ in range(campaigns)]
    alarms = sum(any(effect.verdict in CALLED for effect in arm) for arm in found)
    assert not standing_out(alarms, statistics.ALPHA, campaigns)


@pytest.mark.parametrize("blocks", [3, 6])
def test_the_interval_holds_its_error(blocks):
    source = random.Random(7)
    missed = 0
    for _ in range(1500):
        samples = campaign(source, blocks, drift=0.1, effects={FIRST.key: math.log(1.1)})
        found = estimate(log_ratios(samples, FIRST.key, LEVER, *arms(0)))
        missed += not found.low <= math.log(1.1) <= found.high
    assert 0.03 <= missed / 1500 <= 0.07


def test_with_many_blocks_the_interval_is_that_of_a_permutation_test():
    source = random.Random(4)
    values = [source.gauss(0.05, 0.03) for _ in range(PERMUTATION_BLOCKS)]
    found, student = estimate(values), estimate(values[:-1])
    assert found == estimate(values)  # the same blocks, the same interval
    assert found.low < found.mean < found.high
    assert found.high - found.low == pytest.approx(student.high - student.low, rel=0.4)
    assert found.low == pytest.approx(2 * found.mean - found.high, abs=0.01)


def test_one_block_far_off_widens_the_interval_on_its_side():
    found = estimate([0.05] * 11 + [0.9])
    assert found.low < 0.06
    assert 0.2 < found.high < 0.9


@pytest.mark.parametrize(("ratio", "verdict"), [(1.3, Verdict.WORSE), (1 / 1.3, Verdict.BETTER)])
def test_a_large_effect_is_called_with_six_blocks_in_its_direction(ratio, verdict):
    source = random.Random(6)
    truth = {FIRST.key: math.log(ratio)}
    found = [effects(campaign(source, 6, effects=truth), LEVER, METRICS)[0].verdict for _ in range(100)]
    assert found.count(verdict) >= 95
    assert set(found) <= {verdict, Verdict.INCONCLUSIVE}


def test_a_metric_of_which_more_is_better_turns_the_verdict():
    samples = rows(glibc=[2, 2.01, 2], again=[2, 2, 2.01], jemalloc=[3, 3.01, 3])
    assert [effects(samples, "jemalloc", [metric])[0].verdict for metric in (LATENCY, RATE)] == ["worse", "better"]


def test_more_blocks_see_smaller_effects():
    precision = Precision(3, 8, 0.02)
    blocks = precision.blocks_for(0.1)
    assert 3 < blocks < MOST_BLOCKS
    assert statistics._detectable(0.02 * math.sqrt(3 / blocks), blocks, 8) <= 0.1
    assert statistics._detectable(0.02 * math.sqrt(3 / (blocks - 1)), blocks - 1, 8) > 0.1
    assert precision.blocks_for(1.0) == 3
    assert precision.blocks_for(LOG_THRESHOLD) is None  # what nobody acts on is never called


def test_an_effect_that_the_noise_of_the_controls_hides_is_not_promised():
    glibc, again = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0], [1.0, 1.02, 0.98, 1.01, 2.0, 1.0]
    both = [math.sqrt(one * other) for one, other in zip(glibc, again, strict=True)]
    arm = [value * factor for value, factor in zip(both, (0.95, 0.96, 0.94, 0.95, 0.96, 0.95), strict=True)]
    found = effects(rows(glibc=glibc, again=again, jemalloc=arm), "jemalloc", [LATENCY])[0]
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "within the noise" in found.why
    assert found.detectable > found.noise
    assert found.precision.blocks_for(abs(found.estimate.mean)) is None  # more than anybody runs


def test_a_campaign_without_noise_sees_what_counts():
    assert Precision(3, 8, 0.0).detectable == LOG_THRESHOLD


def test_blocks_are_compared_with_themselves_and_repeats_are_averaged():
    samples = rows(glibc=[1, 10], jemalloc=[2, 20])
    samples.append({"arm": "jemalloc", "block": 0, "gen_latency_s": 8})
    samples.append({"arm": "jemalloc", "block": 7, "gen_latency_s": 1})  # its control never ran
    assert log_ratios(samples, "gen_latency_s", "jemalloc", "glibc") == pytest.approx([math.log(4), math.log(2)])


def test_a_time_of_zero_is_left_out():
    assert log_ratios(rows(glibc=[0, 1], jemalloc=[1, 1]), "gen_latency_s", "jemalloc", "glibc") == [0]


def test_one_block_is_inconclusive_in_a_sentence():
    (found,) = effects(rows(glibc=[2], again=[2], jemalloc=[1]), "jemalloc", [LATENCY])
    assert (found.verdict, found.estimate.low) == (Verdict.INCONCLUSIVE, None)
    assert found.why == "1 of the 2 blocks that an interval needs have both arms"


def test_both_controls_of_a_block_are_what_an_arm_is_held_against():
    samples = rows(glibc=[1, 1], again=[4, 4], jemalloc=[2, 4])
    assert log_ratios(samples, "gen_latency_s", "jemalloc", *arms(0)) == pytest.approx([0, math.log(2)])


def test_an_effect_inside_the_noise_is_not_called():
    samples = rows(glibc=[2, 2, 2, 2], again=[3, 1.4, 2.9, 1.5], jemalloc=[1.5, 1.02, 1.48, 1.05])
    (found,) = effects(samples, "jemalloc", [LATENCY])
    assert found.estimate.high < 0
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.why.startswith("the effect is within the noise (")


def test_without_a_second_control_nothing_is_called():
    (found,) = effects(rows(glibc=[2, 2.01, 2], jemalloc=[1, 1.01, 1]), "jemalloc", [LATENCY])
    assert (found.verdict, found.noise) == (Verdict.INCONCLUSIVE, None)


@pytest.mark.parametrize(
    ("jemalloc", "verdict", "why"),
    [
        ([2.02, 2.021, 2.02], Verdict.NO_DIFFERENCE, "the whole interval lies within ±3 %"),
        ([2.0, 2.08, 1.96], Verdict.INCONCLUSIVE, "the interval includes 0; with 3 blocks only "),
        ([2.05, 2.051, 2.06], Verdict.INCONCLUSIVE, "the effect is below 3 %; with 3 blocks only "),
    ],
)
def test_no_difference_has_to_be_earned(jemalloc, verdict, why):
    samples = rows(glibc=[2, 2, 2], again=[2, 2.002, 2], jemalloc=jemalloc)
    (found,) = effects(samples, "jemalloc", [LATENCY])
    assert found.verdict is verdict
    assert found.why.startswith(why)


@pytest.mark.parametrize("blocks", [3, 12])
def test_equal_values_give_an_interval_of_no_width(blocks):
    found = estimate([0.0] * blocks)
    assert (found.low, found.high) == (0, 0)


def test_a_lever_that_was_not_pulled_gets_no_effect():
    samples = rows(glibc=[2, 2], again=[2, 2], jemalloc=[1, 1])
    samples[-1]["engaged"] = False
    (found,) = effects(samples, "jemalloc", [LATENCY])
    assert (found.verdict, found.estimate.mean) == (Verdict.NOT_ENGAGED, None)
    assert found.why == "jemalloc was in use in 1 of 2 processes"
    assert found.detectable is None


def test_a_lever_that_leaves_no_trace_is_judged_by_its_figures():
    samples = rows(glibc=[2, 2.01, 2], again=[2, 2, 2.01], **{"pinned-register": [1, 1.01, 1]})
    samples = [{**row, "engaged": None if row["arm"].startswith("pinned") else True} for row in samples]
    assert effects(samples, "pinned-register", [LATENCY])[0].verdict is Verdict.BETTER


def test_what_was_not_measured_is_not_judged():
    samples = [{**row, "pin_s": None, "rss_mb": "many"} for row in rows(glibc=[2], again=[2], jemalloc=[1])]
    assert [effect.metric.key for effect in effects(samples, "jemalloc")] == ["gen_latency_s"]
    assert PINNING in ALLOCATOR_METRICS


def test_a_control_with_another_allocator_is_none():
    samples = rows(glibc=[2, 2], again=[2, 2], jemalloc=[1, 1])
    samples[0]["engaged"] = False
    (found,) = effects(samples, "jemalloc", [LATENCY])
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.why.startswith("glibc is no control")


def test_noise_is_how_far_the_means_of_equal_arms_can_lie_apart():
    two = noise_floor(rows(glibc=[1, 1], again=[2, 0.5]), "gen_latency_s")
    assert two == pytest.approx(4.303 * math.log(2) / math.sqrt(2), rel=1e-3)  # Student with two degrees of freedom
    assert noise_floor(rows(glibc=[1] * 8, again=[2, 0.5] * 4), "gen_latency_s") < two / 2
    assert noise_floor(rows(glibc=[1], jemalloc=[1]), "gen_latency_s") is None


def test_holm_adjusts_in_the_order_given():
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])


def test_looking_at_many_metrics_asks_for_more():
    near = [0.10, 0.16, 0.05, 0.12, 0.01, 0.14]  # p is about 0.02: enough alone, not among nine
    samples = rows(glibc=[1.0] * 6, again=[1.001] * 6, jemalloc=[math.exp(value) for value in near])
    samples = [{**row, **{f"m{n}_s": 1.0 for n in range(8)}} for row in samples]
    others = [Metric(f"m{n}_s", "other") for n in range(8)]
    assert effects(samples, "jemalloc", [LATENCY])[0].verdict is Verdict.WORSE
    crowded = effects(samples, "jemalloc", [LATENCY, *others])[0]
    assert crowded.verdict is Verdict.INCONCLUSIVE
    assert "Holm" in crowded.why


def test_an_interval_too_wide_for_a_float_stays_a_number():
    assert math.isfinite(statistics.percent(1e6))
