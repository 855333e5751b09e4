"""Everything on a node that sets huge pages at boot or behind our back, named with file and line."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Iterable

from . import cmdline, dropins, meminfo, source, startup, tuned
from .source import Source

__all__ = ["SYSCTLS", "Source", "for_setting", "pool_setting", "read", "unread"]

SYSCTLS = frozenset({"vm.nr_hugepages", "vm.nr_overcommit_hugepages", "vm.nr_hugepages_mempolicy"})
POOL = re.compile(r"sys/(?:kernel/mm|devices/system/node/node(\d+))/hugepages/(hugepages-\d+kB/nr\w+)")


def read(
    root: Path = Path("/"),
    sysctls: Iterable[str] = SYSCTLS,
    tuned_running: bool | None = None,
    uname: str = "",
) -> list[Source]:
    """Return all sources, in the order a boot lets them act; what is configured for the next boot comes last.

    `tuned_running` is for a caller who asked systemd; `uname` for one who reads another machine's tree.
    """
    keys = frozenset(source.sysctl_path(key) for key in sysctls)
    default_kb = _default_kb(root)
    files = dropins.sysctls(keys, root)
    profile = tuned.read(tuned.state(root, tuned_running), keys, default_kb, uname or " ".join(os.uname()), root)
    return [
        *cmdline.current(root, default_kb),
        *files,
        *dropins.tmpfiles(root),
        *startup.fstab(root),
        *startup.units(keys, root),
        *startup.rc_local(keys, root),
        *(_reapplied(profile, files) if tuned.reapplies_sysctls(root) else profile),
        *cmdline.configured(root, default_kb),
    ]


def for_setting(sources: list[Source], setting: str, default_kb: int | None = None) -> list[Source]:
    """Return the sources that move `setting`, a path or a sysctl's name.

    With the node's default page size, vm.nr_hugepages is found by its pool's path and the other way round. A pool and
    its share on one NUMA node move each other.
    """
    asked = pool_setting(setting, default_kb)
    return [found for found in sources if found.setting and _moves(pool_setting(found.setting, default_kb), asked)]


def unread(sources: list[Source]) -> list[Source]:
    """Return what could not be looked into: silence about it would be a guess."""
    return [found for found in sources if not found.setting]


def pool_setting(setting: str, default_kb: int | None) -> str:
    """Return the path that a setting really is: for the sysctls of the default pool, that pool's file.

    A NUMA policy changes where the pages of vm.nr_hugepages_mempolicy lie, not which pool they are in.
    """
    path = setting.strip("/") if "/" in setting else source.sysctl_path(setting) if "." in setting else setting
    if default_kb and re.fullmatch(r"proc/sys/vm/nr_(overcommit_)?hugepages(_mempolicy)?", path):
        path = f"{source.POOLS}/hugepages-{default_kb}kB/{path.rpartition('/')[2]}"
    return path[: -len("_mempolicy")] if path.endswith("/nr_hugepages_mempolicy") else path


def _moves(found: str, asked: str) -> bool:
    if found == asked or asked.startswith(f"{found}/") or (source.is_glob(found) and source.matches(asked, found)):
        return True
    pools = POOL.fullmatch(found), POOL.fullmatch(asked)
    return all(pools) and pools[0].group(2) == pools[1].group(2) and None in (pools[0].group(1), pools[1].group(1))


def _reapplied(profile: list[Source], files: list[Source]) -> list[Source]:
    """TuneD applies the sysctls of /etc and /run once more after its own."""
    last = {row.setting: row for row in files if row.effective and row.file.startswith(("/etc/", "/run/"))}
    return [
        replace(row, effective=False, note=f"TuneD applies {last[row.setting].file} again after it")
        if row.effective and row.setting in last
        else row
        for row in profile
    ]


def _default_kb(root: Path) -> int | None:
    try:
        return meminfo.default_page_kb(root)
    except (OSError, ValueError):
        return None
