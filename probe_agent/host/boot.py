"""The kernel command line of the next boots: by grubby where it is, else by a drop-in for GRUB's own configuration."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Callable

from . import cmdline, snapshot, source
from .files import FileChange
from .source import File, Source

GRUB_FILE = "etc/default/grub.d/zz-stethos.cfg"
GRUBBY = "usr/sbin/grubby"  # the RHEL family, whose GRUB reads no drop-ins
COMMANDS = (["/usr/sbin/update-grub"], ["/usr/sbin/grub2-mkconfig", "-o", "/boot/grub2/grub.cfg"])  # Debian, SUSE
MENUS = ("boot/grub/grub.cfg", "boot/grub2/grub.cfg")  # what they write

Run = Callable[[list], tuple]  # takes a command, returns status, output and errors


def has_grubby(root: Path = Path("/")) -> bool:
    return (root / GRUBBY).exists()


def owed(words: str, changes: list[FileChange], run: Run, root: Path = Path("/")) -> bool:
    """Return whether the boot loader has still to be told: it lacks `words`, or our drop-in is among `changes`."""
    if not has_grubby(root):
        return any(change.path == GRUB_FILE for change in changes) or menu_lacks(words, root)
    if not words:
        return False
    _, out, _ = run([f"/{GRUBBY}", "--info=DEFAULT"])
    return not any(_holds(line, words) for line in re.findall(r'^args="(.*)"$', out, re.MULTILINE))


def menu_lacks(words: str, root: Path = Path("/")) -> bool:
    """Tell whether GRUB's menu, made from its defaults, starts kernels and none with `words`."""
    if not words or has_grubby(root):
        return False
    found = [source.load(path, root) for path in MENUS]
    starts = [line for file in found if file for line in file.lines if line.lstrip().startswith("linux")]
    return bool(starts) and not any(_holds(line, words) for line in starts)


def _holds(line: str, words: str) -> bool:
    """Tell whether `line` has the words, whole and one after the other: hugepages= belongs to the size before it."""
    return f" {' '.join(words.split())} " in f" {' '.join(line.split())} "


def tell(words: str, run: Run, root: Path = Path("/")) -> None:
    """Have the next boots get `words`; what grubby is told is recorded for rollback first.

    Raises ValueError when the program for it fails or is not there.
    """
    if not has_grubby(root):
        renew(run)
        return
    snapshot.record("boot words", "grubby", "", words, root)
    _checked([f"/{GRUBBY}", "--update-kernel=ALL", f"--args={words}"], run)
    snapshot.record("boot words", "grubby", "", words, root, settled=True)


def claim(found: list[Source], default_kb: int | None, root: Path = Path("/")) -> list[Source]:
    """Return the sources with those marked as ours that came by grubby, which puts our words among others'."""
    entry = next((entry for entry in snapshot.read(root) if entry.kind == "boot words"), None)
    if entry is None:
        return found
    words = [cmdline.Word(word, File(GRUBBY), 0) for word in cmdline.split(entry.wrote)]
    told = {row.setting: row.value for row in cmdline.read(words, "boot loader", default_kb)}

    def ours(source: Source) -> bool:
        if source.kind != "boot loader" or source.setting not in told:
            return False
        # What was cut short may stand there with an earlier value of ours.
        return source.value == told[source.setting] or not entry.settled

    return [replace(source, ours=True) if ours(source) else source for source in found]


def removal(words: str) -> list[str]:
    """Return the command that takes `words` away again."""
    return [f"/{GRUBBY}", "--update-kernel=ALL", f"--remove-args={words}"]


def renew(run: Run) -> None:
    """Turn GRUB's defaults into its menu. Raises ValueError when the program for it fails or is not there."""
    command = next((command for command in COMMANDS if Path(command[0]).exists()), None)
    if command is None:
        raise ValueError(
            f"/{GRUB_FILE} has changed, and this node has neither update-grub nor grub2-mkconfig: "
            "add its words to the kernel command line by hand"
        )
    _checked(command, run)


def _checked(command: list[str], run: Run) -> None:
    code, out, error = run(command)
    if code:
        raise ValueError(f"{Path(command[0]).name} failed: {(error or out).strip()[-300:]}")
