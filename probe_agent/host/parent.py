"""A process that ends with the one that started it, however that ends."""

from __future__ import annotations

import ctypes
import signal

PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with_it(how: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send `how` to this process when its parent has ended."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, how)
