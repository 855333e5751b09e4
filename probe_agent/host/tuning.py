"""One shape for all tuning modules: what is wished, what is owed now and for the next boot, what cannot be."""

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
    """One setting the operator named. `path` is that of its knob."""

    variable: str
    path: str
    value: str


@dataclass(frozen=True)
class Plan:
    """All that a module owes.

    `skipped` maps a variable to why this node cannot have it, `refused` a path to why it took no write. `persists` says
    that the values are to survive a reboot.
    """

    wishes: list[Wish]
    changes: list[Change]
    files: list[FileChange]
    skipped: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    persists: bool = False

    def diff(self) -> dict[str, str]:
        """Return before and after as Ansible shows them."""
        before = [f"/{change.path} = {change.before}\n" for change in self.changes]
        after = [f"/{change.path} = {change.after}\n" for change in self.changes]
        for change in self.files:
            before += [f"/{change.path}:\n{change.before}"] if change.before is not None else []
            after += [f"/{change.path}:\n{change.after}"] if change.after is not None else []
        return {"before": "".join(before), "after": "".join(after)}


@dataclass(frozen=True)
class Row:
    """One setting as it stands. `persisted` is None where nothing was asked to survive a reboot.

    `sources` are sentences about what else sets it, `pending_reboot` tells that the next boot brings it.
    """

    variable: str
    path: str
    desired: str
    actual: str | None
    persisted: bool | None = None
    pending_reboot: bool = False
    skipped: str = ""
    sources: list[str] = field(default_factory=list)

    @property
    def deviation(self) -> str:
        """Return what is not as wished in one sentence, or nothing. Neither a skip nor an owed reboot is one."""
        because = f" ({'; '.join(self.sources)})" if self.sources else ""
        if self.skipped or self.pending_reboot:
            return ""
        if self.actual != self.desired:
            return f"{self.variable} is to be {self.desired}, and /{self.path} is {self.actual or 'absent'}{because}"
        if self.persisted is False:
            return f"{self.variable} is {self.desired}, and nothing keeps it so after a reboot{because}"
        return f"{self.variable} is {self.desired} until the next boot: {'; '.join(self.sources)}" if because else ""

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "deviation": self.deviation}


def plan(wishes: list[Wish], owned: dict[str, OwnedFile | None], persists: bool, root: Path = Path("/")) -> Plan:
    """Return what is owed. `owned` maps the path of each of our files to what it should be, None for absent.

    Raises ValueError on a value the kernel refuses; a setting it does not have at all is skipped.
    """
    changes, skipped = [], {}
    for wish in wishes:
        found = knobs.read(wish.path, root)
        if found is None:
            skipped[wish.variable] = f"this node's kernel has no /{wish.path}"
            continue
        change = knobs.plan(wish.variable, found, wish.value)
        if change:
            changes.append(change)
    planned = (files.plan(path, file, root) for path, file in owned.items())
    return Plan(wishes, changes, [change for change in planned if change], skipped, persists=persists)


def present(wishes: list[Wish], root: Path = Path("/")) -> list[Wish]:
    """Return the wishes this kernel has a file for: only those can be persisted."""
    return [wish for wish in wishes if (root / wish.path).exists()]


def conflicts(wishes: list[Wish], found: list[Source], default_kb: int | None) -> list[Source]:
    """Return each thing on the node that sets one of the wishes to something else."""
    return [
        source
        for wish in wishes
        for source in _others(sources.for_setting(found, wish.path, default_kb))
        if source.value != wish.value
    ]


def _others(found: list[Source]) -> list[Source]:
    """Return what is not ours. What this boot was given is past, where our words decide what the next one is given."""
    others = [source for source in found if source.effective and not source.ours]
    if any(source.kind == "boot loader" and source.effective and source.ours for source in found):
        return [source for source in others if source.kind != "command line"]
    return others


def refuse_a_fight(planned: Plan, found: list[Source], default_kb: int | None, merges: bool = False) -> None:
    """Raise ValueError where a value that is to survive a reboot is set to another one by somebody else.

    With `merges`, TuneD is no adversary: it is about to get our values.
    """
    for wish in planned.wishes if planned.persists else []:
        others = dict.fromkeys(
            source.sentence
            for source in conflicts([wish], found, default_kb)
            if not (merges and source.kind == "tuned")
        )
        if others:
            raise ValueError(f"{wish.variable} is {wish.value}, but {'; '.join(others)}: change that, or the inventory")


def carry_out(planned: Plan, root: Path = Path("/"), write: Callable[[Change, Path], str] = knobs.write) -> Plan:
    """Write, each recorded for rollback first. Returns the plan with what a read-only /sys refused."""
    refused = {}
    for change in planned.changes:
        try:
            snapshot.apply([change], root, write)
        except snapshot.RefusedError as error:
            if error.errno not in READ_ONLY:
                raise
            refused[change.path] = str(error)
    for file in planned.files:
        files.write(file, root)
    return replace(planned, refused=refused)


def rows(planned: Plan, found: list[Source], default_kb: int | None, root: Path = Path("/")) -> list[Row]:
    """Return how each wish stands now: after the plan was carried out or, in check mode, before."""
    owed = any(files.read(change.path, root) != change.after for change in planned.files)
    result = []
    for wish in planned.wishes:
        knob = knobs.read(wish.path, root)
        result.append(
            Row(
                variable=wish.variable,
                path=wish.path,
                desired=wish.value,
                actual=knob.value if knob else None,
                persisted=not owed if planned.persists else None,
                skipped=planned.skipped.get(wish.variable) or planned.refused.get(wish.path, ""),
                sources=list(dict.fromkeys(source.sentence for source in conflicts([wish], found, default_kb))),
            )
        )
    return result


def outcome(planned: Plan, stands: list[Row]) -> dict[str, object]:
    """Return what every tuning module reports."""
    return {
        "changed": bool(planned.files) or any(change.path not in planned.refused for change in planned.changes),
        "settings": [row.to_json() for row in stands],
        "skipped_settings": {row.variable: row.skipped for row in stands if row.skipped},
        "diff": planned.diff(),
    }
