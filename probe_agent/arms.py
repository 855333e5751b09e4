"""Levers as data: the environment that pulls one, what it needs on the node, and how its use is proven."""

from __future__ import annotations

from dataclasses import dataclass, field

from .host import allocators
from .host.process import Memory

CONTROL = "glibc"
A_A = "glibc-again"  # the control once more under another name: what differs between the two is noise

# Set by an operator's shell or unit, any of these would make the control no control.
LEVER_VARIABLES = (
    "LD_PRELOAD",
    "MALLOC_CONF",
    "GLIBC_TUNABLES",
    "MALLOC_ARENA_MAX",
    "THP_MEM_ALLOC_ENABLE",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
)


@dataclass(frozen=True)
class Arm:
    """`library` is the allocator preloaded into the process; `variables` are its other environment."""

    name: str
    what: str
    library: str = ""
    variables: dict[str, str] = field(default_factory=dict)

    def lacks(self) -> str:
        """Return why this node cannot run the arm, or nothing."""
        if self.library and self.library not in allocators.find():
            return f"no {self.library} library on this node"
        return ""

    def environment(self) -> dict[str, str]:
        preload = {"LD_PRELOAD": allocators.find()[self.library]} if self.library else {}
        return {**dict.fromkeys(LEVER_VARIABLES, ""), **self.variables, **preload}

    def engaged(self, memory: Memory) -> bool:
        """Tell from the living process whether it used the lever (for a control: that it used none)."""
        mapped = " ".join(memory.allocators)
        return f"lib{self.library}" in mapped if self.library else not mapped


ARMS = {
    arm.name: arm
    for arm in (
        Arm(CONTROL, "glibc's malloc, no lever pulled"),
        Arm(A_A, "the same once more: its difference from the control is the noise floor"),
        Arm("jemalloc", "jemalloc preloaded instead of glibc's malloc", library="jemalloc"),
    )
}
