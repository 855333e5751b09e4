"""Levers as data: what pulls one, what it needs on the node, and how its use is proven.

To add a lever, add an entry to ARMS; to add a kind of need or of proof, add one to NEEDS or SIGNS. Every lever but a
system-wide setting ends with its process; a setting is journaled and given back after its sample (see host/loans.py).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Mapping

from .host import allocators, knobs, meminfo, numa
from .host.proof import Proof
from .host.source import THP as THP_FOLDER

CONTROL = "glibc"
A_A = "glibc-again"  # the control once more under another name: what differs between the two is noise

THP = f"{THP_FOLDER}/enabled"

# The settings of torch's allocators. Every version takes the older name. The newer one works for CUDA from 2.11 on (2.9
# ignored it: pytorch issue 183387), unless the older one is set too, and be it to nothing.
TORCH_SETTINGS, TORCH_SETTINGS_SINCE = "PYTORCH_ALLOC_CONF", (2, 11)
TORCH_SETTINGS_BEFORE = "PYTORCH_CUDA_ALLOC_CONF"

# Set by an operator's shell or unit, any of these would make the control no control.
LEVER_VARIABLES = (
    "LD_PRELOAD",
    "MALLOC_CONF",
    "GLIBC_TUNABLES",
    "MALLOC_ARENA_MAX",
    "THP_MEM_ALLOC_ENABLE",
    TORCH_SETTINGS,
    TORCH_SETTINGS_BEFORE,
)

PINNED_SHARE = 0.5  # of what was pinned must have become anonymous memory: the driver's own does not count as that
UNCOMPILED_SHARE = 0.5


@dataclass(frozen=True)
class Stack:
    """What the node has beside its kernel; None where nobody looked, and then nothing is said about it."""

    torch: str | None = None
    gpus: int | None = None


UNKNOWN = Stack()


@dataclass(frozen=True)
class Need:
    """`missing` returns why the node at a root, with a stack, lacks it, or nothing."""

    sentence: str
    missing: Callable[[Path, Stack], str]


@dataclass(frozen=True)
class Sign:
    """`shown` tells whether a process shows it; None where it cannot tell."""

    sentence: str
    shown: Callable[[Arm, Proof], bool | None]


def _no_thp(root: Path, _: Stack) -> str:
    mode = knobs.read(THP, root)
    if mode is None:
        return "no transparent huge pages in this node's kernel"
    return f"/{THP} is never" if mode.value == "never" else ""


def _no_pool(root: Path, _: Stack) -> str:
    free = meminfo.read(root).get("HugePages_Free")
    return "" if free else "no free page in the pool of the default hugepage size"


def _no_gpu(_: Path, stack: Stack) -> str:
    if stack.gpus == 0:
        return "no GPU on this node"
    return f"torch {stack.torch} is a build without CUDA" if stack.torch and stack.torch.endswith("+cpu") else ""


def _no_choice_of_node(root: Path, _: Stack) -> str:
    return "" if len(numa.candidates(root)) > 1 else "there is one NUMA node, so there is nothing to choose"


NEEDS = {
    "thp": Need(f"/{THP} other than never", _no_thp),
    "pool": Need("free pages in the pool of the default hugepage size, which is not made for it", _no_pool),
    "gpu": Need("a GPU, and a torch that uses it", _no_gpu),
    "nodes": Need("two NUMA nodes", _no_choice_of_node),
}


def _library(arm: Arm, found: Proof) -> bool:
    return all(f"lib{arm.library}" in " ".join(memory.allocators) for memory in found.tree)


def _no_library(_: Arm, found: Proof) -> bool:
    return not any(memory.allocators for memory in found.tree)


def _thp(_: Arm, found: Proof) -> bool:
    return found.anon_huge_mb > 0


def _asked(_: Arm, found: Proof) -> bool:
    return found.asked_huge_mb > 0


def _mode(arm: Arm, found: Proof) -> bool:
    return found.thp_mode == arm.settings[THP]


def _no_thp_used(_: Arm, found: Proof) -> bool:
    return found.anon_huge_mb == 0


def _pool(_: Arm, found: Proof) -> bool:
    return found.private_hugetlb_mb > 0 or bool(found.pinned and found.pinned.private_hugetlb_mb > 0)


def _pinned(_: Arm, found: Proof) -> bool | None:
    if found.pinned is None:
        return None
    return found.pinned.anon_mb + found.pinned.private_hugetlb_mb > PINNED_SHARE * found.pinned.asked_mb


def _bound(_: Arm, found: Proof) -> bool:
    return found.numa_policy.startswith("bind:")


def _uncompiled(_: Arm, found: Proof) -> bool | None:
    return None if found.uncompiled_share is None else found.uncompiled_share > UNCOMPILED_SHARE


SIGNS = {
    "library": Sign("the library is mapped in every process of the tree", _library),
    "no library": Sign("no allocator library is mapped in any process of the tree", _no_library),
    "thp": Sign("AnonHugePages of the tree", _thp),
    # With THP always every process has some, and a C library that finds it so does not even ask.
    "asked": Sign("AnonHugePages of the tree where it asked for them (VmFlags hg)", _asked),
    "mode": Sign(f"/{THP}, read while the process lived", _mode),
    "no thp": Sign("no AnonHugePages in the tree", _no_thp_used),
    "pool": Sign("Private_Hugetlb of the tree, or of what it pinned", _pool),
    "pinned": Sign("what was pinned is anonymous memory of the process, not the driver's", _pinned),
    "bound": Sign("the policy in /proc/PID/numa_maps is bind", _bound),
    "uncompiled": Sign("most modules came without bytecode", _uncompiled),
}


@dataclass(frozen=True)
class Arm:
    """One lever. `library` is the allocator preloaded, `torch_settings` are those of torch's allocators.

    `settings` maps a file of the kernel to its value: they hold for the whole node while a sample is taken. `binds`
    keeps the process on one NUMA node. `torch` is the version that brought the lever. `serves` tells that a service can
    be given it; `combines` names the levers to give where it is several.
    """

    name: str
    what: str
    library: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    torch_settings: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    binds: bool = False
    torch: tuple[int, int] | None = None
    needs: tuple[str, ...] = ()
    signs: tuple[str, ...] = ()
    serves: bool = False
    combines: tuple[str, ...] = ()

    def lacks(self, root: Path = Path("/"), stack: Stack = UNKNOWN) -> str:
        """Return why this node cannot run the arm, or nothing."""
        if self.library and self.library not in allocators.find(root):
            return f"no {self.library} library on this node"
        if self.torch and stack.torch and version(stack.torch) < self.torch:
            return f"torch {stack.torch} has no such lever, which came with {_dotted(self.torch)}"
        reasons = (NEEDS[need].missing(root, stack) for need in self.needs)
        return next(filter(None, [*reasons, *_unsettable(self.settings, root)]), "")

    def pulled(self, libraries: dict[str, str], torch: str = "") -> dict[str, str]:
        """Return the variables that pull the lever; `libraries` maps an allocator to where it is.

        `torch` is the version that reads them: without it, its settings stand under the name that all versions take.
        """
        preload = {"LD_PRELOAD": libraries[self.library]} if self.library else {}
        newer = torch and version(torch) >= TORCH_SETTINGS_SINCE
        name = TORCH_SETTINGS if newer else TORCH_SETTINGS_BEFORE
        return {**preload, **self.variables, **({name: self.torch_settings} if self.torch_settings else {})}

    def environment(self, torch: str = "") -> dict[str, str]:
        """Return what a process of this arm gets; an empty value means: not set at all."""
        return {**dict.fromkeys(LEVER_VARIABLES, ""), **self.pulled(allocators.find(), torch)}

    def engaged(self, found: Proof) -> bool | None:
        """Tell from the living process whether it used the lever (for a control: that it used none).

        None where its signs do not tell, or it has none.
        """
        shown = [SIGNS[sign].shown(self, found) for sign in self.signs]
        if False in shown:
            return False
        return None if None in shown or not shown else True

    @property
    def needed(self) -> list[str]:
        """What the node must have, in words."""
        return [
            *([f"the {self.library} library"] if self.library else []),
            *([f"torch {_dotted(self.torch)} or newer"] if self.torch else []),
            *(NEEDS[need].sentence for need in self.needs),
            *(f"root, to set /{path} to {value}" for path, value in self.settings.items()),
        ]

    @property
    def proof(self) -> list[str]:
        """How its use is proven, in words."""
        return [SIGNS[sign].sentence for sign in self.signs]

    @property
    def undone(self) -> str:
        """How it is undone, in words."""
        if self.settings:
            return "set back right after its sample; by the guard or the next run when the agent was killed"
        return "ends with its process"


def version(text: str) -> tuple[int, ...]:
    """Return the first two numbers of a version such as 2.13.0+cpu."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))


