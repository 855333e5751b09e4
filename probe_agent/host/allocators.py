"""Allocator libraries a process can be started with, where the distributions put them."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from pathlib import Path

NAMES = {
    "jemalloc": ("libjemalloc.so.2",),
    "tcmalloc": ("libtcmalloc_minimal.so.4", "libtcmalloc.so.4"),
    "mimalloc": ("libmimalloc.so.2", "libmimalloc.so.3"),
}

# The package that brings jemalloc, by ID and ID_LIKE of os-release(5).
JEMALLOC_PACKAGES = {"debian": "libjemalloc2", "fedora": "jemalloc", "rhel": "jemalloc", "suse": "libjemalloc2"}


def jemalloc_package(distribution: set[str]) -> str | None:
    """Return what this distribution calls jemalloc, or None when it is none we know."""
    return next((package for name, package in JEMALLOC_PACKAGES.items() if name in distribution), None)


def folders(machine: str) -> list[str]:
    """Return where libraries live: Debian's multiarch folder, then those of RHEL and SUSE."""
    return [f"usr/lib/{machine}-linux-gnu", "usr/lib64", "usr/lib", "usr/local/lib"]


def find(root: Path = Path("/"), machine: str = "") -> dict[str, str]:
    """Return allocator name to the library's path, for those this node has."""
    found = {}
    for name, libraries in NAMES.items():
        for folder in folders(machine or platform.machine()):
            present = [library for library in libraries if (root / folder / library).exists()]
            if present:
                found[name] = f"/{folder}/{present[0]}"
                break
    return found


def contents(found: dict[str, str], root: Path = Path("/")) -> dict[str, str]:
    """Return a hash of each library that `find` found: an update keeps its path."""
    hashes = {}
    for name, path in found.items():
        try:
            hashes[name] = hashlib.sha256((root / path.lstrip("/")).read_bytes()).hexdigest()[:16]
        except OSError:  # it may be there for others only
            continue
    return hashes


def expected(root: Path = Path("/"), machine: str = "") -> dict[str, str]:
    """Return where each library is or, once a package has brought it, will be."""
    debian, others = folders(machine or platform.machine())[:2]
    folder = debian if (root / debian).is_dir() else others
    return {**{name: f"/{folder}/{libraries[0]}" for name, libraries in NAMES.items()}, **find(root, machine)}


def loads(library: str) -> str | None:
    """Return None when a process starts with `library` preloaded, else why not, in one sentence."""
    environment = {**os.environ, "LD_PRELOAD": library}
    try:
        done = subprocess.run(
            ["/bin/cat", "/proc/self/maps"], env=environment, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"a process with {library} preloaded did not run: {error}"
    if done.returncode or os.path.realpath(library) not in done.stdout:
        last_words = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        return f"{library} does not load here: {last_words[0]}"
    return None
