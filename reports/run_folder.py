"""A run folder as the playbook left it: what came back from each inventory host, checked before it is believed.

Results come from nodes: a broken, oversized or hostile one costs its own host a sentence, never the run.
"""

from __future__ import annotations

import contextlib
import datetime
import gc
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from probe_agent import foreign

from . import fingerprints, schema
from .loose import mapping

NAME_LIMIT_BYTES = 255  # what Linux takes as one folder's name
FIGURE_LIMIT = 1e18  # no time, size or count of a node comes near; below it nothing overflows
DEPTH_LIMIT = 20
TOO_DEEP = f"it is nested more than {DEPTH_LIMIT} levels deep"
DRIFT, PREFLIGHT = "drift.json", "preflight.json"
CLOCK_LIMIT_S = 120  # a node's clock may be off; a certificate is good for weeks, and a trend has days


@dataclass(frozen=True)
class Probe:
    """`samples` are raw rows, each a process, request or server start; a probe that failed half-way keeps its own.

    `timing` says where its time went; one taken over from an earlier run has none of this run.
    """

    name: str
    status: str
    reason: str
    samples: tuple[dict[str, Any], ...]
    evidence: dict[str, Any]
    timing: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """One result of the agent, valid by its schema. What the schema leaves open is still the node's word."""

    started: str
    finished: str | None
    model: str
    profile: str
    fingerprint: dict[str, Any]
    host_memory: dict[str, Any]
    probes: dict[str, Probe]
    timing: dict[str, Any] = field(default_factory=dict)

    @property
    def fingerprint_id(self) -> str:
        return str(self.fingerprint.get("id", ""))

    def samples(self, probe: str) -> tuple[dict[str, Any], ...]:
        return self.probes[probe].samples if probe in self.probes else ()


@dataclass(frozen=True)
class Host:
    """`state`, `phase` and `reason` as run.json has them.

    `broken` says in sentences what could not be read, `doubts` what is odd about what could.
    """

    name: str
    state: str
    phase: str
    reason: str
    baseline: Measurement | None = None
    result: Measurement | None = None
    again: Measurement | None = None  # a second quick run, after a first one with a figure beyond its limit
    broken: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    raw: tuple[str, ...] = ()  # the files that came back, readable or not
    linked: bool = False  # its folder is a symbolic link, which is neither read through nor written through
    drift: Mapping[str, Any] = field(default_factory=dict)  # of the run's drift.json

    @property
    def measured(self) -> Measurement | None:
        """The newest measurement there is."""
        return self.result or self.baseline

    @property
    def moments(self) -> list[tuple[str, Measurement]]:
        """The measurements there are, in the order of time: `before`, `after`, or the only one, which has no name."""
        after = "after" if "baseline.json" in self.raw else ""
        return [(when, part) for when, part in (("before", self.baseline), (after, self.result)) if part]

    def moments_of(self, probe: str) -> list[tuple[str, Measurement]]:
        """The measurements in which a probe left samples, in the order of time."""
        return [(when, part) for when, part in self.moments if part.samples(probe)]

    @property
    def comparable(self) -> bool:
        """Tell whether before and after were measured on the same thing in the same way."""
        before, after = self.baseline, self.result
        return bool(before and after and not fingerprints.differences(before.fingerprint, after.fingerprint))

    @property
    def folder(self) -> str | None:
        """Where its files are, relative to the run folder; None for a name that cannot be one folder."""
        return f"hosts/{self.name}" if is_folder_name(self.name) else None


@dataclass(frozen=True)
class Run:
    path: Path
    run_id: str
    started: str
    finished: str | None
    entries: dict[str, dict[str, Any]]

    def hosts(self) -> Iterator[Host]:
        """Yield each inventory host in the order of run.json, read one at a time: a fleet's results are large."""
        yield from map(self.host, self.entries)

    def host(self, name: str) -> Host:
        """Read what came back from one inventory host."""
        host = _host(self.path, name, self.entries[name])
        measured = (("baseline", host.baseline), ("result", host.result))
        doubts = [doubt for part, found in measured if found and (doubt := _doubt(self, part, found))]
        return replace(host, doubts=tuple(doubts), drift=mapping(mapping(self.drift.get("hosts")).get(name)))

    def again(self, host: Host) -> Any:
        """Return the second quick run of a host as the node wrote it, None where none was needed."""
        return load(self.path / "hosts" / host.name / "again.json") if host.again else None

    @cached_property
    def drift(self) -> dict[str, Any]:
        """What drift.json says, nothing where drift was not asked for. Raises ValueError where it cannot be read."""
        return _asked(self.path / DRIFT)

    @cached_property
    def preflight(self) -> dict[str, Any]:
        """What preflight.json says, nothing where that was not asked for. Raises ValueError where it cannot be read."""
        return _asked(self.path / PREFLIGHT)


def _asked(file: Path) -> dict[str, Any]:
    try:
        return mapping(load(file))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from None


