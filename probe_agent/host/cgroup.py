"""A memory cgroup of our own: found, made with a hard limit and no swap, and removed.

Page cache is charged to the cgroup that reads a page first, and stays with it. Under version 2 the memory controller is
in the one hierarchy; version 1 mounts it by itself, beside a version 2 without controllers on hybrid nodes.
Source: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst of the Linux kernel.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

from . import mounts

PREFIX = "stethos-"  # and the pid of its maker, so that nobody takes away what a living one uses
EMPTY_WITHIN_S = 5.0  # a process that has ended leaves its cgroup a moment later


@dataclass(frozen=True)
class Hierarchy:
    """Where memory cgroups are made: `folder` is the root of the hierarchy, relative to that of the node."""

    version: int
    folder: str


@dataclass(frozen=True)
class Files:
    """`noswap` is written where the kernel has it, after the limit: {limit} stands for the limit's bytes."""

    limit: str
    usage: str
    noswap: tuple[tuple[str, str], ...]


FILES = {
    1: Files(
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        (("memory.swappiness", "0"), ("memory.memsw.limit_in_bytes", "{limit}")),
    ),
    2: Files("memory.max", "memory.current", (("memory.swap.max", "0"),)),
}


def find(root: Path = Path("/")) -> Hierarchy:
    """Return where a memory cgroup can be made. Raises ValueError with the reason where none can."""
    found = _memory(root)
    if not os.access(root / found.folder, os.W_OK):
        raise ValueError(
            f"/{found.folder} cannot be written: making a memory cgroup needs root, outside of a container"
        )
    return found


def _memory(root: Path) -> Hierarchy:
    known = mounts.read(root)
    for mount in known:
        if mount.fstype == "cgroup" and "memory" in mount.options:
            return Hierarchy(1, mount.target.lstrip("/"))
    reasons = ["no cgroup hierarchy on this node has the memory controller"]
    for folder in (mount.target.lstrip("/") for mount in known if mount.fstype == "cgroup2"):
        if "memory" in _words(root / folder / "cgroup.subtree_control"):
            return Hierarchy(2, folder)
        if "memory" in _words(root / folder / "cgroup.controllers"):
            reasons.append(f"/{folder}/cgroup.subtree_control does not hand the memory controller down")
    raise ValueError(reasons[-1])


@contextmanager
def limited(limit_bytes: int, hierarchy: Hierarchy, root: Path = Path("/")) -> Iterator[Path]:
    """Hold an empty cgroup with a hard limit, and remove it afterwards. Raises ValueError where it is not to be had."""
    group = root / hierarchy.folder / f"{PREFIX}{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        raise ValueError(f"cgroup {group} could not be made: {error.strerror}") from None
    try:
        _limit(group, limit_bytes, FILES[hierarchy.version])
        yield group
    finally:
        remove(group)


def _limit(group: Path, limit_bytes: int, files: Files) -> None:
    try:
        (group / files.limit).write_text(str(limit_bytes))
        for name, value in files.noswap:
            if (group / name).exists():
                (group / name).write_text(value.format(limit=limit_bytes))
        held = (group / files.limit).read_text().strip()
    except OSError as error:
        raise ValueError(f"cgroup {group} takes no limit of {limit_bytes} bytes: {error.strerror}") from None
    if not held.isdigit() or int(held) > limit_bytes:  # the kernel rounds it down to pages
        raise ValueError(f"cgroup {group} was given a limit of {limit_bytes} bytes, and has {held}")


def join(group: Path) -> None:
    """Move this process into the cgroup: what it touches from now on is charged there."""
    (group / "cgroup.procs").write_text(str(os.getpid()))


def usage(group: Path, version: int) -> int:
    """Return the bytes charged to the cgroup, page cache included."""
    return int((group / FILES[version].usage).read_text())


def remove(group: Path) -> None:
    """Remove a cgroup whose processes have ended or are ending; what it holds of the page cache stays cached.

    Raises ValueError where a process stays in it.
    """
    latest = time.monotonic() + EMPTY_WITHIN_S
    while True:
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() >= latest:
                raise ValueError(f"cgroup {group} could not be removed: {error.strerror}") from None
            time.sleep(0.02)
        else:
            return


def left(root: Path = Path("/")) -> dict[int, Path]:
    """Return the cgroups of ours that are there, by the pid of their maker."""
    try:
        hierarchy = _memory(root)
    except ValueError:
        return {}
    found = ((group.name[len(PREFIX) :], group) for group in (root / hierarchy.folder).glob(f"{PREFIX}*"))
    return {int(pid): group for pid, group in found if pid.isdigit()}


def clear(root: Path = Path("/")) -> list[str]:
    """Remove what killed agents left; its processes ended with them. Returns a sentence for each that stays."""
    said = []
    for group in (group for pid, group in left(root).items() if not (root / "proc" / str(pid)).exists()):
        try:
            remove(group)
        except ValueError as error:
            said.append(str(error))
    return said


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []
