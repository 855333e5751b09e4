"""/proc/meminfo, of the node or of one NUMA node."""

from __future__ import annotations

from pathlib import Path


def parse(text: str) -> dict[str, int]:
    """Return name to number: kB for amounts, a count for `HugePages_*`. Takes both the global and the per-node form."""
    fields = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            fields[name.split()[-1]] = int(words[0])
    return fields


def read(root: Path = Path("/")) -> dict[str, int]:
    return parse((root / "proc/meminfo").read_text())


def default_page_kb(root: Path = Path("/")) -> int | None:
    """Return the huge page size that vm.nr_hugepages speaks of, None on a kernel without hugetlb."""
    return read(root).get("Hugepagesize")


def huge_lines(fields: dict[str, int]) -> dict[str, int]:
    """Return what `grep -i huge /proc/meminfo` shows, and `Hugetlb`."""
    return {name: value for name, value in fields.items() if "huge" in name.lower()}
