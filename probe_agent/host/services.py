"""What a service starts with: one drop-in of ours per systemd unit, which carries the variables of its levers."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..arms import ARMS, LEVERS
from . import allocators, files, proof, source, units
from .files import FileChange, OwnedFile
from .units import Given, State

FOLDER = "etc/systemd/system"
NAME = "stethos.conf"

UNIT = re.compile(r"[A-Za-z0-9:_\\-][A-Za-z0-9:_.\\-]*(@[A-Za-z0-9:_.\\-]*)?")
CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # all but the tab, which may stand in a variable
ALLOCATOR = re.compile(r"lib(?:jemalloc|tcmalloc|mimalloc)[^\s:]*")


@dataclass(frozen=True)
class Wish:
    """One service the operator named, as `variable`; `environment` is all it is to start with, levers included."""

    variable: str
    unit: str
    levers: tuple[str, ...]
    environment: dict[str, str]

    @property
    def file(self) -> OwnedFile:
        lines = (units.line(name, value) for name, value in self.environment.items())
        return OwnedFile(path(self.unit), "[Service]\n" + "".join(lines))


@dataclass(frozen=True)
class Plan:
    """What is owed: `changes` to drop-ins, and `restarts` by unit, each with the reason.

    `reload` says that systemd must read its files again. `environments` is what each unit's process is to have.
    """

    changes: dict[str, FileChange]
    reload: bool
    restarts: dict[str, str]
    environments: dict[str, dict[str, str]]


def path(unit: str) -> str:
    return f"{FOLDER}/{unit}.d/{NAME}"


def missing(root: Path = Path("/")) -> str:
    """Return why no service of this node can be given anything, or nothing."""
    if (root / "run/systemd/system").is_dir():
        return ""
    return "systemd does not run on this node, so no service can be given an environment"


# From what the operator wrote to the variables of each unit.


def wishes(services: list[dict[str, Any]], libraries: dict[str, str]) -> list[Wish]:
    """Return a wish for each service; `libraries` maps an allocator to where it is.

    Raises ValueError on what cannot be wished for.
    """
    wanted: dict[str, Wish] = {}
    for number, service in enumerate(services):
        variable = f"jemalloc_services[{number}]"
        unit = _unit(variable, service["name"])
        if unit in wanted:
            raise ValueError(f"{variable} names {unit}, which {wanted[unit].variable} has named already")
        environment = _environment(variable, service, libraries)
        inert = _inert(environment)
        if inert:
            raise ValueError(f"{variable} has {inert}; choose one")
        wanted[unit] = Wish(variable, unit, tuple(service["levers"]), environment)
    return list(wanted.values())


def _unit(variable: str, name: str) -> str:
    stem = name[: -len(".service")] if name.endswith(".service") else name
    if not UNIT.fullmatch(stem) or len(stem) > 240:
        raise ValueError(f"{variable} has name {name!r}, and must have the name of a service such as vllm or vllm@0")
    if stem.endswith("@"):
        raise ValueError(f"{variable} has name {name!r}, a template, and must name what runs of it, such as {stem}0")
    return f"{stem}.service"


def _environment(variable: str, service: dict[str, Any], libraries: dict[str, str]) -> dict[str, str]:
    """Return the variables of the levers and the operator's own; no two may want one variable to be different."""
    for lever in service["levers"]:
        if lever not in LEVERS:
            raise ValueError(f"{variable} has lever {lever}, and must have levers of {', '.join(LEVERS)}")
        library = ARMS[lever].library
        if library and library not in libraries:
            brings = "jemalloc_install: true brings it" if library == "jemalloc" else "install its package first"
            raise ValueError(f"{variable} has lever {lever}, and this node has no {library} library: {brings}")
    parts = [(f"lever {lever}", ARMS[lever].pulled(libraries)) for lever in service["levers"]]
    parts.append(("environment", _own(variable, service.get("environment") or {})))
    origins: dict[str, str] = {}
    environment: dict[str, str] = {}
    for origin, variables in parts:
        for name, value in variables.items():
            if environment.setdefault(name, value) != value:
                raise ValueError(
                    f"{variable} has {origins[name]}, which sets {name} to {environment[name]}, "
                    f"and {origin}, which sets it to {value}; choose one"
                )
            origins.setdefault(name, origin)
    if not environment:
        raise ValueError(f"{variable} has neither levers nor environment; leave it out to have its drop-in removed")
    return environment


