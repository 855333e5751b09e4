"""A fleet for a test's own nodes, and playbooks run where it can be reached."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from bed import SSHD, Fleet, Node

NEEDED = ("ip", "nsenter", "unshare", "ssh", "ssh-keygen", "ss")


@pytest.fixture(scope="session")
def namespaces() -> None:
    """Skip where this machine cannot have nodes."""
    if os.geteuid() != 0:
        pytest.skip("nodes in network namespaces need root")
    missing = [name for name in NEEDED if not shutil.which(name)] + ([] if Path(SSHD).exists() else [SSHD])
    if missing:
        pytest.skip(f"nodes in network namespaces need {', '.join(missing)}")
    tried = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"this machine makes no namespaces: {tried.stderr.decode().strip()}")


@pytest.fixture(scope="module")
def fleet(namespaces: None) -> Iterator[Callable[..., Fleet]]:
    """Return a function that starts nodes; all of them are gone at the end of the module."""
    with ExitStack() as stack:
        # Sockets of kept connections lie here, whose paths may not be long; a plain user must be able to look in.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleet-", ignore_cleanup_errors=True)))
        folder.chmod(0o755)

        def start(*nodes: Node) -> Fleet:
            return stack.enter_context(Fleet(folder, list(nodes)))

        yield start
