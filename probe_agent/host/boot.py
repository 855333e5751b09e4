"""The boot loader's configuration, renewed after our drop-in for the kernel command line was written or removed."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

from .files import FileChange

GRUB_FILE = "etc/default/grub.d/zz-stethos.cfg"
# Debian and Ubuntu; SUSE and the RHEL family have no update-grub.
COMMANDS = (
    ["/usr/sbin/update-grub"],
    ["/usr/sbin/grub2-mkconfig", "-o", "/boot/grub2/grub.cfg"],
)


def renew(changes: list[FileChange], run: Callable[..., tuple]) -> None:
    """Run what turns GRUB's defaults into its configuration, when our drop-in is among `changes`.

    Raises ValueError when it fails or is not there. `run` takes a command and returns status, output and errors.
    """
    if not any(change.path == GRUB_FILE for change in changes):
        return
    command = next((command for command in COMMANDS if Path(command[0]).exists()), None)
    if command is None:
        raise ValueError(
            f"/{GRUB_FILE} is written, and this node has neither update-grub nor grub2-mkconfig: "
            "add its words to the kernel command line by hand"
        )
    code, out, error = run(command)
    if code:
        raise ValueError(f"{command[0]} failed: {(error or out).strip()[-300:]}")