def _own(variable: str, wanted: dict[str, Any]) -> dict[str, str]:
    for name, value in wanted.items():
        if not units.VARIABLE.fullmatch(str(name)):
            raise ValueError(f"{variable} has {name!r} in its environment, which is no name of a variable")
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise ValueError(f"{variable} has {name}={value!r} in its environment, and must have a text in quotes")
        if CONTROL_CHARACTER.search(str(value)):
            raise ValueError(f"{variable} has {name} in its environment with a newline or another control character")
    return {name: str(value) for name, value in wanted.items()}


def _inert(environment: dict[str, str]) -> str:
    """Return what makes a tunable of glibc's malloc inert, or nothing."""
    preloaded = ALLOCATOR.search(environment.get("LD_PRELOAD", ""))
    tunables = environment.get("GLIBC_TUNABLES", "")
    if not preloaded or "glibc.malloc." not in tunables:
        return ""
    return f"{preloaded.group()} in LD_PRELOAD, which makes {tunables} in GLIBC_TUNABLES inert"


# What is owed on the node.


def refuse(wish: Wish, state: State, others: list[Given]) -> None:
    """Raise ValueError where there is no such unit, or somebody else's file wants a variable to be different."""
    if state.load != "loaded":
        words = {"not-found": "there is no such unit on this node", "masked": "that unit is masked"}
        raise ValueError(f"{wish.variable} names {wish.unit}: {words.get(state.load, f'systemd says {state.load}')}")
    for other in others:
        if not other.name or wish.environment.get(other.name, other.value) != other.value:
            name, value = next(pair for pair in wish.environment.items() if other.name in (pair[0], ""))
            raise ValueError(
                f"{wish.variable} gives {wish.unit} {name}={value}, but {other.sentence} ({other.rank}): "
                "change that, or the inventory"
            )
    inert = _inert({**{other.name: other.value or "" for other in others}, **wish.environment})
    if inert:
        because = "; ".join(other.sentence for other in others if other.name in ("LD_PRELOAD", "GLIBC_TUNABLES"))
        raise ValueError(
            f"{wish.variable} leaves {wish.unit} with {inert}, as {because}: change that, or the inventory"
        )


def present(root: Path = Path("/")) -> list[str]:
    """Return the units that have a drop-in of ours."""
    found = sorted(found.parent.name[: -len(".d")] for found in root.glob(f"{FOLDER}/*.service.d/{NAME}"))
    return [unit for unit in found if (files.read(path(unit), root) or "").startswith(files.MARK)]


def contents(root: Path = Path("/")) -> dict[str, str]:
    """Return a hash of every drop-in of the units that have one of ours; their text may hold secrets."""
    hashes = {}
    for folder in (f"{place}/{unit}.d" for unit in present(root) for place in units.FOLDERS):
        for name in source.names(folder, root):
            file = source.load(f"{folder}/{name}", root) if name.endswith(".conf") else None
            if file and not file.error:
                text = "\n".join(file.lines)
                hashes[f"/{folder}/{name}"] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return hashes


def plan(wanted: list[Wish], states: dict[str, State], root: Path = Path("/")) -> Plan:
    """Return what fulfils the wishes and removes our other drop-ins; `states` are of the units of both.

    Raises ValueError where a wish cannot be fulfilled, or would fight with somebody else's file.
    """
    files_wanted: dict[str, OwnedFile | None] = dict.fromkeys(present(root))
    files_wanted.update({wish.unit: wish.file for wish in wanted})
    environments: dict[str, dict[str, str]] = {unit: {} for unit in files_wanted}
    environments.update({wish.unit: wish.environment for wish in wanted})
    others = {unit: units.given(unit, path(unit), states[unit].names, root) for unit in files_wanted}
    for wish in wanted:
        refuse(wish, states[wish.unit], others[wish.unit])
        twin = next((other for other in wanted if other is not wish and other.unit in states[wish.unit].names), None)
        if twin:
            raise ValueError(
                f"{twin.variable} names {twin.unit}, which is {wish.unit} of {wish.variable} by another name"
            )
    planned = {unit: files.plan(path(unit), file, root) for unit, file in files_wanted.items()}
    owed_by = {
        unit: owed(unit, environment, planned[unit], others[unit], states[unit].pid, root)
        for unit, environment in environments.items()
    }
    changes = {unit: change for unit, change in planned.items() if change}
    return Plan(
        changes=changes,
        reload=bool(changes) or any(unknown(wish, states[wish.unit]) for wish in wanted),
        restarts={unit: reason for unit, reason in owed_by.items() if reason},
        environments=environments,
    )