def read(path: Path) -> Run:
    """Open a run folder. Raises ValueError, in one sentence, when `path` is none."""
    if not path.is_dir():
        raise ValueError(f"{path} is no run folder: there is no such folder")
    try:
        document = load(path / "run.json")
        schema.check("run", document)
    except FileNotFoundError:
        raise ValueError(f"{path} is no run folder: it has no run.json") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is no run folder: {error}") from None
    return Run(path, document["run_id"], document["started"], document["finished"], document["hosts"])


def returned(path: Path, names: Iterable[str]) -> Iterator[Host]:
    """Yield hosts by the files that came back so far, of a run that still goes on and has no run.json."""
    for name in names:
        yield _host(path, name, {"state": "ok", "phase": "", "reason": ""})


def is_folder_name(name: str) -> bool:
    """Tell whether `name` can be one folder, so that it never leads out of hosts/."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON lets through
        return False
    return 0 < size <= NAME_LIMIT_BYTES and name not in (".", "..") and not any(c in name for c in "/\\\0")


def parse(text: str) -> Any:
    """Read JSON strictly: no NaN, no infinities, no figures that overflow, no endless nesting. Raises ValueError."""
    try:
        with _uncollected():
            document = json.loads(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    except json.JSONDecodeError:
        raise
    except ValueError:  # Python reads no integer of thousands of digits
        raise ValueError("a number of that many digits is no figure a node can have") from None
    values, levels = [document], 0
    while values:  # a level after another: a fleet's results have millions of values, too many for a call each
        if levels > DEPTH_LIMIT:
            raise ValueError(TOO_DEEP)
        _refuse_figures([value for value in values if type(value) is float or type(value) is int])
        inner = [value for value in values if type(value) is dict or type(value) is list]
        values = [value for part in inner for value in (part.values() if type(part) is dict else part)]
        levels += 1
    return document


def _refuse_figures(numbers: list[float]) -> None:
    """Raise ValueError where one is no figure: the least and the largest tell, and the sum of a NaN is none."""
    if not numbers or (min(numbers) >= -FIGURE_LIMIT and max(numbers) <= FIGURE_LIMIT and not math.isnan(sum(numbers))):
        return
    wrong = next(number for number in numbers if not -FIGURE_LIMIT <= number <= FIGURE_LIMIT)
    raise ValueError(f"{wrong!s:.40} is no figure a node can have")


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Keep the garbage collector out, which would go through each value of a large document time and again."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _host(run: Path, name: str, entry: dict[str, Any]) -> Host:
    known = {key: entry[key] for key in ("state", "phase", "reason")}
    if not is_folder_name(name):
        return Host(name, **known, broken=("its name cannot be the name of a folder, so no files of it were read",))
    folder = run / "hosts" / name
    if folder.is_symlink():
        return Host(name, **known, broken=("its folder is a symbolic link, which is not followed",), linked=True)
    found: dict[str, Measurement] = {}
    broken, raw = [], []
    for part in ("baseline", "result", "again"):
        try:
            found[part] = measurement(folder / f"{part}.json")
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            broken.append(f"{part}.json cannot be used: {getattr(error, 'strerror', None) or error}")
        raw.append(f"{part}.json")
    return Host(name, **known, **found, broken=tuple(broken), raw=tuple(raw))


def _doubt(run: Run, part: str, measured: Measurement) -> str:
    """Return in a sentence that a measurement does not lie within its run, or nothing."""
    try:
        begun, ended = (_time(when) for when in (measured.started, measured.finished or measured.started))
        first, last = _time(run.started), _time(run.finished) if run.finished else ended
    except ValueError as error:
        return f"{part}.json has a time that does not exist: {error}"
    early_s, late_s = (first - begun).total_seconds(), (ended - last).total_seconds()
    if max(early_s, late_s) <= CLOCK_LIMIT_S:
        return ""
    if early_s >= late_s:
        said = f"begun {early_s:,.0f} s before this run; the node's clock is behind, or it is an older result"
    else:
        said = f"finished {late_s:,.0f} s after this run had ended; the node's clock is ahead"
    return f"{part}.json was, by the node's clock, {said}"


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def measurement(path: Path) -> Measurement:
    """Read one result of the agent. Raises ValueError in words, OSError where the disk does."""
    document = load(path)
    schema.check_result(document)
    return Measurement(
        started=document["started"],
        finished=document["finished"],
        model=str(document["spec"]["model"]),
        profile=str(document["spec"]["profile"]),
        fingerprint=document["fingerprint"],
        host_memory=document["host_memory"],
        probes={
            name: Probe(
                name,
                part["status"],
                part["reason"],
                tuple(part["samples"]),
                part["evidence"],
                {} if part.get("resumed") else part.get("timing", {}),
            )
            for name, part in document["probes"].items()
        },
        timing=document.get("timing", {}),
    )


def load(path: Path) -> Any:
    """Read one regular file, not through a link. Raises ValueError in words, OSError where the disk does."""
    content = foreign.content(path)
    try:
        return parse(content.decode())
    except ValueError as error:
        raise ValueError(f"it is not valid JSON: {error}") from None
