"""What a line of shell sets, as far as the line shows it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Iterator

from . import source
from .source import THP, File, Source

KNOB = re.compile(r"/((?:sys/kernel/mm|sys/devices/system/node|proc/sys/vm)/[\w*?\[\]{},.@:+/-]*[\w*}\]])")
REDIRECT = re.compile(rf"""(?:>\|?\s*[\\"']*){KNOB.pattern}""")
TEE = re.compile(r"\btee\b([^|>]*)")
ECHO = re.compile(r"""\b(?:echo|printf)\s+(?:-\w+\s+)*[\\"']*([\w+.-]+)""")
SYSCTL = re.compile(r"""\b(vm[./]\w+)\s*=\s*["']?([\w.-]*)""")
LONGEST = 4096  # characters of a line anyone would write
POOL = re.compile(r"hugepages-(\d+)kB/nr_hugepages")
READS = re.compile(r"""[\w/'"@ -]*?(?:\bif\b|\bwhile\b|\btest\b|\[|\bcat\b|\bgrep\b)""")


def settings(text: str, keys: frozenset[str], root: Path) -> Iterator[tuple[str, str]]:
    """Yield setting and value; a value that the line does not show is empty. `keys` are the sysctls asked for."""
    for pattern, value in _commands(text, keys):
        if pattern.startswith(("sys/", "proc/")):
            yield from ((setting, value) for setting in source.expand(pattern, root))
        else:
            yield pattern, value


def script(file: File, kind: str, keys: frozenset[str], root: Path) -> list[Source]:
    """Return what a shell script sets, down to the line that leaves it."""
    rows = file.unread(kind)
    for number, text in enumerate(file.lines, 1):
        if re.match(r"exit\b", text):
            break
        if text.lstrip().startswith("#"):
            continue
        rows += [file.source(setting, value, number, kind) for setting, value in settings(text, keys, root)]
    return rows


def _commands(text: str, keys: frozenset[str]) -> Iterator[tuple[str, str]]:
    for part in re.split(r";|&&|\|\|", text[:LONGEST]):
        echo = ECHO.search(part)
        value = echo.group(1) if echo else ""
        written = [*REDIRECT.findall(part), *(path for tee in TEE.findall(part) for path in KNOB.findall(tee))]
        yield from ((setting, value) for setting in written)
        if "sysctl" in part:
            yield from (
                (path, given) for key, given in SYSCTL.findall(part) if (path := source.sysctl_path(key)) in keys
            )
        if re.search(r"\bmount\b.*\bhugetlbfs\b", part):
            target = [word.strip("\"'") for word in part.split() if word.strip("\"'").startswith("/")][-1:]
            options = re.search(r"-o\s+([\w=,.%-]+)", part)
            if target:
                yield source.simplify(target[0]), options.group(1) if options else "defaults"
        elif not written and not READS.match(part):
            yield from _hints(part)


def _hints(part: str) -> Iterator[tuple[str, str]]:
    """Yield settings that a command names without showing what it does with them, paths in variables included."""
    pool = POOL.search(part)
    knobs = [knob for knob in KNOB.findall(part) if "hugepage" in knob]
    if knobs:
        yield from ((knob, "") for knob in knobs)
    elif pool and (">" in part or "tee" in part):
        yield f"sys/kernel/mm/hugepages/hugepages-{pool.group(1)}kB/nr_hugepages", ""
    elif "transparent_hugepage" in part:
        yield THP, ""
