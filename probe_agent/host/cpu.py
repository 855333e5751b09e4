"""What the processor can do, by the names that the kernel gives it."""

from __future__ import annotations

import re
from pathlib import Path


def flags(root: Path = Path("/")) -> set[str]:
    """Return the instruction sets of the first processor: `flags` on x86, `Features` on arm64."""
    found = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", (root / "proc/cpuinfo").read_text(), re.MULTILINE)
    return set(found.group(1).split()) if found else set()
