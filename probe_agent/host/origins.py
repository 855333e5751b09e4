"""When a file was last written, and which package brought it."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Callable, Iterable

ASKED_S = 20
OWNED = re.compile(r"(?!diversion by )(.+?): (/.+)")


@dataclass(frozen=True)
class Origin:
    """`modified` is ISO 8601 in UTC; `package` is empty where none owns the file, or no package tool is there."""

    modified: str
    package: str = ""


def read(
    paths: Iterable[str], root: Path = Path("/"), run: Callable[[list[str]], str] | None = None
) -> dict[str, Origin]:
    """Return the origin of each of the files, by path, leaving out what is not there."""
    written = written_at(paths, root)
    packages = owners(list(written), run or _said) if written else {}
    return {path: Origin(when, packages.get(path, "")) for path, when in written.items()}


def written_at(paths: Iterable[str], root: Path = Path("/")) -> dict[str, str]:
    """Return when each file was last written: in /sys its value, or, where nobody wrote it, when it was first seen."""
    found = {}
    for path in dict.fromkeys(paths):
        try:
            seconds = (root / path.lstrip("/")).stat().st_mtime
        except (OSError, ValueError):
            continue
        found[path] = datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
    return found


def owners(paths: list[str], run: Callable[[list[str]], str]) -> dict[str, str]:
    """Return package and version by file, as dpkg or rpm tells; both are silent about a file that has none."""
    found = parse_dpkg(run(["dpkg-query", "--search", *paths]))
    if found:
        versions = dict(
            line.split(" ", 1)
            for line in run(
                ["dpkg-query", "--show", "--showformat=${binary:Package} ${Version}\\n", *sorted(set(found.values()))]
            ).splitlines()
            if " " in line
        )
        return {path: f"{name} {_version(name, versions)}".strip() for path, name in found.items()}
    for path in paths:
        package = run(["rpm", "--query", "--file", "--queryformat=%{NAME} %{VERSION}-%{RELEASE}\\n", path])
        if package.strip() and "not owned" not in package:
            found[path] = package.splitlines()[0].strip()
    return found


def parse_dpkg(text: str) -> dict[str, str]:
    """Read `dpkg-query --search`; of several owners the first is named."""
    found = {}
    for line in text.splitlines():
        owned = OWNED.fullmatch(line)
        if owned:
            found[owned[2]] = owned[1].split(", ")[0]
    return found


def _version(name: str, versions: dict[str, str]) -> str:
    """Where one architecture is installed, a package answers to its name with it and without."""
    return versions.get(name) or versions.get(name.split(":")[0], "")


def _said(command: list[str]) -> str:
    """Return what a package tool printed, nothing where there is none."""
    try:
        done = subprocess.run(
            command,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ASKED_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
