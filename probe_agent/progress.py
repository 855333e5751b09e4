"""Where a run stands, in a small file that others read while it goes on, and as a line for a person."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import time
from pathlib import Path
from typing import Any

from .renewed import renewed

# What `line` writes.
LINE = re.compile(r"(?P<host>.+?): (?P<phase>\w+) (?P<number>\d+)/(?P<phases>\d+)(, (?P<doing>.+))?")
LIMIT_BYTES = 8192  # what is read of a node's file
LONGEST_MESSAGE = 120
ALIKE = 2.0  # steps of which the longest takes at most so many times the shortest tell of those to come
MINUTES_FROM_S = 120
LONGEST_S = 1e6  # no run is that long, whatever a node says


class Progress:
    """Phases in a known order, each with steps; every step renews the file.

    An estimate rests on what was seen, or is None. `phase_left_s` is what is left of the time that the phase took in
    an earlier run of the same `kind` in the same folder; without one, the steps to come are taken for as long as those
    done, once two of them are done and took about the same. `left_s` adds what the later phases took then. Neither is
    below nothing: what takes longer than it should is not about to end, it is unknown.

    Whatever writes the file raises NotKept where that cannot be done.
    """

    def __init__(self, path: Path, phases: tuple[str, ...], kind: str) -> None:
        self.path, self.phases, self.kind = path, list(phases), kind
        self._began = time.monotonic()
        self._phase, self._steps, self._phase_began, self._step_began = phases[0], 1, self._began, []
        self._took_s = earlier(path, kind)
        self._write(self._phase)

    def leave_out(self, names: set[str]) -> None:
        """Take out phases that will not come."""
        self.phases = [name for name in self.phases if name not in names]

    def phase(self, name: str, steps: int = 1) -> None:
        self._close_phase()
        self._phase, self._steps, self._phase_began, self._step_began = name, steps, time.monotonic(), []
        self._write(name)

    def expect(self, steps: int) -> None:
        self._steps = steps

    def step(self, message: str) -> None:
        """Say what is measured now; what was said before it is done."""
        self._step_began.append(time.monotonic())
        self._write(message)

    def finish(self) -> None:
        """Say that nothing more comes, however the run ended."""
        self._close_phase()
        self._write(self._phase, finished=True)

    def _close_phase(self) -> None:
        self._took_s[self._phase] = round(time.monotonic() - self._phase_began, 1)

    def _phase_left_s(self, now: float) -> float | None:
        if self._phase in self._took_s:
            left_s = self._took_s[self._phase] - (now - self._phase_began)
        else:
            durations = [end - begin for begin, end in itertools.pairwise(self._step_began)]
            if len(durations) < 2 or max(durations) > ALIKE * min(durations):
                return None
            left_s = sum(durations) / len(durations) * (self._steps - len(durations))
        return left_s if left_s > 0 else None

    def _write(self, message: str, finished: bool = False) -> None:
        now = time.monotonic()
        number = self.phases.index(self._phase)
        phase_left_s = self._phase_left_s(now)
        later = [self._took_s.get(name) for name in self.phases[number + 1 :]]
        left_s = None if phase_left_s is None or None in later else phase_left_s + sum(later)
        state = {
            "pid": os.getpid(),
            "kind": self.kind,
            "phases": self.phases,
            "phase": self._phase,
            "phase_number": number + 1,
            "step": min(max(1, len(self._step_began)), self._steps),
            "steps": self._steps,
            "message": message,
            "elapsed_s": round(now - self._began, 1),
            "phase_left_s": None if phase_left_s is None else round(phase_left_s, 1),
            "left_s": None if left_s is None else round(left_s, 1),
            "took_s": self._took_s,
            "finished": finished,
        }
        with renewed(self.path) as fresh:
            fresh.write_text(json.dumps(state))


def earlier(path: Path, kind: str) -> dict[str, float]:
    """Return the seconds that each phase took in the run which left `path`; nothing of a run of another kind."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        state = json.loads(path.read_text())
        if state["kind"] == kind:
            return {str(name): float(seconds) for name, seconds in state["took_s"].items()}
    return {}


def read(host: str, text: str) -> str:
    """Return the line of a file as a node has it, nothing once its run is over or where it is no progress."""
    try:
        state = json.loads(text)
        return "" if state["finished"] else line(host, state)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return ""


def line(host: str, state: dict[str, Any]) -> str:
    """Return `node7: serving 2/3, cold start 1 of 1, about 40 s left`.

    The state may come from any node: what is no progress raises KeyError, TypeError or ValueError.
    """
    message = "".join(letter if letter.isprintable() else " " for letter in str(state["message"])[:LONGEST_MESSAGE])
    phase, number, phases = str(state["phase"]), int(state["phase_number"]), len(state["phases"])
    whole_s, phase_s = state["left_s"], state["phase_left_s"]
    left = _left(whole_s) if whole_s is not None else _left(phase_s, f" of {phase}") if phase_s is not None else ""
    doing = "" if message == phase else f", {message}"
    text = f"{host}: {phase} {number}/{phases}{doing}{left}"
    if not LINE.fullmatch(text):
        raise ValueError("this is no progress")
    return text


def _left(seconds: float, of: str = "") -> str:
    """Return an estimate in words; nothing where it would say that what still runs is over."""
    if not 1 <= seconds < LONGEST_S:
        return ""
    shown = f"{seconds:.0f} s" if seconds < MINUTES_FROM_S else f"{seconds / 60:.0f} min"
    return f", about {shown} left{of}"
