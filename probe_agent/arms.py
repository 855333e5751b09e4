"""Levers as data: the environment that pulls one, what it needs on the node, and how its use is proven."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .host import allocators, knobs, meminfo
from .host.process import Memory

CONTROL = "glibc"
A_A = "glibc-again"  # the control once more under another name: what differs between the two is noise

THP = "sys/kernel/mm/transparent_hugepage/enabled"

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
    """One lever: `library` is the allocator preloaded into the process, `variables` are its other environment.

    `pages` are the huge pages a process gets by it: `thp` (transparent), `pool` (reserved ones), or none.
    """

    name: str
    what: str
    library: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    pages: str = ""

    def lacks(self, root: Path = Path("/")) -> str:
        """Return why this node cannot run the arm, or nothing."""
        if self.library and self.library not in allocators.find(root):
            return f"no {self.library} library on this node"
        if self.pages == "thp":
            mode = knobs.read(THP, root)
            if mode is None:
                return "no transparent huge pages in this node's kernel"
            return f"/{THP} is never" if mode.value == "never" else ""
        if self.pages == "pool" and not meminfo.read(root).get("HugePages_Free"):
            return "no free page in the pool of the default hugepage size"
        return ""

    def pulled(self, libraries: dict[str, str]) -> dict[str, str]:
        """Return the variables that pull the lever; `libraries` maps an allocator to where it is."""
        return {"LD_PRELOAD": libraries[self.library], **self.variables} if self.library else dict(self.variables)

    def environment(self) -> dict[str, str]:
        return {**dict.fromkeys(LEVER_VARIABLES, ""), **self.pulled(allocators.find())}

    def engaged(self, memory: Memory) -> bool | None:
        """Tell from the living process whether it used the lever (for a control: that it used none).

        None where memory does not show it. With THP always every process has huge pages: only the control beside it
        tells whose they are.
        """
        mapped = " ".join(memory.allocators)
        if self.library and f"lib{self.library}" not in mapped:
            return False
        if self.pages:
            return (memory.anon_huge_mb if self.pages == "thp" else memory.private_hugetlb_mb) > 0
        if self.variables:
            return None
        return bool(self.library) or not mapped


ARMS = {
    arm.name: arm
    for arm in (
        Arm(CONTROL, "glibc's malloc, no lever pulled"),
        Arm(A_A, "the same once more: its difference from the control is the noise floor"),
        Arm("jemalloc", "jemalloc preloaded instead of glibc's malloc", library="jemalloc"),
        Arm(
            "jemalloc-thp",
            "jemalloc preloaded, asking for transparent huge pages",
            library="jemalloc",
            variables={"MALLOC_CONF": "thp:always,metadata_thp:auto"},
            pages="thp",
        ),
        Arm("tcmalloc", "tcmalloc preloaded instead of glibc's malloc", library="tcmalloc"),
        Arm(
            "glibc-thp",
            "glibc's malloc asking for transparent huge pages",
            variables={"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
            pages="thp",
        ),
        Arm(
            "glibc-hugetlb",
            "glibc's malloc taking pages from the reserved pool, small ones once it is used up",
            variables={"GLIBC_TUNABLES": "glibc.malloc.hugetlb=2"},
            pages="pool",
        ),
        Arm(
            "torch-thp",
            "torch asking for transparent huge pages for its CPU tensors of 2 MiB and more",
            variables={"THP_MEM_ALLOC_ENABLE": "1"},
            pages="thp",
        ),
        Arm(
            "pinned-register",
            "torch pinning ordinary memory, with eight threads, instead of asking CUDA for pinned memory",
            variables={
                "PYTORCH_CUDA_ALLOC_CONF": "pinned_use_cuda_host_register:True,pinned_num_register_threads:8",
            },
        ),
    )
}

LEVERS = tuple(name for name in ARMS if name not in (CONTROL, A_A))
