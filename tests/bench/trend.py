"""How often a trend is called where there is none, and how soon a real change is.

python tests/bench/trend.py [series]. Each line is that many simulated figures, judged at twenty reruns one after
another. An alarm of a node is one of any of its FIGURES figures in any of the twenty, worse or better, were they
independent. Found: within 1, 2, 3 and 5 reruns after a figure got worse for good.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)  # this folder goes: its statistics.py is not Python's

from reports.trend import Point, Verdict, judge  # noqa: E402

FIGURES = 40
RERUNS = 20
WITHIN = (1, 2, 3, 5)


def normal(source: random.Random) -> Iterator[float]:
    while True:
        yield source.gauss(0, 1)


def outliers(source: random.Random) -> Iterator[float]:
    """One run in twenty was disturbed: three times the noise."""
    while True:
        yield source.gauss(0, 3 if source.random() < 0.05 else 1)


def days(source: random.Random) -> Iterator[float]:
    """A run takes a third of what it is off by from the run before."""
    last = source.gauss(0, 1)
    while True:
        yield last
        last = last / 3 + source.gauss(0, math.sqrt(1 - 1 / 9))


def series(source: random.Random, kind: str, noise: float, n: int, step: float = 0.0) -> list[Point]:
    """`n` runs as they were, then RERUNS more that are `step` slower."""
    values = {"normal": normal, "outliers": outliers, "days": days}[kind](source)
    logs = [noise * next(values) + (math.log1p(step) if number >= n else 0) for number in range(n + RERUNS)]
    return [Point(f"r{number}", "", math.exp(value)) for number, value in enumerate(logs)]


def called(points: list[Point], n: int, reruns: int) -> list[Verdict]:
    return [judge("load_s", points[:at], points[at], True).verdict for at in range(n, n + reruns)]


def line(kind: str, noise: float, n: int, wanted: int) -> str:
    source = random.Random(f"{kind} {noise} {n}")
    alarms = quiet = 0
    for _ in range(wanted):
        found = [verdict is not Verdict.STEADY for verdict in called(series(source, kind, noise, n), n, RERUNS)]
        alarms += sum(found)
        quiet += not any(found)
    node = 1 - (quiet / wanted) ** FIGURES
    shown = [f"{100 * alarms / wanted / RERUNS:10.3f}  {100 * (1 - quiet / wanted):8.2f}  {100 * node:7.1f}"]
    for step in (0.15, 0.3):
        tried = max(1, wanted // 5)
        runs = [called(series(source, kind, noise, n, step), n, max(WITHIN)) for _ in range(tried)]
        hits = [sum(Verdict.WORSE in verdicts[:within] for verdicts in runs) for within in WITHIN]
        shown.append(" ".join(f"{100 * hit / tried:5.0f}" for hit in hits))
    return f"{kind:>8}  {100 * noise:5.0f}  {n:4}  {'    '.join(shown)}"


def main() -> None:
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print(f"{wanted} series a line, in per cent.")
    print(f"{'false alarms of':>49}{'found +15 % within':>29}{'found +30 % within':>27}")
    print("   noise          n  each rerun  20 reruns     node        1     2     3     5        1     2     3     5")
    for kind in ("normal", "outliers", "days"):
        for noise in (0.03, 0.05, 0.1):
            for n in (5, 10, 20, 40):
                print(line(kind, noise, n, wanted), flush=True)


if __name__ == "__main__":
    main()
