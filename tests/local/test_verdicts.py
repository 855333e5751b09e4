"""Verdicts on real processes: one that is slower is called worse, two that are the same are called nothing."""

import time

from probe_agent.arms import A_A, CONTROL
from probe_agent.engines import fresh
from probe_agent.probes import campaign
from probe_agent.spec import PROFILES
from reports import metrics, statistics
from reports.statistics import CALLED, Verdict

SLOW_BY = {CONTROL: 0.0, A_A: 0.0, "same": 0.0, "slowed": 0.15}


def test_a_slowdown_of_15_percent_is_called_worse_and_equal_arms_are_not_called_anything():
    blocks = campaign.blocks(tuple(SLOW_BY), PROFILES["certify"], seed=1)
    rows = [
        {"arm": arm, "block": number, "engaged": True, metrics.FIRST_GENERATION.key: _seconds(SLOW_BY[arm])}
        for number, block in enumerate(blocks)
        for arm in block
    ]
    (slowed,), (same,) = (statistics.effects(rows, arm) for arm in ("slowed", "same"))
    assert slowed.verdict == Verdict.WORSE, slowed
    assert same.verdict not in CALLED, same


def _seconds(slow_by):
    campaign.settle(campaign.PATIENCE_S)
    done = fresh.run("tests.local.slowed_child", {"slow_by": slow_by}, {}, time.monotonic() + 60)
    return done.reply["took_s"]
