"""What a running playbook looks like at a glance: failed and unfinished hosts first, the rest summed up in a line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from rich.console import Group
from rich.table import Table
from rich.text import Text

from probe_agent import progress

from . import figures

LEFT = re.compile(r"(?:(?P<doing>.+), )?about (?P<number>\d+) (?P<unit>s|min) left(?: of \w+)?")
UNIT_S = {"s": 1, "min": 60}
FRAME_LINES = 4  # the heading, the table's own, the rest, and the line where the cursor is


class State(StrEnum):
    """In the order in which a person wants to see hosts."""

    FAILED = "failed"
    UNREACHABLE = "unreachable"
    WORKING = "working"
    WAITING = "waiting"  # done with this task, the others are not


LOST = (State.FAILED, State.UNREACHABLE)
STYLES = {State.FAILED: "bold red", State.UNREACHABLE: "bold red", State.WORKING: "", State.WAITING: "dim"}


@dataclass(frozen=True)
class HostNow:
    """`since_s` is when its state began, `ends_s` when its probe is thought to end, both on the console's clock."""

    name: str
    state: State
    since_s: float
    step: str = ""
    message: str = ""
    ends_s: float | None = None


class Fleet:
    """What is known of each host, by what Ansible said of it so far."""

    def __init__(self) -> None:
        self.play = "starting"
        self.changes = 0
        self.hosts: dict[str, HostNow] = {}

    def begin(self, host: str, task: str, now_s: float) -> None:
        """Note a task's begin; a lost host that is still cleaned up stays lost."""
        if host not in self.hosts or self.hosts[host].state not in LOST:
            self.hosts[host] = HostNow(host, State.WORKING, now_s, message=task)

    def end(self, host: str, message: str, now_s: float, changed: bool = False) -> None:
        self.changes += changed
        if host in self.hosts and self.hosts[host].state is State.WORKING:
            self.hosts[host] = HostNow(host, State.WAITING, now_s, message=message)

    def lose(self, host: str, state: State, message: str, now_s: float) -> None:
        self.hosts[host] = HostNow(host, state, now_s, message=message)

    def progress(self, line: str, now_s: float) -> None:
        """Take a probe's line, as probe_agent.progress writes it; of a host that is at work only."""
        found = progress.LINE.fullmatch(line)
        host = self.hosts.get(found["host"]) if found else None
        if found is None or host is None or host.state is not State.WORKING:
            return
        doing, estimate = found["doing"] or "", LEFT.fullmatch(found["doing"] or "")
        self.hosts[host.name] = replace(
            host,
            step=f"{found['phase']} {found['number']}/{found['phases']}",
            message=(estimate["doing"] or "") if estimate else doing,
            ends_s=now_s + int(estimate["number"]) * UNIT_S[estimate["unit"]] if estimate else None,
        )


def shown(hosts: Sequence[HostNow], room: int) -> tuple[list[HostNow], str]:
    """Return the hosts to list, those that matter most first, and a sentence about the rest, if any."""
    order = list(State)
    ordered = sorted(hosts, key=lambda host: (order.index(host.state), host.since_s, host.name))
    if len(ordered) <= room:
        return ordered, ""
    rest = ordered[max(0, room) :]
    counted = Counter(host.state for host in rest)
    parts = ", ".join(f"{counted[state]:,} {state}" for state in State if counted[state])
    return ordered[: max(0, room)], f"{figures.plural(len(rest), 'more host')}: {parts}"


def picture(fleet: Fleet, now_s: float, height: int) -> Group:
    """Return what stands at the bottom of a terminal of so many lines."""
    counted = Counter(host.state for host in fleet.hosts.values())
    parts = [f"{counted[state]:,} {state}" for state in State if counted[state]] or ["no host yet"]
    changes = figures.plural(fleet.changes, "change")
    heading = f"{clock(now_s)}  {figures.printable(fleet.play)}: {', '.join(parts)}; {changes}"
    listed, rest = shown(list(fleet.hosts.values()), height - FRAME_LINES)
    table = Table(box=None, expand=True, pad_edge=False, header_style="dim")
    for title, options in (
        ("Host", {"ratio": 2, "min_width": 8}),
        ("State", {"min_width": len(State.UNREACHABLE)}),
        ("For", {"justify": "right", "min_width": 6}),
        ("Step", {"min_width": len("bandwidth 3/8")}),
        ("Left", {"justify": "right", "min_width": 8}),
        ("Last message", {"ratio": 5}),
    ):
        table.add_column(title, no_wrap=True, overflow="ellipsis", **options)
    for host in listed:
        cells = (host.name, host.state, clock(now_s - host.since_s), host.step, left(host, now_s), host.message)
        table.add_row(*(Text(figures.printable(cell)) for cell in cells), style=STYLES[host.state])
    lines = [Text(heading, no_wrap=True, overflow="ellipsis"), table]
    return Group(*lines, Text(rest, no_wrap=True, overflow="ellipsis")) if rest else Group(*lines)


def left(host: HostNow, now_s: float) -> str:
    """Return how long the probe still takes; nothing where that is not known, or was thought to be over by now."""
    seconds = (host.ends_s or 0.0) - now_s
    if seconds < 1:
        return ""
    return f"~{seconds:.0f} s" if seconds < progress.MINUTES_FROM_S else f"~{seconds / 60:.0f} min"


def clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes:3}:{rest:02}"
