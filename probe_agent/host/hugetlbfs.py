"""Mounts of hugetlbfs, through which processes map explicit huge pages as files."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from . import mounts
from .files import OwnedFile
from .mounts import Mount
from .tuning import Row

UNITS = "etc/systemd/system"
UNITS_KB = {"k": 1, "m": 1 << 10, "g": 1 << 20}


@dataclass(frozen=True)
class MountWish:
    """A mount the operator asks for. `path` is kept as the kernel lists it: `/mnt/huge/` as `/mnt/huge`.

    `size_kb` None takes the kernel's default page size.
    """

    path: str
    size_kb: int | None = None
    mode: str | None = None
    uid: int | None = None
    gid: int | None = None
    limit_mb: int | None = None

    def __post_init__(self) -> None:
        one_root = re.sub("^/+", "/", self.path)  # normpath leaves two leading slashes
        object.__setattr__(self, "path", os.path.normpath(one_root))

    def options(self, default_kb: int) -> str:
        """Return the text for `mount -o` (Documentation/admin-guide/mm/hugetlbpage.rst)."""
        parts = [f"pagesize={self.size_kb or default_kb}K"]
        parts += [f"{name}={value}" for name, value in (("mode", self.mode), ("uid", self.uid), ("gid", self.gid))
                  if value is not None]  # fmt: skip
        if self.limit_mb is not None:
            parts.append(f"size={self.limit_mb}M")
        return ",".join(parts)


def read(root: Path = Path("/")) -> list[Mount]:
    """Return the hugetlbfs mounts, in the order the kernel lists them."""
    return [mount for mount in mounts.read(root) if mount.fstype == "hugetlbfs"]


def page_size_kb(mount: Mount) -> int | None:
    """Return the page size the kernel shows, like `pagesize=2M`."""
    for option in mount.options:
        found = re.fullmatch(r"pagesize=(\d+)([KMG])", option, re.IGNORECASE)
        if found:
            return int(found.group(1)) * UNITS_KB[found.group(2).lower()]
    return None


def plan(
    found: list[Mount], wish: MountWish, sizes_kb: list[int], default_kb: int | None, root: Path = Path("/")
) -> str | None:
    """Return the options to mount with, or None when the mount is there already.

    Raises ValueError where the path is no place for a mount, is taken by another filesystem, or is mounted with
    another page size.
    """
    target = root / wish.path.lstrip("/")
    if not wish.path.startswith("/"):
        raise ValueError(f"hugetlbfs_mounts has path {wish.path}, and must be an absolute path")
    if wish.size_kb is not None and wish.size_kb not in sizes_kb:
        sizes = ", ".join(map(str, sizes_kb))
        raise ValueError(f"hugetlbfs_mounts has size_kb {wish.size_kb} for {wish.path}, and must be one of {sizes}")
    if target.exists() and not target.is_dir():
        raise ValueError(f"hugetlbfs_mounts has path {wish.path}, which is a file, and must be a folder or absent")
    here = [mount for mount in found if mount.target == wish.path]
    if not here:
        if target.is_dir() and any(target.iterdir()):
            raise ValueError(
                f"hugetlbfs_mounts has path {wish.path}, which holds files that a mount would hide; empty it first"
            )
        return wish.options(default_kb)
    top = here[-1]  # the last one mounted hides the others
    if top.fstype != "hugetlbfs":
        raise ValueError(f"hugetlbfs_mounts has path {wish.path}, where {top.fstype} is mounted; choose another")
    size_kb = wish.size_kb or default_kb
    if page_size_kb(top) != size_kb:
        raise ValueError(
            f"hugetlbfs_mounts has size_kb {size_kb} for {wish.path}, which is mounted with {page_size_kb(top)}; "
            "unmount it first"
        )
    return None


def unit_file(wish: MountWish, unit: str, default_kb: int) -> OwnedFile:
    """Return the unit that mounts at boot, before anything that waits for local filesystems. `unit` is its name."""
    body = f"""[Unit]
Description=Huge pages on {wish.path}
DefaultDependencies=no
Conflicts=umount.target
Before=local-fs.target umount.target

[Mount]
What=none
Where={wish.path}
Type=hugetlbfs
Options={wish.options(default_kb)}

[Install]
WantedBy=local-fs.target
"""
    return OwnedFile(f"{UNITS}/{unit}", body)


def enabled(unit: str, root: Path = Path("/")) -> bool:
    """Tell whether each boot starts the unit."""
    return os.path.lexists(root / UNITS / "local-fs.target.wants" / unit)


def row(wish: MountWish, found: list[Mount], default_kb: int | None, persisted: bool | None, skipped: str) -> Row:
    """Return how the wish stands, given all mounts."""
    size_kb = wish.size_kb or default_kb
    here = [mount for mount in found if mount.target == wish.path and mount.fstype == "hugetlbfs"]
    return Row(
        variable=f"hugetlbfs_mounts[{wish.path}]",
        path=wish.path.lstrip("/"),
        desired=f"pagesize {size_kb} kB",
        actual=f"pagesize {page_size_kb(here[-1])} kB" if here else None,
        persisted=persisted,
        skipped=skipped,
    )
