"""Where a run stands, in a small file that others read while it goes on, and as a line for a person."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from pathlib import Path
from typing import Any

# What `line` writes.
LINE = re.compile(r".+: \w+ \d+/\d+(, .+)?")
LONGEST_MESSAGE = 120


class Progress:
    """Phases in a known order, each with steps; every step renews the file.

    `phase_left_s` takes each step to come for as long as those of the phase that are done, on average. `left_s` adds
    what the later phases took in an earlier run of the same `kind` in the same folder; it is None while one of them is
    unknown.
    """

    def __init__(self, path: Path, phases: tuple[str, ...], kind: str) -> None:
        self.path, self.phases, self.kind = path, list(phases), kind
        self._began = time.monotonic()
        self._phase, self._phase_began, self._steps, self._done = phases[0], self._began, 1, 0
        self._took_s = earlier(path, kind)
        self._write(self._phase)

    def leave_out(self, names: set[str]) -> None:
        """Take out phases that will not come."""
        self.phases = [name for name in self.phases if name not in names]

    def phase(self, name: str, steps: int = 1) -> None:
        self._close_phase()
        self._phase, self._phase_began, self._steps, self._done = name, time.monotonic(), steps, 0
        self._write(name)

    def expect(self, steps: int) -> None:
        self._steps = steps

    def step(self, message: str) -> None:
        """Say what is measured now; what was said before it is done."""
        self._write(message)
        self._done += 1

    def finish(self) -> None:
        """Say that nothing more comes, however the run ended."""
        self._close_phase()
        self._write(self._phase, finished=True)

    def _close_phase(self) -> None:
        self._took_s[self._phase] = round(time.monotonic() - self._phase_began, 1)

    def _write(self, message: str, finished: bool = False) -> None:
        now = time.monotonic()
        number = self.phases.index(self._phase)
        phase_left_s = (now - self._phase_began) / self._done * (self._steps - self._done) if self._done else None
        later = [self._took_s.get(name) for name in self.phases[number + 1 :]]
        left_s = None if phase_left_s is None or None in later else phase_left_s + sum(later)
        state = {
            "pid": os.getpid(),
            "kind": self.kind,
            "phases": self.phases,
            "phase": self._phase,
            "phase_number": number + 1,
            "step": min(self._done + 1, self._steps),
            "steps": self._steps,
            "message": message,
            "elapsed_s": round(now - self._began, 1),
            "phase_left_s": None if phase_left_s is None else round(phase_left_s, 1),
            "left_s": None if left_s is None else round(left_s, 1),
            "took_s": self._took_s,
            "finished": finished,
        }
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(state))
        fresh.replace(self.path)


def earlier(path: Path, kind: str) -> dict[str, float]:
    """Return the seconds that each phase took in the run which left `path`; nothing of a run of another kind."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        state = json.loads(path.read_text())
        if state["kind"] == kind:
            return {str(name): float(seconds) for name, seconds in state["took_s"].items()}
    return {}


def line(host: str, state: dict[str, Any]) -> str:
    """Return `node7: serving 2/3, cold start 1 of 1, about 40 s left`.

    The state may come from any node: what is no progress raises KeyError, TypeError or ValueError.
    """
    message = "".join(letter if letter.isprintable() else " " for letter in str(state["message"])[:LONGEST_MESSAGE])
    phase, number, phases = str(state["phase"]), int(state["phase_number"]), len(state["phases"])
    left = ""
    if state["left_s"] is not None:
        left = f", about {float(state['left_s']):.0f} s left"
    elif state["phase_left_s"] is not None:
        left = f", about {float(state['phase_left_s']):.0f} s left of {phase}"
    doing = "" if message == phase else f", {message}"
    text = f"{host}: {phase} {number}/{phases}{doing}{left}"
    if not LINE.fullmatch(text):
        raise ValueError("this is no progress")
    return text
