"""Transparent huge pages: the whole state, of which `enabled` is only one file of many.

Source: Documentation/admin-guide/mm/transhuge.rst of the Linux kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import knobs
from .knobs import Change, Knob

FOLDER = "sys/kernel/mm/transparent_hugepage"


@dataclass(frozen=True)
class Thp:
    """`general`, `khugepaged` and `per_size` map a file's name to its knob; all are empty on a kernel without THP."""

    general: dict[str, Knob]
    khugepaged: dict[str, Knob]
    per_size: dict[str, dict[str, Knob]]

    @property
    def available(self) -> bool:
        return "enabled" in self.general

    def values(self) -> dict[str, object]:
        """Return the state as plain values, ready for JSON."""
        state: dict[str, object] = {name: knob.value for name, knob in self.general.items()}
        state["khugepaged"] = {name: knob.value for name, knob in self.khugepaged.items()}
        state["per_size"] = {
            size: {name: knob.value for name, knob in found.items()} for size, found in self.per_size.items()
        }
        return state


def read(root: Path = Path("/")) -> Thp:
    """Return the state of THP under `root`."""
    folder = root / FOLDER
    sizes = sorted(
        (entry.name for entry in folder.glob("hugepages-*kB")), key=lambda name: int(name[len("hugepages-") : -2])
    )
    return Thp(
        general=knobs.read_folder(FOLDER, root),
        khugepaged=knobs.read_folder(f"{FOLDER}/khugepaged", root),
        per_size={
            size: {
                name: knob
                for name, knob in knobs.read_folder(f"{FOLDER}/{size}", root).items()
                if name in ("enabled", "shmem_enabled")
            }
            for size in sizes
        },
    )


def plan(found: Thp, wanted: dict[str, object]) -> list[Change]:
    """Return the writes that turn `found` into `wanted`, a map of file name to value.

    Only what `wanted` names is touched. Raises ValueError, naming the variable `thp_<name>`.
    """
    if wanted and not found.available:
        raise ValueError("thp_enabled cannot be set: this node's kernel has no transparent huge pages")
    changes = (knobs.plan(f"thp_{name}", found.general.get(name), value) for name, value in wanted.items())
    return [change for change in changes if change]
