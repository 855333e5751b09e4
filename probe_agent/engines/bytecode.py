"""Whether the modules of a process came with their bytecode, or had to be compiled as it started."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import ModuleType


def missing(modules: Iterable[ModuleType]) -> tuple[int, int]:
    """Return how many of the modules that have a place for bytecode have none there, and how many have a place."""
    specs = (getattr(module, "__spec__", None) for module in list(modules))
    places = {spec.cached for spec in specs if spec is not None and spec.has_location and spec.cached}
    return sum(not Path(place).exists() for place in places), len(places)
