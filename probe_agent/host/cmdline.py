"""Kernel parameters that set huge pages: on this boot, and where the next one gets them from.

Source: Documentation/admin-guide/kernel-parameters.txt and mm/hugetlb.c of the Linux kernel.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Iterator

from . import source
from .source import THP, File, Source

SIZE = re.compile(r"([0-9]{1,15})([KMGT]?)", re.IGNORECASE)
SHIFTS = {"": -10, "K": 0, "M": 10, "G": 20, "T": 30}
WORD = re.compile(r'(?:"[^"]*"?|[^\s"])+')
MOST_WORDS = 4096  # far beyond any command line; a variable may hold itself twice
DEFAULT_POOL = "proc/sys/vm/nr_hugepages"
ASSIGNMENT = re.compile(r"\s*(?:export\s+)?(GRUB_CMDLINE_LINUX(?:_DEFAULT)?)(\+?=)(.*)")
VARIABLE = re.compile(r"\$\{?(GRUB_CMDLINE_LINUX(?:_DEFAULT)?)\}?")


@dataclass(frozen=True)
class Word:
    """One parameter and where it is written."""

    text: str
    file: File
    line: int


def split(text: str) -> list[str]:
    """Return the parameters: quotes hold blanks together, and what follows `--` is for init, not for the kernel."""
    words = [word.replace('"', "") for word in WORD.findall(text)]
    return words[: words.index("--")] if "--" in words else words


def read(words: list[Word], kind: str, default_kb: int | None) -> list[Source]:
    """Return what a command line sets. `default_kb` is the page size of a pool that names none.

    A later parameter overrules an earlier one, except for pools, where the kernel keeps the first.
    """
    rows: list[Source] = []
    pools: dict[str, Source] = {}
    named = [_size_kb(value) for name, value in _pairs(words) if name == "default_hugepagesz"]
    usual_kb = next(filter(None, named), default_kb)
    size_kb, valid = None, True
    for word, (name, value) in zip(words, _pairs(words)):
        if name in ("hugepagesz", "default_hugepagesz"):
            size_kb = _size_kb(value)
            valid = size_kb is not None
        settings = _pools(value, size_kb or usual_kb) if name == "hugepages" and valid else _plain(name, value)
        for setting, given in settings:
            row = word.file.source(setting, given, word.line, kind)
            if name in ("hugepages", "default_hugepagesz"):
                winner = pools.setdefault(setting, row)
                row = row if winner is row else source.overrule(row, winner)
            rows.append(row)
    return source.last_wins(rows)


def current(root: Path, default_kb: int | None) -> list[Source]:
    """Return what this boot was given."""
    file = source.load("proc/cmdline", root)
    return file.unread("command line") + read(_file_words(file), "command line", default_kb) if file else []


def configured(root: Path, default_kb: int | None) -> list[Source]:
    """Return what is configured for the next boot: GRUB's defaults take hold when its menu is next generated."""
    rows = _grub(root, default_kb)
    entries = [f"boot/loader/entries/{name}" for name in source.names("boot/loader/entries", root)]
    for path in ["etc/kernel/cmdline", *(entry for entry in entries if entry.endswith(".conf"))]:
        file = source.load(path, root)
        if file:
            rows += file.unread("boot loader")
            words = _entry_words(file) if path in entries else _file_words(file)
            rows += read(words, "boot loader", default_kb)  # every entry is a command line of its own
    return rows


def _pairs(words: list[Word]) -> Iterator[tuple[str, str]]:
    for word in words:
        name, _, value = word.text.partition("=")
        yield name.replace("-", "_"), value  # the kernel does not tell them apart


def _plain(name: str, value: str) -> Iterator[tuple[str, str]]:
    if name == "transparent_hugepage":
        yield f"{THP}/enabled", value
    elif name == "transparent_hugepage_shmem":
        yield f"{THP}/shmem_enabled", value
    elif name == "thp_anon":
        yield from _per_size(value, "enabled")
    elif name == "thp_shmem":
        yield from _per_size(value, "shmem_enabled")
    elif name == "default_hugepagesz":
        yield name, value
    elif name.startswith(("sysctl.vm", "sysctl/vm")):
        yield source.sysctl_path(name[len("sysctl.") :]), value


