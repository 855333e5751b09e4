"""Where a run stands, in a small file that others read while it goes on."""

from __future__ import annotations

import json
import time
from pathlib import Path


class Progress:
    """Phases of known length; each step renews the file with an estimate of the time left in the phase."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._began = time.monotonic()
        self._phase, self._phase_began, self._steps, self._done = "", self._began, 0, 0

    def phase(self, name: str, steps: int = 1) -> None:
        self._phase, self._phase_began, self._steps, self._done = name, time.monotonic(), steps, 0
        self._write(name)

    def expect(self, steps: int) -> None:
        self._steps = steps

    def step(self, message: str) -> None:
        """Say what is measured now; what was said before it is done."""
        self._write(message)
        self._done += 1

    def _write(self, message: str) -> None:
        now = time.monotonic()
        spent = now - self._phase_began
        left_s = spent / self._done * (self._steps - self._done) if self._done else None
        state = {
            "phase": self._phase,
            "step": self._done + 1,
            "steps": self._steps,
            "message": message,
            "elapsed_s": round(now - self._began, 1),
            "phase_left_s": None if left_s is None else round(left_s, 1),
        }
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(state))
        fresh.replace(self.path)
