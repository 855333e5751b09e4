"""Transparent huge pages: the whole state, of which `enabled` is only one file of many.

Source: Documentation/admin-guide/mm/transhuge.rst of the Linux kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import knobs, persist, tuned_merge, tuning
from .knobs import Knob
from .tuning import Wish

FOLDER = "sys/kernel/mm/transparent_hugepage"
GENERAL = ("enabled", "defrag", "shmem_enabled", "use_zero_page")
KHUGEPAGED = ("defrag", "pages_to_scan", "scan_sleep_millisecs", "alloc_sleep_millisecs", "max_ptes_none")


@dataclass(frozen=True)
class Thp:
    """`general`, `khugepaged` and `per_size` map a file's name to its knob; all are empty on a kernel without THP."""

    general: dict[str, Knob]
    khugepaged: dict[str, Knob]
    per_size: dict[str, dict[str, Knob]]

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
    sizes = sorted((entry.name for entry in (root / FOLDER).glob("hugepages-*kB")), key=lambda name: int(name[10:-2]))
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


def wishes(wanted: dict[str, Any]) -> list[Wish]:
    """Return a wish for each setting that is named; None and absent mean: leave it as it is.

    `per_size` maps a size in KiB to its `enabled`, `khugepaged` a file's name to its value. Raises ValueError for a
    size that is no number.
    """
    general = ((name, wanted.get(name)) for name in GENERAL)
    named = [Wish(f"thp_{name}", f"{FOLDER}/{name}", str(value)) for name, value in general if value is not None]
    for size, value in (wanted.get("per_size") or {}).items():
        if not str(size).isdigit():
            raise ValueError(f"thp_per_size has the size {size}, and must have sizes in KiB such as 64")
        named.append(Wish(f"thp_per_size[{size}]", f"{FOLDER}/hugepages-{size}kB/enabled", str(value)))
    for name, value in (wanted.get("khugepaged") or {}).items():
        if value is not None:
            named.append(Wish(f"thp_khugepaged[{name}]", f"{FOLDER}/khugepaged/{name}", str(value)))
    return named


def plan(wanted: dict[str, Any], persists: bool, merges: bool = False, root: Path = Path("/")) -> tuning.Plan:
    """Return what is owed for `wanted`, as `wishes` takes it. `merges` adds a TuneD profile."""
    wished = wishes(wanted)
    kept = tuning.present(wished, root) if persists else []
    owned = persist.tmpfiles("thp", kept)
    if merges:
        owned.update(tuned_merge.file("thp", kept))
    return tuning.plan(wished, owned, persists, root)
