"""Which settings are not as certified or as the inventory wants them, and what on the node sets them now.

Not drift: what the kernel derives itself, what a reboot is to bring, what another kernel has or lacks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from probe_agent.host.source import Source
from probe_agent.preflight import NOT_COMPARED
from probe_agent.settings import name_of, values

from .. import set_by
from ..certificate import Certificate
from ..loose import mapping
from .kinds import CONFIGURATION, DRIFTED, UNKNOWN, Finding, Node, Setter

DROP_IN = "drop-in "
MAY_APPEAR = ("hugetlbfs at ", "TuneD ", DROP_IN)  # other settings come and go with the kernel alone
LIBRARY = " library"  # another one is another version
DEFAULT_PAGE = "default huge page (kB)"
NEXT_BOOT = "boot loader"


@dataclass(frozen=True)
class Setting:
    """One setting in all its places; None stands for absent. `movers` are all that moves it."""

    name: str
    certified: str | None
    now: str | None
    wish: Mapping[str, Any]
    then_set: list[Source]
    now_set: list[Source]
    movers: list[Source]

    @property
    def wanted(self) -> str | None:
        desired = self.wish.get("desired")
        return None if desired is None else str(desired)

    @property
    def deviation(self) -> str:
        """What is not as the inventory wants it; of a pending reboot, nothing."""
        found = self.wish.get("deviation")
        return found if isinstance(found, str) else ""

    @property
    def came_by_reboot(self) -> bool:
        """Tell whether the node has only done what was already configured for its next boot when it was certified."""
        return any(source.kind == NEXT_BOOT and f"{source.value} pages" == self.now for source in self.then_set)

    @property
    def set_otherwise(self) -> bool:
        """Tell whether boot would now set another value. Where the inventory has its way, our own files may change."""
        ours_may = bool(self.wish) and not self.deviation
        then, now = (
            {source.value for source in found if not (ours_may and source.ours)}
            for found in (self.then_set, self.now_set)
        )
        return then != now


def findings(node: Node, certified: Certificate | None, same_kernel: bool) -> Iterator[Finding]:
    """Yield what drifted. Without a certificate, only the inventory says what should be."""
    yield from (Finding(CONFIGURATION, UNKNOWN, "inventory", sentence) for sentence in node.not_verified)
    found = values(node.host_memory)
    if not found:
        yield Finding(CONFIGURATION, UNKNOWN, "settings", "the host memory of this node was not read")
        return
    known = dict(certified.settings) if certified else {}
    boot_known = certified is not None and "sources" in certified.document  # an older agent read nothing of it
    changed = {
        name
        for name in {**known, **found}
        if certified and known.get(name) != found.get(name) and _compared(name, known, found, same_kernel)
        if boot_known or not name.startswith(DROP_IN)
    }
    for setting in _settings(node, certified, known, found):
        pool = setting.name.partition(set_by.NUMA)[0]
        if setting.name != pool and pool in changed:
            continue  # a share of what is named already
        if setting.name in changed and not setting.came_by_reboot:
            yield _finding(setting, node, _changed(setting))
        elif setting.deviation:
            yield _finding(setting, node, setting.deviation)
        elif boot_known and setting.set_otherwise:
            yield _finding(setting, node, _set_otherwise(setting))
    for name, file in ((f"{DROP_IN}{file}, content", file) for file in node.services):
        if name not in changed:
            said = "is not what jemalloc_services and jemalloc_levers want"
            yield Finding(CONFIGURATION, DRIFTED, name, said, now=found.get(name), set_by=(node.setter(file),))


def _settings(
    node: Node, certified: Certificate | None, known: Mapping[str, str], found: Mapping[str, str]
) -> Iterator[Setting]:
    certified_sources = set_by.rows(certified.document.get("sources")) if certified else []
    usual = known.get(DEFAULT_PAGE, "")
    then = set_by.by_name(certified_sources, int(usual) if usual.isdigit() else None)
    now = set_by.by_name(set_by.rows(node.host_memory.get("sources")), node.host_memory.get("default_hugepage_size_kb"))
    wishes = {name_of(str(row.get("path"))): row for row in node.inventory}
    for name in dict.fromkeys([*known, *found, *wishes, *then, *now]):
        yield Setting(
            name,
            known.get(name),
            found.get(name),
            mapping(wishes.get(name)),
            then.get(name, []),
            now.get(name, []),
            set_by.movers(name, now),
        )


def _compared(name: str, known: Mapping[str, str], found: Mapping[str, str], same_kernel: bool) -> bool:
    if name in NOT_COMPARED or LIBRARY in name:
        return False
    if name in known and name in found:
        return True
    return name.startswith(MAY_APPEAR) or (name in known and same_kernel)


def _finding(setting: Setting, node: Node, said: str) -> Finding:
    setters = [node.setter(each.file, each.line, each.value) for each in setting.movers]
    file = setting.name.removeprefix(DROP_IN).partition(",")[0]
    if not setters and file in node.origins:
        setters = [node.setter(file)]
    return Finding(
        CONFIGURATION,
        DRIFTED,
        setting.name,
        said + _written(setting, node, setters),
        certified=setting.certified,
        wanted=setting.wanted,
        now=setting.now,
        set_by=tuple(dict.fromkeys(setters)),
    )


def _changed(setting: Setting) -> str:
    said = f"is {setting.now or 'absent'}, and was certified as {setting.certified or 'absent'}"
    if setting.wanted is not None:
        said += f"; the inventory wants {setting.wanted}"
    return f"{said}; {'; '.join(_sentences(setting.movers))}" if setting.movers else said


def _set_otherwise(setting: Setting) -> str:
    said = f"is {setting.now or 'absent'} as certified"
    if not setting.now_set:
        return f"{said}, but what set it is gone: {'; '.join(_sentences(setting.then_set))}, when it was certified"
    return f"{said}, but {'; '.join(_sentences(setting.now_set))}, which was not so when it was certified"


def _written(setting: Setting, node: Node, setters: list[Setter]) -> str:
    """Say when a value was written that no file stands behind."""
    if setters or setting.now is None or setting.name.startswith((DROP_IN, "TuneD ")):
        return ""
    when = next((when for path, when in node.written.items() if name_of(path) == setting.name), "")
    by_hand = "nothing that a boot reads sets it"
    return f"; {by_hand}, and the kernel's file was last written {when}" if when else f"; {by_hand}"


def _sentences(found: list[Source]) -> list[str]:
    return list(dict.fromkeys(source.sentence for source in found))
