"""sysctl.d and tmpfiles.d: which files a boot reads, and which of their lines win.

Sources: sysctl.d(5), tmpfiles.d(5), and what systemd-tmpfiles of systemd 252 does with duplicate lines.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Iterator

from . import source
from .source import File, Source

ROOTS = ("etc", "run", "usr/local/lib", "usr/lib", "lib")
SYSCTL_CONF = "etc/sysctl.conf"
WORD = re.compile(r"""[ \t]*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^ \t]+)""")
WRITERS = re.compile(r"[fFw][-+!=~^$?]*")
NEVER_READ = "no link in sysctl.d leads to it, so only `sysctl -p` and `sysctl --system` read it"


def sysctls(keys: frozenset[str], root: Path) -> list[Source]:
    """Return the lines that set one of `keys` (paths under proc/sys), in the order a boot reads them."""
    rows: list[tuple[Source, bool]] = []
    unread: list[Source] = []
    winners: dict[str, tuple[Source, bool]] = {}
    read = set()
    for path in source.layered(_folders("sysctl.d"), ".conf", root):
        file = source.load(path, root)
        if file is None:
            continue
        read.add(file.path)
        unread += file.unread("sysctl.d")
        for line, pattern, value in parse_sysctl(file):
            for key in sorted(key for key in keys if source.matches(key, pattern)):
                row, exact = file.source(key, value or "", line, "sysctl.d"), key == pattern
                rows.append((row, value is not None))
                # a pattern sets only what no line sets, or excludes, by its full name
                if exact or key not in winners or not winners[key][1]:
                    winners[key] = row, exact
    found = unread + [
        row if row is winners[row.setting][0] else source.overrule(row, winners[row.setting][0])
        for row, sets in rows
        if sets
    ]
    plain = source.load(SYSCTL_CONF, root)
    if plain and plain.path not in read:
        found += plain.unread("sysctl.d") + [
            plain.source(key, value, line, "sysctl.d", effective=False, note=NEVER_READ)
            for line, key, value in parse_sysctl(plain)
            if key in keys and value is not None
        ]
    return found


def parse_sysctl(file: File) -> Iterator[tuple[int, str, str | None]]:
    """Yield line, path and value; the value is None for `-key`, which keeps patterns off that key."""
    for number, text in enumerate(file.lines, 1):
        line = text.strip(" \t\r")
        if not line or line[0] in "#;":
            continue
        key, equals, value = line.partition("=")
        if equals or line[0] == "-":
            yield number, source.sysctl_path(key.strip().lstrip("-")), value.strip() if equals else None


def tmpfiles(root: Path) -> list[Source]:
    """Return the lines that write to a memory setting.

    Of lines for the same path the first counts, and later ones are dropped; only `w+` may follow a `w+`. A pattern is
    another path than the file it matches: both are written, the later line last. `f+` and `F` come before any `w`.
    """
    rows: list[tuple[tuple[bool, int, int], Source]] = []
    unread: list[Source] = []
    first: dict[tuple[bool, str], tuple[int, str, Source]] = {}
    for path in source.layered(_folders("tmpfiles.d"), ".conf", root):
        file = source.load(path, root)
        if file is None:
            continue
        unread += file.unread("tmpfiles.d")
        for line, kind, target, value in parse_tmpfiles(file):
            for setting in source.expand(target, root):
                row = file.source(setting, value, line, "tmpfiles.d")
                place, leader, winner = first.setdefault((kind[0] == "w", target), (len(rows), kind, row))
                if kind[0] == "f" and "+" not in kind:
                    row = replace(row, effective=False, note="f writes only to a file that is not there yet")
                elif (row.file, row.line) != (winner.file, winner.line) and not _appends(kind, leader):
                    row = source.overrule(row, winner)
                rows.append(((kind[0] == "w", place, len(rows)), row))
    return unread + source.last_wins([row for _, row in sorted(rows, key=lambda row: row[0])])


def _appends(kind: str, leader: str) -> bool:
    return kind[0] == leader[0] == "w" and "+" in kind and "+" in leader


def parse_tmpfiles(file: File) -> Iterator[tuple[int, str, str, str]]:
    """Yield line, type, path and what is written, of the lines that write anything."""
    for number, text in enumerate(file.lines, 1):
        words, rest = _words(text, 6)
        if len(words) < 2 or not WRITERS.fullmatch(words[0]) or not words[1].startswith("/"):
            continue
        argument = rest.strip(" \t\r")
        if argument not in ("", "-"):
            yield number, words[0], source.simplify(words[1]), argument.replace("\\n", "\n").strip()


def _folders(name: str) -> tuple[str, ...]:
    return tuple(f"{root}/{name}" for root in ROOTS)


def _words(line: str, most: int) -> tuple[list[str], str]:
    words: list[str] = []
    end = 0
    while len(words) < most:
        found = WORD.match(line, end)
        if not found:
            break
        word = found.group(1)
        words.append(word[1:-1] if len(word) > 1 and word[0] == word[-1] and word[0] in "\"'" else word)
        end = found.end()
    return words, line[end:]