def _unsettable(settings: Mapping[str, str], root: Path) -> list[str]:
    """Return why the settings make no arm here: nothing of them would change, or they cannot be changed."""
    found = {path: knobs.read(path, root) for path in settings}
    reasons = [f"no /{path} in this node's kernel" for path, knob in found.items() if knob is None]
    if not reasons and settings and all(knob.value == settings[path] for path, knob in found.items()):
        reasons = ["the node is set so already"]
    for path, knob in found.items():
        if knob and knob.choices and settings[path] not in knob.choices:
            reasons.append(f"/{path} takes {', '.join(knob.choices)}, and not {settings[path]}")
        elif knob and not os.access(root / path, os.W_OK):
            reasons.append(f"/{path} is a setting of the whole node, and changing it needs root")
    return reasons


_PINNED = "pinned_use_cuda_host_register:True,pinned_num_register_threads:8"
_GLIBC_THP = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
_GLIBC_HUGETLB = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=2"}

ARMS = {
    arm.name: arm
    for arm in (
        Arm(CONTROL, "glibc's malloc, no lever pulled", signs=("no library",)),
        Arm(A_A, "the same once more: its difference from the control is the noise floor", signs=("no library",)),
        Arm(
            "thp-always",
            "transparent huge pages for all memory of every process",
            settings={THP: "always"},
            signs=("no library", "mode", "thp"),
        ),
        Arm(
            "thp-madvise",
            "transparent huge pages for memory that asks for them",
            settings={THP: "madvise"},
            signs=("no library", "mode"),
        ),
        Arm(
            "thp-never",
            "no transparent huge pages",
            settings={THP: "never"},
            signs=("no library", "mode", "no thp"),
        ),
        Arm(
            "jemalloc",
            "jemalloc preloaded instead of glibc's malloc",
            library="jemalloc",
            signs=("library",),
            serves=True,
        ),
        Arm(
            "jemalloc-thp",
            "jemalloc preloaded, asking for transparent huge pages",
            library="jemalloc",
            variables={"MALLOC_CONF": "thp:always,metadata_thp:auto"},
            needs=("thp",),
            signs=("library", "asked"),
            serves=True,
        ),
        Arm(
            "tcmalloc",
            "tcmalloc preloaded instead of glibc's malloc",
            library="tcmalloc",
            signs=("library",),
            serves=True,
        ),
        Arm(
            "glibc-thp",
            "glibc's malloc asking for transparent huge pages",
            variables=_GLIBC_THP,
            needs=("thp",),
            signs=("asked",),
            serves=True,
        ),
        Arm(
            "glibc-hugetlb",
            "glibc's malloc taking pages from the reserved pool, small ones once it is used up",
            variables=_GLIBC_HUGETLB,
            needs=("pool",),
            signs=("pool",),
            serves=True,
        ),
        Arm(
            "torch-thp",
            "torch asking for transparent huge pages for its CPU tensors of 2 MiB and more",
            variables={"THP_MEM_ALLOC_ENABLE": "1"},
            torch=(2, 2),
            needs=("thp",),
            signs=("asked",),
            serves=True,
        ),
        Arm(
            "pinned-register",
            "torch pinning ordinary memory, with eight threads, instead of asking CUDA for pinned memory",
            torch_settings=_PINNED,
            torch=(2, 2),
            needs=("gpu",),
            signs=("pinned",),
            serves=True,
        ),
        Arm(
            "pinned-register-thp",
            "the same with transparent huge pages from glibc's malloc",
            variables=_GLIBC_THP,
            torch_settings=_PINNED,
            torch=(2, 2),
            needs=("gpu", "thp"),
            signs=("pinned", "asked"),
            combines=("pinned-register", "glibc-thp"),
        ),
        Arm(
            "pinned-register-hugetlb",
            "the same with pages from the reserved pool",
            variables=_GLIBC_HUGETLB,
            torch_settings=_PINNED,
            torch=(2, 2),
            needs=("gpu", "pool"),
            signs=("pinned", "pool"),
            combines=("pinned-register", "glibc-hugetlb"),
        ),
        Arm(
            "numa-bind",
            "the process kept on the CPUs and the memory of one NUMA node, that of the GPU where it is known",
            binds=True,
            needs=("nodes",),
            signs=("no library", "bound"),
        ),
        Arm(
            "bytecode-off",
            "Python modules without their compiled bytecode: what a node pays whose packages came without it",
            variables={"PYTHONPYCACHEPREFIX": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"},
            signs=("no library", "uncompiled"),
        ),
    )
}

# What a campaign can compare with the control.
COMPARED = tuple(name for name in ARMS if name not in (CONTROL, A_A))
# What a service can be given.
LEVERS = tuple(name for name, arm in ARMS.items() if arm.serves)
