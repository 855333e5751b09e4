"""What makes a setting survive a reboot, by the file names that win.

Of sysctl.d files the latest name wins, of tmpfiles.d files the earliest (sysctl.d(5), tmpfiles.d(5)).
"""

from __future__ import annotations

from pathlib import Path

from .files import OwnedFile

SYSCTL_ROOT = "proc/sys/"


def missing(root: Path = Path("/")) -> str:
    """Return why nothing can be persisted on this node, or nothing."""
    if (root / "run/systemd/system").is_dir():
        return ""
    return "systemd does not run on this node: the setting holds until the next boot"


def tmpfiles_path(part: str) -> str:
    return f"etc/tmpfiles.d/00-stethos-{part}.conf"


def sysctl_path(part: str) -> str:
    return f"etc/sysctl.d/zz-stethos-{part}.conf"


def tmpfiles(part: str, values: dict[str, str]) -> OwnedFile | None:
    """Return the file that writes `values`, a map of path to value, early in each boot."""
    lines = [f"w /{path} - - - - {value}\n" for path, value in values.items()]
    return OwnedFile(tmpfiles_path(part), "".join(lines)) if lines else None


def sysctl(part: str, values: dict[str, str]) -> OwnedFile | None:
    """Return the file that sets `values`, a map of path below /proc/sys to value."""
    lines = [f"{path[len(SYSCTL_ROOT) :].replace('/', '.')} = {value}\n" for path, value in values.items()]
    return OwnedFile(sysctl_path(part), "".join(lines)) if lines else None
