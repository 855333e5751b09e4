"""What makes a setting survive a reboot, by the file names that win.

Of sysctl.d files the latest name wins, of tmpfiles.d files the earliest (sysctl.d(5), tmpfiles.d(5)).
"""

from __future__ import annotations

from pathlib import Path

from .files import OwnedFile
from .tuning import Wish

SYSCTL_ROOT = "proc/sys/"


def missing(root: Path = Path("/")) -> str:
    """Return why nothing can be persisted on this node, or nothing."""
    if (root / "run/systemd/system").is_dir():
        return ""
    return "systemd does not run on this node: the settings hold until the next boot"


def tmpfiles(part: str, wishes: list[Wish]) -> dict[str, OwnedFile | None]:
    """Return our file that writes the wishes early in each boot, by its path; None where there is nothing to write."""
    path = f"etc/tmpfiles.d/00-stethos-{part}.conf"
    body = "".join(f"w /{wish.path} - - - - {wish.value}\n" for wish in wishes)
    return {path: OwnedFile(path, body) if body else None}


def sysctl(part: str, wishes: list[Wish]) -> dict[str, OwnedFile | None]:
    """Return our file that sets the wishes, whose paths lie below /proc/sys, by its path; None where there are none."""
    path = f"etc/sysctl.d/zz-stethos-{part}.conf"
    keys = ((wish.path[len(SYSCTL_ROOT) :].replace("/", "."), wish.value) for wish in wishes)
    body = "".join(f"{key} = {value}\n" for key, value in keys)
    return {path: OwnedFile(path, body) if body else None}
