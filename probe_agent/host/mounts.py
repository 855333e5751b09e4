"""Mounted filesystems as the kernel lists them in /proc/self/mountinfo (proc_pid_mountinfo(5))."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """`options` joins the per-mount and the per-filesystem ones, as mount(8) shows them."""

    target: str
    fstype: str
    source: str
    options: tuple[str, ...]


def parse(text: str) -> list[Mount]:
    """Read mountinfo: octal escapes undone, optional fields skipped."""
    mounts = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        before, after = left.split(), right.split()
        if len(before) < 6 or len(after) < 3:
            continue
        options = dict.fromkeys(before[5].split(",") + after[2].split(","))
        mounts.append(Mount(_unescape(before[4]), after[0], _unescape(after[1]), tuple(options)))
    return mounts


def read(root: Path = Path("/")) -> list[Mount]:
    return parse((root / "proc/self/mountinfo").read_text())


def _unescape(text: str) -> str:
    return OCTAL.sub(lambda match: chr(int(match.group(1), 8)), text)
