"""Arms against a control, in blocks of random order: what every comparison on a node goes by.

Each block runs every arm once, but those of which processes have shown that nothing here uses their lever. The control
stands in it twice: what the two differ by is this node's noise. Before each sample the node may settle for some
seconds; what it was doing meanwhile is in the sample's row. A setting of the whole node is changed for the length of
its sample only, with a journal and a guard to put it back.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..arms import A_A, ARMS, CONTROL, Arm, Stack
from ..engines.guard import Guard
from ..host import knobs, loans, pressure, snapshot
from ..host.proof import Proof

# A sample begins when tasks have waited for a CPU in less than this share of a slice, or after this many seconds:
# a node that is never calm is measured as it is. All waiting together may take a share of what the processes took.
CALM_SHARE, SLICE_S, PATIENCE_S, WAITING_SHARE = 0.1, 0.1, 2.0, 0.02
TRIED = 2  # processes that did not use their arm's lever, after which no more of them are run


@dataclass(frozen=True)
class Plan:
    """The arms this node can run, controls first, and why it cannot run the others."""

    arms: tuple[Arm, ...]
    skipped: dict[str, str]


@dataclass(frozen=True)
class Sample:
    """One process of an arm: its row, and what it showed while it lived."""

    arm: Arm
    row: dict[str, Any]
    proof: Proof


def plan(names: tuple[str, ...], stack: Stack, root: Path = Path("/")) -> Plan:
    lacks = {name: ARMS[name].lacks(root, stack) for name in names}
    runs = (CONTROL, A_A, *(name for name, reason in lacks.items() if not reason))
    return Plan(tuple(ARMS[name] for name in runs), {name: reason for name, reason in lacks.items() if reason})


def blocks(arms: tuple[Arm, ...], count: int, seed: int) -> list[list[Arm]]:
    """Return the order of the arms in each block, drawn from the seed."""
    order = random.Random(seed)
    return [order.sample(arms, len(arms)) for _ in range(count)]


def judge(sample: Sample) -> None:
    """Write into the row of a sample whether its process used the lever."""
    sample.row["engaged"] = not sample.row["left"] and sample.arm.engaged(sample.proof)


def promising(arm: Arm, rows: Sequence[dict[str, Any]]) -> bool:
    """Tell whether another process of an arm may show something, from the judged rows of earlier blocks.

    A setting that somebody changed during a sample says nothing of the lever.
    """
    tried = [row["engaged"] for row in rows if row["arm"] == arm.name and not row["left"]]
    return arm.name in (CONTROL, A_A) or len(tried) < TRIED or any(engaged is not False for engaged in tried)


def patience(worked_s: float, waited_s: float) -> float:
    """Return how long the next sample may wait, after processes that took `worked_s` and waits of `waited_s`.

    A node that is calm as a rule has saved enough for the moment when it is not; one that never is wastes little.
    """
    return max(0.0, min(PATIENCE_S, PATIENCE_S + WAITING_SHARE * worked_s - waited_s))


def settle(patience_s: float) -> bool:
    """Wait until the node is calm, one slice or `patience_s`, and tell whether it is."""
    latest = time.monotonic() + patience_s
    while True:
        before, began = pressure.read(), time.monotonic()
        time.sleep(SLICE_S)
        now = time.monotonic()
        if pressure.waiting_share(before, pressure.read(), now - began) < CALM_SHARE:
            return True
        if now >= latest:
            return False


class Loans:
    """Settings of the whole node, changed for the length of a sample. The guard starts with the first."""

    def __init__(self, state_dir: Path) -> None:
        self.file = loans.journal(state_dir)
        self._guard: Guard | None = None

    def __enter__(self) -> Loans:
        return self

    def __exit__(self, *_: object) -> None:
        if self._guard:
            self._guard.dismiss()

    @contextmanager
    def of(self, arm: Arm) -> Iterator[list[str]]:
        """Hold the arm's settings. The list yielded takes a sentence for each that somebody else changed meanwhile.

        Raises ValueError where the kernel does not take one.
        """
        left: list[str] = []
        if not arm.settings:
            yield left
            return
        self._guard = self._guard or Guard(self.file)
        wanted = ((f"arm {arm.name}", knobs.read(path), value) for path, value in arm.settings.items())
        changes = [change for each in wanted if (change := knobs.plan(*each))]
        try:
            snapshot.apply(changes, file=self.file)
            yield left
            left += [
                f"/{change.path} is {change.before} again: somebody set it back" for change in changes if undone(change)
            ]
        finally:
            left += loans.give_back(self.file)


def undone(change: knobs.Change) -> bool:
    """Tell whether the setting is no longer what the change made it, but what it was before."""
    found = knobs.read(change.path)
    return found is not None and found.value == change.before
