"""What a person wants compared: run folders, host folders or results by themselves, read and paired by host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from . import figures, run_folder
from .compare import Side
from .run_folder import Host

RESULT = "result.json"
NAMED = 10


def pairs(
    base: Path, new: Path, host: str | None = None, more: Sequence[Path] = ()
) -> tuple[list[tuple[Side, Side]], list[str]]:
    """Return the hosts of BASE, with what the runs in `more` have of them, each with its NEW; and who was left out.

    Raises ValueError, in one sentence, when a path is none of the three, or when there is nothing to pair.
    """
    paired, said = _paired(base, new, host)
    others = [_sides(path, host) for path in more]
    return [(_with_more(one, list(zip(more, others, strict=True))), other) for one, other in paired], said


def _with_more(one: Side, others: Sequence[tuple[Path, dict[str, Side | None]]]) -> Side:
    """Return a side with its own results of other runs. Raises ValueError when one of them has none."""
    for path, found in others:
        side = found.get(one.host)
        if side is None or side.measurement is None:
            raise ValueError(f"{path} has no result of {one.host}, so it is no run like BASE")
    return replace(one, more=tuple(found[one.host] for _, found in others))


def _paired(base: Path, new: Path, host: str | None) -> tuple[list[tuple[Side, Side]], list[str]]:
    old, now = _sides(base, host), _sides(new, host)
    if not (_is_run(base) and _is_run(new)):
        return [_single(base, old, new, now)], []
    skipped = {name for side in (old, now) for name, found in side.items() if found is None}
    paired = [
        (one, now.get(name) or Side(name, None, f"{new} has no such host"))
        for name, one in old.items()
        if one and name not in skipped
    ]
    if not paired:
        raise ValueError(f"{base} and {new} have no host that both were to measure")
    said = [f"{_named(sorted(skipped))}: left out, since one of the two runs was not to measure it."] if skipped else []
    added = [name for name, found in now.items() if found and name not in old]
    return paired, said + ([f"{_named(added)}: only in NEW."] if added else [])


def _is_run(path: Path) -> bool:
    return (path / "run.json").is_file()


def _sides(path: Path, host: str | None) -> dict[str, Side | None]:
    """Return what was measured, by host; None for a host that was left out on purpose."""
    if _is_run(path):
        found = {each.name: _side(each) for each in run_folder.read(path).hosts() if host in (None, each.name)}
        if host and not found:
            raise ValueError(f"{path} has no host {host}; it has {_named(list(run_folder.read(path).entries))}")
        return found
    file = path / RESULT if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"{path} is neither a run folder, nor a host's folder with a {RESULT}, nor a result")
    name = file.absolute().parent.name
    if host not in (None, name):
        raise ValueError(f"{path} is of host {name}, and not of {host}")
    try:
        return {name: Side.of(name, run_folder.measurement(file))}
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be used: {getattr(error, 'strerror', None) or error}") from None


def _side(host: Host) -> Side | None:
    if host.state == "skipped":
        return None
    if host.result:
        return Side.of(host.name, host.result)
    return Side(host.name, None, "; ".join(filter(None, (*host.broken, host.reason))) or f"no {RESULT} came back")


def _single(base: Path, old: dict[str, Side | None], new: Path, now: dict[str, Side | None]) -> tuple[Side, Side]:
    """Return the one pair there is when one side is a single host: the host of the same name, or the only one."""
    one = _only(base, old, now)
    other = _only(new, now, {one.host: one})
    return one, other


def _only(path: Path, found: dict[str, Side | None], others: dict[str, Side | None]) -> Side:
    known = {name: side for name, side in found.items() if side}
    same = [side for name, side in known.items() if name in others]
    chosen = same if len(others) == len(same) == 1 else list(known.values())
    if len(chosen) != 1:
        raise ValueError(f"{path} has {figures.plural(len(known), 'measured host')}; name one with --host")
    return chosen[0]


def _named(names: list[str]) -> str:
    shown = ", ".join(map(figures.printable, names[:NAMED]))
    return f"{shown} and {len(names) - NAMED:,} more" if len(names) > NAMED else shown or "none"
