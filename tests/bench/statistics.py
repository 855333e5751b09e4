"""How often the verdicts are wrong: false alarms on equal arms, and power at the smallest effect that is printed.

python tests/bench/statistics.py [campaigns]. Each line is that many simulated campaigns of two controls and five arms
with eight metrics each. An alarm is false when any metric of an arm is called; the power is that of one metric alone,
in a campaign after the one that printed the effect.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:1] = [str(ROOT), str(ROOT / "tests")]  # this folder goes: its statistics.py is not Python's

import random  # noqa: E402
from statistics import median  # noqa: E402

from campaigns import LEVER, METRICS, arms, campaign  # noqa: E402

from reports.statistics import ALPHA, CALLED, POWER, Verdict, effects, percent  # noqa: E402

RAN = arms(5)


def line(blocks: int, noise: float, drift: float, spread: float, campaigns: int) -> str:
    source = random.Random(f"{blocks} {noise} {drift} {spread}")
    calls = alarms = anywhere = hits = 0
    printed = []
    for _ in range(campaigns):
        equal = campaign(source, blocks, noise=noise, drift=drift, ran=RAN, spread=spread)
        found = {arm: effects(equal, arm, METRICS) for arm in RAN[2:]}
        called = {arm: sum(effect.verdict in CALLED for effect in found[arm]) for arm in found}
        calls, alarms, anywhere = calls + called[LEVER], alarms + (called[LEVER] > 0), anywhere + any(called.values())
        smallest = found[LEVER][0].detectable or 0.0
        printed.append(smallest)
        truth = {METRICS[0].key: smallest}
        slower = campaign(source, blocks, noise=noise, drift=drift, ran=RAN, spread=spread, effects=truth)
        hits += effects(slower, LEVER, METRICS)[0].verdict is Verdict.WORSE
    rates = (calls / len(METRICS), alarms, anywhere, hits)
    shown = "  ".join(f"{100 * rate / campaigns:9.1f}" for rate in rates)
    middle = percent(median(printed))
    return f"{blocks:6}  {100 * noise:7.0f}  {100 * drift:7.0f}  {spread:8.0f}  {shown}  {middle:12.1f}"


def main() -> None:
    campaigns = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print(f"{campaigns} campaigns a line, in per cent. Wanted: at most {100 * ALPHA:g} of arms, power {100 * POWER:g}.")
    print(
        f"{'false alarms of':>64}\nblocks    noise    drift  arm's sd     metric        arm  any of 5      power  ",
        end="",
    )
    print("smallest effect")
    for blocks in (3, 6):
        for noise in (0.01, 0.03, 0.1):
            for drift, spread in ((0.0, 1.0), (0.3, 1.0), (0.3, 2.0)):
                print(line(blocks, noise, drift, spread, campaigns), flush=True)


if __name__ == "__main__":
    main()
