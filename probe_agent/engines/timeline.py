"""What a server's memory did over time: readings, the phases they fall in, and the jumps among them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

JUMP_MB = 64
WINDOW_S = 1.0


class Reading(NamedTuple):
    """`at_s` counts from the spawn; None where something was not read."""

    at_s: float
    gpu_mb: float | None
    gpu_utilization_percent: float | None
    pss_mb: float | None


@dataclass(frozen=True)
class Phase:
    at_s: float
    phase: str


@dataclass(frozen=True)
class Jump:
    """A sudden change, from `from_mb` to `to_mb` within `took_s`; `what` is gpu or pss."""

    what: str
    phase: str
    at_s: float
    took_s: float
    from_mb: float
    to_mb: float


@dataclass(frozen=True)
class Timeline:
    rows: tuple[Reading, ...]
    phases: tuple[Phase, ...]

    @property
    def ended(self) -> bool:
        """Tell whether the last process of the server is gone."""
        return any(phase.phase == "gone" for phase in self.phases)

    @property
    def gpu_mb(self) -> dict[str, float | None] | None:
        """Return before the spawn, min, max and after the end (None until then). None without a GPU."""
        used = [(row.at_s, row.gpu_mb) for row in self.rows if row.gpu_mb is not None]
        if not used:
            return None
        before = [mb for at_s, mb in used if at_s <= 0]
        amounts = [mb for _, mb in used]
        return {
            "before": before[-1] if before else None,
            "min": min(amounts),
            "max": max(amounts),
            "after": amounts[-1] if self.ended else None,
        }

    @property
    def pss_mb(self) -> dict[str, float]:
        return {"max": max((row.pss_mb for row in self.rows if row.pss_mb is not None), default=0.0)}

    def gpu_back(self) -> bool | None:
        """Tell whether the GPU's memory is as free as before. None without a GPU, or while the server lives."""
        gpu = self.gpu_mb
        if gpu is None or gpu["before"] is None or gpu["after"] is None:
            return None
        return gpu["after"] <= gpu["before"] + JUMP_MB

    def jumps(self) -> list[Jump]:
        """Return where memory moved by 64 MiB or more within a second, or from one reading to the next.

        Moves the same way that follow each other within a second are one jump in each phase that they moved 64 MiB in;
        the phase is that of the reading which shows the move. What changes more slowly is gradual, and no jump.
        """
        gpu = [(row.at_s, row.gpu_mb) for row in self.rows if row.gpu_mb is not None]
        pss = [(row.at_s, row.pss_mb) for row in self.rows if row.pss_mb is not None]
        found = [*_jumps("gpu", gpu, self.phases), *_jumps("pss", pss, self.phases)]
        return sorted(found, key=lambda jump: jump.at_s)

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": [list(row) for row in self.rows],
            "phases": [{"at_s": phase.at_s, "phase": phase.phase} for phase in self.phases],
        }


def from_lines(text: str, marks: list[tuple[float, str]], spawned_at: float) -> Timeline:
    """Return the timeline of a keeper's lines; `marks` are phases that the agent named. A cut last line is left out."""
    rows, phases = [], list(marks)
    for line in text.splitlines(keepends=True):
        if not line.endswith("\n"):
            break
        entry = json.loads(line)
        if isinstance(entry, dict):
            phases.append((entry["at"], entry["phase"]))
        else:
            rows.append(Reading(round(entry[0] - spawned_at, 3), *entry[1:]))
    named = tuple(Phase(round(at - spawned_at, 3), phase) for at, phase in sorted(phases))
    return Timeline(tuple(rows), named)


def _jumps(what: str, points: list[tuple[float, float]], phases: tuple[Phase, ...]) -> list[Jump]:
    moves: list[tuple[int, str, list[int]]] = []
    for number, direction in sorted(_sudden(points).items()):
        phase = _phase_at(points[number][0], phases)
        if moves and moves[-1][:2] == (direction, phase) and moves[-1][2][-1] == number - 1:
            moves[-1][2].append(number)
        else:
            moves.append((direction, phase, [number]))
    jumps = [
        Jump(
            what,
            phase,
            at_s=points[steps[0]][0],
            took_s=round(points[steps[-1]][0] - points[steps[0] - 1][0], 3),
            from_mb=points[steps[0] - 1][1],
            to_mb=points[steps[-1]][1],
        )
        for _, phase, steps in moves
    ]
    return [jump for jump in jumps if abs(jump.to_mb - jump.from_mb) >= JUMP_MB]


def _sudden(points: list[tuple[float, float]]) -> dict[int, int]:
    """Return the readings that belong to a sudden change, by number, with its direction (1 or -1)."""
    found = {}
    for first in range(1, len(points)):
        began_s, from_mb = points[first - 1]
        direction = _direction(points, first)
        for last in range(first, len(points)):
            step = _direction(points, last)
            if not direction or step == -direction or (last > first and points[last][0] - began_s > WINDOW_S):
                break
            if step and abs(points[last][1] - from_mb) >= JUMP_MB:
                found.update(dict.fromkeys(range(first, last + 1), direction))
    return found


def _direction(points: list[tuple[float, float]], number: int) -> int:
    """Return which way this reading went from the one before; less than 1 MiB is no way."""
    change = points[number][1] - points[number - 1][1]
    return 0 if abs(change) < 1 else 1 if change > 0 else -1


def _phase_at(at_s: float, phases: tuple[Phase, ...]) -> str:
    return next((phase.phase for phase in reversed(phases) if phase.at_s <= at_s), "")
