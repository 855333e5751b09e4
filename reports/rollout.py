"""In which order a fleet is tuned, and what stops it on the way."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LOST = ("failed", "unreachable")
BY_TUNING = ("tune", "probe", "rollback")  # phases in which a node is lost because its turn had come
ALL = "all"


@dataclass(frozen=True)
class Wish:
    """The variables as the operator wrote them; what is empty is not asked for."""

    canary: str
    serial: Any
    most_fail_percent: float
    unavailable: str
    rollback: bool


@dataclass(frozen=True)
class Rollout:
    """`patterns` and `serial` are what a play takes, `batches` the hosts that this makes; the first may be canaries.

    At most `at_once` hosts reboot or restart services at a time. `judged` asks for figures before and after.
    """

    patterns: tuple[str, ...]
    serial: tuple[int, ...]
    batches: tuple[tuple[str, ...], ...]
    canaries: int
    most_fail_percent: float
    at_once: int
    judged: bool


def plan(wish: Wish, hosts: Sequence[str], groups: Mapping[str, Sequence[str]]) -> Rollout:
    """Return the batches of a run over `hosts`. Raises ValueError, in a sentence that names the variable."""
    if not 0 <= wish.most_fail_percent <= 100:
        raise ValueError(f"tuning_max_fail_percentage is {wish.most_fail_percent:g}, and must be from 0 to 100")
    patterns, first = _canaries(wish.canary, hosts, groups) if wish.canary else ((ALL,), ())
    ahead = set(first)
    rest = [host for host in hosts if host not in ahead]
    sizes = [_count("tuning_serial", size, len(hosts)) for size in _listed(wish.serial)] or [max(1, len(rest))]
    batches = [first] if first else []
    while rest:
        size = sizes[min(len(batches) - bool(first), len(sizes) - 1)]
        batches.append(tuple(rest[:size]))
        rest = rest[size:]
    return Rollout(
        patterns=patterns,
        serial=tuple(map(len, batches)),
        batches=tuple(batches),
        canaries=len(first),
        most_fail_percent=wish.most_fail_percent,
        at_once=_count("tuning_max_unavailable", wish.unavailable, len(hosts)),
        judged=bool(first or _listed(wish.serial) or wish.rollback),
    )


def stopped(rollout: Rollout, rows: Mapping[str, Mapping[str, str]], host: str) -> str:
    """Return why the batch of `host` may not begin, by what run.json says of those before it; nothing when it may."""
    for number, batch in enumerate(rollout.batches):
        if host in batch:
            break
        lost = [name for name in batch if rows[name]["state"] in LOST]
        if number == 0 and rollout.canaries:
            if lost:
                return f"canary {_loss(lost[0], rows)}"
            continue
        taken = [name for name in lost if rows[name]["phase"] in BY_TUNING]  # the others were lost before their turn
        entered = len(batch) - len(lost) + len(taken)
        if 100 * len(taken) > rollout.most_fail_percent * entered:
            share = f"{len(taken)} of {entered} hosts of a batch were lost, and {rollout.most_fail_percent:g} % may be"
            return f"{share}: {_loss(taken[0], rows)}"
    return ""


def _loss(name: str, rows: Mapping[str, Mapping[str, str]]) -> str:
    row = rows[name]
    return f"{name} {row['state']} in {row['phase']}: {row['reason']}"


def _canaries(
    wanted: str, hosts: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if wanted.isdecimal():
        count = int(wanted)
        if not 1 <= count <= len(hosts):
            raise ValueError(f"tuning_canary is {count}, and must be from 1 to {len(hosts)}, the hosts of this run")
        return (ALL,), tuple(hosts[:count])
    if wanted not in groups:
        close = difflib.get_close_matches(wanted, groups, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(
            f"tuning_canary is {wanted!r}, and must be a number of hosts from 1 or a group of the inventory{hint}"
        )
    named = set(groups[wanted])
    members = [host for host in hosts if host in named]
    if not members:
        raise ValueError(f"tuning_canary is {wanted!r}, a group of which no host is in this run")
    return (wanted, ALL), tuple(members)


def _listed(serial: Any) -> list[Any]:
    if serial is None or serial == "":
        return []
    if isinstance(serial, str) and serial.startswith("["):  # as text, from a survey or `-e`
        return serial.strip("[] ").replace(",", " ").split()
    return list(serial) if isinstance(serial, list | tuple) else [serial]


def _count(name: str, value: Any, hosts: int) -> int:
    """Return a number of hosts, which may be given as a share of them."""
    text = str(value).strip()
    number = text.removesuffix("%").strip()
    share = text.endswith("%")
    if not number.isdecimal() or int(number) < 1 or (share and int(number) > 100):
        raise ValueError(f"{name} is {value!r}, and must be a number of hosts from 1, or a share from 1% to 100%")
    return max(1, hosts * int(number) // 100) if share else int(number)