def _per_size(value: str, file: str) -> Iterator[tuple[str, str]]:
    """Yield one setting per page size of `16K-64K:always;2M:never`."""
    for part in value.split(";"):
        sizes, _, state = part.partition(":")
        for size in sizes.split(","):
            low, dash, high = size.partition("-")
            size_kb, most_kb = _size_kb(low), _size_kb(high if dash else low)
            while size_kb and most_kb and size_kb <= most_kb:
                yield f"{THP}/hugepages-{size_kb}kB/{file}", state
                size_kb *= 2


def _pools(value: str, size_kb: int | None) -> Iterator[tuple[str, str]]:
    """Yield the pool of `512`, or the NUMA nodes' ones of `0:256,1:256`."""
    if re.fullmatch(r"[0-9]+", value):
        yield f"sys/kernel/mm/hugepages/hugepages-{size_kb}kB/nr_hugepages" if size_kb else DEFAULT_POOL, value
    elif size_kb:
        for node, pages in re.findall(r"(?:^|,)([0-9]+):([0-9]+)(?=,|$)", value):
            yield f"sys/devices/system/node/node{node}/hugepages/hugepages-{size_kb}kB/nr_hugepages", pages


def _size_kb(text: str) -> int | None:
    found = SIZE.fullmatch(text)
    if not found:
        return None
    number, shift = int(found.group(1)), SHIFTS[found.group(2).upper()]
    return (number << shift if shift >= 0 else number >> -shift) or None


def _file_words(file: File) -> list[Word]:
    lines = enumerate(file.lines, 1)
    return [Word(word, file, line) for line, text in lines if not text.startswith("#") for word in split(text)]


def _entry_words(file: File) -> list[Word]:
    """Return the options of a boot loader entry, which may stand on several lines."""
    options = ((line, text.split(None, 1)) for line, text in enumerate(file.lines, 1))
    return [
        Word(word, file, line) for line, key in options if key[:1] == ["options"] for word in split("".join(key[1:]))
    ]


def _grub(root: Path, default_kb: int | None) -> list[Source]:
    """Read GRUB's defaults as its shell does: a later file's assignment replaces an earlier one's words."""
    variables: dict[str, list[Word]] = {"GRUB_CMDLINE_LINUX": [], "GRUB_CMDLINE_LINUX_DEFAULT": []}
    rows: list[Source] = []
    for path in ["etc/default/grub", *source.layered(("etc/default/grub.d",), ".cfg", root)]:
        file = source.load(path, root)
        if file is None:
            continue
        rows += file.unread("boot loader")
        for line, name, adds, value in _grub_assignments(file):
            words = list(variables[name]) if adds else []
            for text in split(value):
                earlier = VARIABLE.fullmatch(text)
                if len(words) < MOST_WORDS:
                    words += variables[earlier.group(1)] if earlier else [Word(text, file, line)]
            kept = {id(word) for word in words}
            lost = [word for word in variables[name] if id(word) not in kept]
            rows += [
                replace(row, effective=False, note=f"replaced by {file.path} line {line}")
                for row in read(lost, "boot loader", default_kb)
            ]
            variables[name] = words
    return rows + read([word for words in variables.values() for word in words], "boot loader", default_kb)


def _grub_assignments(file: File) -> Iterator[tuple[int, str, bool, str]]:
    for line, text in enumerate(file.lines, 1):
        found = ASSIGNMENT.match(text)
        if found:
            try:
                value = shlex.split(found.group(3), comments=True)
            except ValueError:  # a quote that closes on a later line
                value = [found.group(3).strip("\"' ")]
            yield line, found.group(1), found.group(2) == "+=", "".join(value[:1])