def write(change: FileChange, root: Path = Path("/")) -> None:
    """Write or remove a drop-in; its folder goes when nothing else is in it, as in a rollback."""
    files.write(change, root)
    folder = (root / change.path).parent
    if change.after is None and not any(folder.iterdir()):
        folder.rmdir()


def unknown(wish: Wish, state: State) -> str:
    """Return what systemd does not know yet of the drop-in, or nothing."""
    lacks = [name for name, value in wish.environment.items() if state.environment.get(name) != value]
    if f"/{path(wish.unit)}" not in state.dropins:
        return f"systemd does not read /{path(wish.unit)}"
    return f"systemd does not give {wish.unit} {', '.join(lacks)} as /{path(wish.unit)} says" if lacks else ""


# What the running process shows.


def environ(pid: int, root: Path = Path("/")) -> dict[str, str] | None:
    """Return what the process was started with, or None when it does not run."""
    try:
        text = os.fsdecode((root / f"proc/{pid}/environ").read_bytes()) if pid else ""
    except (FileNotFoundError, ProcessLookupError):
        return None
    return dict(word.split("=", 1) for word in text.split("\0") if "=" in word) if text else None


def owed(
    unit: str,
    environment: dict[str, str],
    change: FileChange | None,
    others: list[Given],
    pid: int,
    root: Path = Path("/"),
) -> str:
    """Return why the running process must be started again to have `environment`, or nothing.

    What it still has of levers that were taken away counts too, as long as it is older than the drop-in.
    """
    started = environ(pid, root)
    if started is None:
        return ""
    lacks = [name for name, value in environment.items() if started.get(name) != value]
    wanted = {*environment, *(other.name for other in others)}
    once = {pair for lever in LEVERS for pair in ARMS[lever].pulled(allocators.expected(root)).items()}
    once |= units.assigned((change.before if change else None) or "").items()
    left = sorted({name for name, value in once if name not in wanted and started.get(name) == value})
    still = left if change or _older(pid, path(unit), root) else []
    parts = [f"without {', '.join(lacks)}" if lacks else "", f"still with {', '.join(still)}" if still else ""]
    has = " and ".join(filter(None, parts))
    return f"{unit} runs as process {pid} {has}: a restart is owed" if has else ""


def _older(pid: int, file: str, root: Path) -> bool:
    """Tell whether the process was started before the file was last written."""
    try:
        stat = (root / f"proc/{pid}/stat").read_text()
        booted = re.findall(r"^btime (\d+)$", (root / "proc/stat").read_text(), re.MULTILINE)
        started = int(booted[0]) + int(stat[stat.rindex(")") :].split()[20]) / os.sysconf("SC_CLK_TCK")
        return started < (root / file).stat().st_mtime
    except (OSError, ValueError, IndexError):
        return False


def unproven(unit: str, environment: dict[str, str], pid: int, root: Path = Path("/")) -> str:
    """Return what a restarted process lacks, or nothing: variables by its environ, preloaded libraries by its maps."""
    started = environ(pid, root)
    if started is None:
        return f"{unit} does not run after its restart: journalctl -u {unit} says why"
    lacks = [name for name, value in environment.items() if started.get(name) != value]
    if lacks:
        return f"{unit} runs as process {pid} without {', '.join(lacks)}: something it starts with changes them"
    try:
        maps = (root / f"proc/{pid}/maps").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return f"{unit} ended right after its restart: journalctl -u {unit} says why"
    for library in re.findall(r"/[^\s:]+", environment.get("LD_PRELOAD", "")):
        if os.path.realpath(str(root / library.lstrip("/"))) not in maps:
            return f"{unit} runs as process {pid} and did not load {library}: a static program cannot"
    return ""


def idle(wish: Wish, pid: int, root: Path = Path("/")) -> list[str]:
    """Return a sentence for each lever that has no effect as the node is now."""
    lacks = {lever: ARMS[lever].lacks(root) for lever in wish.levers}
    return [
        f"{wish.unit} gets nothing from lever {lever}: {reason}"
        for lever, reason in lacks.items()
        if reason and not _engaged(lever, pid, root)
    ]


def _engaged(lever: str, pid: int, root: Path) -> bool:
    try:
        return bool(pid and ARMS[lever].engaged(proof.read(pid, root)))
    except (OSError, KeyError):  # it has ended, or a kernel thread stands there
        return False
