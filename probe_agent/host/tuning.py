"""One shape for all tuning modules: what is wished, what is owed at runtime and for the next boot, what cannot be."""

from __future__ import annotations

import errno
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Callable

from . import files, knobs, snapshot, sources
from .files import FileChange, OwnedFile
from .knobs import Change
from .sources import Source

READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


@dataclass(frozen=True)
class Wish:
    """One setting the operator named."""

    variable: str
    path: str
    value: str


@dataclass(frozen=True)
class Row:
    """One setting as it stands. `persisted` is None where nothing was asked to survive a reboot."""

    variable: str
    path: str
    desired: str
    actual: str | None
    persisted: bool | None = None
    skipped: str = ""
    sources: list[str] = field(default_factory=list)

    @property
    def deviates(self) -> bool:
        return not self.skipped and (self.actual != self.desired or self.persisted is False)

    @property
    def sentence(self) -> str:
        where = f" ({'; '.join(self.sources)})" if self.sources else ""
        if self.actual != self.desired:
            return f"{self.variable} is to be {self.desired}, and /{self.path} is {self.actual}{where}"
        return f"{self.variable} is {self.desired} now, and nothing keeps it so after a reboot{where}"


@dataclass(frozen=True)
class Plan:
    """All that a module owes.

    `skipped` maps a variable to why this node cannot have it, `refused` a path to why it took no write. `persists` says
    that the values are to survive a reboot.
    """

    changes: list[Change]
    files: list[FileChange]
    skipped: dict[str, str]
    persists: bool = False
    refused: dict[str, str] = field(default_factory=dict)

    def diff(self) -> dict[str, str]:
        """Return before and after as Ansible shows them."""
        before = [f"/{change.path} = {change.before}\n" for change in self.changes]
        after = [f"/{change.path} = {change.after}\n" for change in self.changes]
        for change in self.files:
            before += [f"/{change.path}:\n{change.before}"] if change.before is not None else []
            after += [f"/{change.path}:\n{change.after}"] if change.after is not None else []
        return {"before": "".join(before), "after": "".join(after)}


def plan_knobs(wishes: list[Wish], root: Path = Path("/")) -> tuple[list[Change], dict[str, str]]:
    """Return the writes owed, and why a wish cannot be had here. Raises ValueError on a value the kernel refuses."""
    changes, skipped = [], {}
    for wish in wishes:
        found = knobs.read(wish.path, root)
        if found is None:
            skipped[wish.variable] = f"this node's kernel has no /{wish.path}"
            continue
        change = knobs.plan(wish.variable, found, wish.value)
        if change:
            changes.append(change)
    return changes, skipped


def plan_files(wanted: dict[str, OwnedFile | None], root: Path = Path("/")) -> list[FileChange]:
    """Return what makes each of our files as wanted; `wanted` maps a path to its file, or to None for absent."""
    planned = (files.plan(path, file, root) for path, file in wanted.items())
    return [change for change in planned if change]


def conflicts(wishes: list[Wish], found: list[Source], default_kb: int | None) -> list[Source]:
    """Return each thing on the node that will set one of the wishes to something else."""
    return [
        source
        for wish in wishes
        for source in sources.for_setting(found, wish.path, default_kb)
        if source.effective and not source.ours and source.value != wish.value
    ]


def refuse_a_fight(wishes: list[Wish], found: list[Source], default_kb: int | None) -> None:
    """Raise ValueError when what we are to persist would be overwritten, or would overwrite somebody."""
    fights = conflicts(wishes, found, default_kb)
    if fights:
        named = "; ".join(dict.fromkeys(source.sentence for source in fights))
        wanted = ", ".join(f"{wish.variable} {wish.value}" for wish in wishes)
        raise ValueError(f"the inventory wants {wanted}, but {named}: change that, or the inventory")


def carry_out(plan: Plan, root: Path = Path("/"), write: Callable[[Change, Path], str] = knobs.write) -> Plan:
    """Write, each recorded for rollback first. Returns the plan with what a read-only /sys refused as skipped."""
    refused = {}
    for change in plan.changes:
        try:
            snapshot.apply([change], root, write)
        except snapshot.RefusedError as error:
            if error.errno not in READ_ONLY:
                raise
            refused[change.path] = str(error)
    for file in plan.files:
        files.write(file, root)
    return replace(plan, refused=refused)


def outcome(
    plan: Plan, wishes: list[Wish], found: list[Source], default_kb: int | None, root: Path = Path("/")
) -> dict[str, object]:
    """Return what a module reports: how each wish stands now, what is skipped and why, and the diff."""
    rows = [_row(wish, plan, found, default_kb, root) for wish in wishes]
    return {
        "changed": bool(plan.files) or any(change.path not in plan.refused for change in plan.changes),
        "settings": [{**asdict(row), "deviation": row.sentence if row.deviates else ""} for row in rows],
        "skipped_settings": {row.variable: row.skipped for row in rows if row.skipped},
        "diff": plan.diff(),
    }


def _row(wish: Wish, plan: Plan, found: list[Source], default_kb: int | None, root: Path) -> Row:
    knob = knobs.read(wish.path, root)
    owed = any(files.read(change.path, root) != change.after for change in plan.files)
    return Row(
        variable=wish.variable,
        path=wish.path,
        desired=wish.value,
        actual=knob.value if knob else None,
        persisted=not owed if plan.persists else None,
        skipped=plan.skipped.get(wish.variable) or plan.refused.get(wish.path, ""),
        sources=[source.sentence for source in conflicts([wish], found, default_kb)],
    )
