"""Our settings as one more TuneD profile, behind those that are active: the last profile named wins.

Source: tuned-adm(8), tuned.conf(5). TuneD writes again whenever it starts, so beside it no value of ours lasts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Callable

from . import snapshot, tuned
from .files import OwnedFile
from .persist import SYSCTL_ROOT
from .tuning import Wish

# What TuneD's own vm plugin writes must be said to that plugin, or it would write its value after ours.
VM_OPTIONS = {path: name for name, path in tuned.VM.items() if name != "transparent_hugepage"}


def profile(part: str) -> str:
    return f"stethos-{part}"


def file(part: str, wishes: list[Wish]) -> dict[str, OwnedFile | None]:
    """Return our profile, by its path. Wishes for sysctls have paths below /proc/sys."""
    sections: dict[str, list[str]] = {"vm": [], "sysctl": [], "sysfs": []}
    for wish in wishes:
        if wish.path in VM_OPTIONS:
            sections["vm"].append(f"{VM_OPTIONS[wish.path]}={wish.value}")
        elif wish.path.startswith(SYSCTL_ROOT):
            sections["sysctl"].append(f"{wish.path[len(SYSCTL_ROOT) :].replace('/', '.')}={wish.value}")
        else:
            sections["sysfs"].append(f"/{wish.path}={wish.value}")
    body = "[main]\nsummary=Host memory as the inventory wants it\n"
    body += "".join(f"[{name}]\n" + "".join(f"{line}\n" for line in lines) for name, lines in sections.items() if lines)
    path = f"etc/tuned/{profile(part)}/tuned.conf"
    return {path: OwnedFile(path, body) if wishes else None}


def owed(part: str, root: Path = Path("/")) -> bool:
    """Return whether TuneD is active and our profile is not among its own."""
    found = tuned.state(root)
    return found.active and profile(part) not in found.profiles


def activate(part: str, run: Callable[..., tuple], root: Path = Path("/")) -> None:
    """Put our profile behind the active ones, recorded for rollback. Raises ValueError when TuneD refuses."""
    before = tuned.state(root).profiles
    after = [*before, profile(part)]
    snapshot.record("tuned", "profiles", " ".join(before), " ".join(after), root, settled=True)
    code, out, error = run(["tuned-adm", "profile", *after])
    if code:
        raise ValueError(f"tuned-adm profile {' '.join(after)} failed: {(error or out).strip()[-300:]}")
