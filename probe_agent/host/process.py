"""Memory of a living process, as proof of what it uses (proc_pid_smaps(5), proc_pid_stat(5))."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ALLOCATOR = re.compile(r"/\S*lib(jemalloc|tcmalloc|mimalloc)\S*\.so\S*")


@dataclass(frozen=True)
class Memory:
    """One process. Amounts in MiB, faults as counts since its start.

    `asked_huge_mb` is what of `anon_huge_mb` lies where the process asked for huge pages, by madvise(2).
    """

    rss_mb: float
    rss_peak_mb: float
    vsz_mb: float
    pss_mb: float
    anon_huge_mb: float
    asked_huge_mb: float
    file_huge_mb: float
    private_hugetlb_mb: float
    minor_faults: int
    major_faults: int
    allocators: tuple[str, ...]


def read(pid: int, root: Path = Path("/")) -> Memory:
    """Return the memory of `pid`. Raises FileNotFoundError or ProcessLookupError when it has ended."""
    folder = root / "proc" / str(pid)
    status, rollup = parse_kb((folder / "status").read_text()), parse_kb((folder / "smaps_rollup").read_text())
    minor, major = parse_faults((folder / "stat").read_text())
    return Memory(
        rss_mb=_mb(status["VmRSS"]),
        rss_peak_mb=_mb(status["VmHWM"]),
        vsz_mb=_mb(status["VmSize"]),
        pss_mb=_mb(rollup["Pss"]),
        anon_huge_mb=_mb(rollup["AnonHugePages"]),
        asked_huge_mb=_mb(asked_huge_kb(pid, root)),
        file_huge_mb=_mb(rollup.get("FilePmdMapped", 0)),
        private_hugetlb_mb=_mb(rollup["Private_Hugetlb"]),
        minor_faults=minor,
        major_faults=major,
        allocators=parse_allocators((folder / "maps").read_text()),
    )


def asked_huge_kb(pid: int | str = "self", root: Path = Path("/")) -> int:
    """Return the anonymous huge pages of a process, in KiB, in mappings that it asked them for (VmFlags hg)."""
    return parse_asked_huge((root / "proc" / str(pid) / "smaps").read_text())


def rss_mb(pid: int | str = "self", root: Path = Path("/")) -> float:
    """Return the resident memory of a process alone: cheap enough to be read between two generations."""
    return parse_kb((root / "proc" / str(pid) / "status").read_text())["VmRSS"] / 1024


def descendants(pid: int, root: Path = Path("/")) -> list[int]:
    """Return the processes that `pid` started, and those they started, parents first."""
    found: list[int] = []
    try:
        tasks = list((root / "proc" / str(pid) / "task").iterdir())
    except OSError:  # the process ended meanwhile
        return found
    for task in tasks:
        try:
            children = [int(child) for child in (task / "children").read_text().split()]
        except OSError:  # the thread did
            continue
        for child in children:
            found += [child, *descendants(child, root)]
    return found


def group(number: int, root: Path = Path("/")) -> list[int]:
    """Return the processes of a group. One that has ended holds nothing, though nobody may have collected it."""
    found = []
    for stat in (root / "proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:  # it ended meanwhile
            continue
        state, _, its_group = text[text.rindex(")") + 2 :].split()[:3]
        if int(its_group) == number and state not in "ZX":
            found.append(int(stat.parent.name))
    return found


def parse_kb(text: str) -> dict[str, int]:
    """Return the `Name:  123 kB` lines of status and smaps_rollup."""
    return {name: int(kb) for name, kb in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}


def parse_asked_huge(smaps: str) -> int:
    """Return the sum of AnonHugePages, in KiB, over the mappings flagged hg."""
    asked = held = 0
    for kb, flags in re.findall(r"^AnonHugePages:\s+(\d+) kB$|^VmFlags:(.*)$", smaps, re.MULTILINE):
        held = int(kb) if kb else held
        asked += held if "hg" in flags.split() else 0  # the flags are a mapping's last line
    return asked


def parse_faults(stat: str) -> tuple[int, int]:
    """Return minor and major faults; the command's name may hold spaces and brackets, so count from its end."""
    fields = stat[stat.rindex(")") + 2 :].split()
    return int(fields[7]), int(fields[9])


def parse_allocators(maps: str) -> tuple[str, ...]:
    """Return the allocator libraries that are mapped, each path once."""
    return tuple(sorted({match.group(0) for match in ALLOCATOR.finditer(maps)}))


def _mb(kb: int) -> float:
    return round(kb / 1024, 1)
