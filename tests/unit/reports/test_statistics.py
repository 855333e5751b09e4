"""Verdicts on campaigns whose truth is known: simulated with drift, and a few by hand."""

import math
import random

import pytest

from reports import statistics
from reports.statistics import Metric, Verdict, effects, estimate, holm, log_ratios, noise_floor

LATENCY = Metric("gen_latency_s", "first generation")
RATE = Metric("gen_latency_s", "rate", lower_is_better=False)
CALLED = (Verdict.BETTER, Verdict.WORSE)


def campaign(source, blocks, ratio, noise=0.03, drift=0.3, arms=("glibc", "glibc-again", "jemalloc")):
    """Processes of a machine that slows down by `drift` from first to last, as the allocator probe runs them."""
    rows = []
    for block in range(blocks):
        for arm in source.sample(arms, len(arms)):
            slower = 1 + drift * len(rows) / (blocks * len(arms))
            value = 2.0 * slower * (ratio if arm == "jemalloc" else 1) * math.exp(source.gauss(0, noise))
            rows.append({"arm": arm, "block": block, "gen_latency_s": value, "engaged": True})
    return rows


def verdicts(blocks, ratio, campaigns, metric=LATENCY, **more):
    source = random.Random(6)
    return [effects(campaign(source, blocks, ratio, **more), "jemalloc", [metric])[0].verdict for _ in range(campaigns)]


def rows(**values):
    """One process per arm and block: `rows(glibc=[2, 2], jemalloc=[1, 1])`; `again` is the A/A control."""
    return [
        {"arm": arm.replace("again", "glibc-again"), "block": block, "gen_latency_s": value, "engaged": True}
        for arm, found in values.items()
        for block, value in enumerate(found)
    ]


@pytest.mark.parametrize("blocks", [3, 6])
def test_equal_arms_are_rarely_called_different_while_the_machine_drifts(blocks):
    found = verdicts(blocks, 1.0, campaigns=1000)
    assert sum(verdict in CALLED for verdict in found) <= 60


@pytest.mark.parametrize("blocks", [3, 6])
def test_the_interval_holds_its_error(blocks):
    source = random.Random(7)
    missed = 0
    for _ in range(1500):
        differences = log_ratios(campaign(source, blocks, 1.1, drift=0.1), "gen_latency_s", "jemalloc", "glibc")
        found = estimate(differences)
        missed += not found.low <= math.log(1.1) <= found.high
    assert 0.03 <= missed / 1500 <= 0.07


@pytest.mark.parametrize(("ratio", "verdict"), [(1.2, Verdict.WORSE), (1 / 1.2, Verdict.BETTER)])
def test_a_large_effect_is_called_with_six_blocks_in_its_direction(ratio, verdict):
    found = verdicts(6, ratio, campaigns=200)
    assert found.count(verdict) >= 190
    assert set(found) <= {verdict, Verdict.INCONCLUSIVE}


def test_a_metric_of_which_more_is_better_turns_the_verdict():
    assert verdicts(6, 1.5, campaigns=20, metric=RATE) == [Verdict.BETTER] * 20


@pytest.mark.parametrize("blocks", [3, 6])
def test_the_smallest_detectable_effect_is_seen_with_the_promised_power(blocks):
    spread = 0.03 * math.sqrt(2)  # of the difference of two processes
    effect = statistics._noncentrality(blocks) * spread / math.sqrt(blocks)
    source = random.Random(8)
    found = [estimate([source.gauss(effect, spread) for _ in range(blocks)]) for _ in range(2000)]
    assert sum(one.low > 0 for one in found) / 2000 == pytest.approx(statistics.POWER, abs=0.03)


@pytest.mark.parametrize(
    ("number", "percent", "found"),
    [(19, 95, None), (20, 95, 18.05), (99, 99, None), (100, 99, 98.01), (1000, 95, 949.05), (0, 95, None)],
)
def test_a_percentile_needs_a_value_beyond_it(number, percent, found):
    values = random.Random(1).sample(range(number), number)
    assert statistics.percentile(values, percent) == (None if found is None else pytest.approx(found))


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


def test_an_effect_inside_the_noise_is_not_called():
    samples = rows(glibc=[2, 2, 2, 2], again=[3, 1.4, 2.9, 1.5], jemalloc=[1.8, 1.81, 1.79, 1.8])
    (found,) = effects(samples, "jemalloc", [LATENCY])
    assert found.estimate.high < 0
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.why.startswith("the effect is within the noise: the control differs from itself by ")


def test_without_a_second_control_nothing_is_called():
    (found,) = effects(rows(glibc=[2, 2.01, 2], jemalloc=[1, 1.01, 1]), "jemalloc", [LATENCY])
    assert (found.verdict, found.noise) == (Verdict.INCONCLUSIVE, None)


def test_a_small_effect_is_no_difference_where_three_per_cent_would_show():
    samples = rows(glibc=[2, 2, 2], again=[2, 2.002, 2], jemalloc=[2.02, 2.021, 2.02])
    assert effects(samples, "jemalloc", [LATENCY])[0].verdict is Verdict.NO_DIFFERENCE


@pytest.mark.parametrize("blocks", [3, 12])
def test_equal_values_give_an_interval_of_no_width(blocks):
    found = estimate([0.0] * blocks)
    assert (found.low, found.high) == (0, 0)


def test_a_lever_that_was_not_pulled_gets_no_effect():
    samples = rows(glibc=[2, 2], again=[2, 2], jemalloc=[1, 1])
    samples[-1]["engaged"] = False
    (found,) = effects(samples, "jemalloc", [LATENCY])
    assert (found.verdict, found.estimate.mean) == (Verdict.NOT_ENGAGED, None)
    assert found.why == "jemalloc was in use in only 1 of 2 processes"


def test_a_control_with_another_allocator_is_none():
    samples = rows(glibc=[2, 2], again=[2, 2], jemalloc=[1, 1])
    samples[0]["engaged"] = False
    (found,) = effects(samples, "jemalloc", [LATENCY])
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.why.startswith("glibc is no control")


def test_noise_is_the_spread_of_the_control_against_itself():
    assert noise_floor(rows(glibc=[1, 1], again=[2, 0.5]), "gen_latency_s") == pytest.approx(math.log(2))


def test_holm_adjusts_in_the_order_given():
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])


def test_looking_at_many_metrics_asks_for_more():
    near = [0.10, 0.16, 0.05, 0.12]  # p is about 0.02: enough alone, not among eight
    samples = rows(glibc=[1.0] * 4, again=[1.001] * 4, jemalloc=[math.exp(value) for value in near])
    samples = [{**row, **{f"m{n}_s": 1.0 for n in range(8)}} for row in samples]
    others = [Metric(f"m{n}_s", "other") for n in range(8)]
    assert effects(samples, "jemalloc", [LATENCY])[0].verdict is Verdict.WORSE
    crowded = effects(samples, "jemalloc", [LATENCY, *others])[0]
    assert crowded.verdict is Verdict.INCONCLUSIVE
    assert "Holm" in crowded.why


def test_an_interval_too_wide_for_a_float_stays_a_number():
    assert math.isfinite(statistics.percent(1e6))
