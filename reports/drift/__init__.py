"""What drifted on each node, since when, and what sets it now: each node against its certificate and the inventory.

Everything in drift.json comes from the run folder and what lay beside it when it was judged: certificates, history and
the runs before. Pages are drawn from drift.json alone.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from probe_agent.settings import values

from .. import certificate, certified, figures, run_folder
from ..certificate import Certificate
from ..history import History
from ..loose import mapping, mappings
from ..run_folder import Host, Measurement, Run
from . import configuration, performance, versions
from .kinds import CONFIGURATION, DRIFTED, PERFORMANCE, RUN, UNKNOWN, Finding, Node, code, node, word

NAME, STATE, NODE_CERTIFICATE = run_folder.DRIFT, "state.json", "node-certificate.json"
LOOK_BACK = 50  # runs in which a host is looked for
NAMED = 20  # hosts
SAID = 6  # findings of each


def certificates(run: Run) -> bool:
    """Tell whether there is a certificate to hold a node against: on the controller, or come back from a node."""
    kept = certified.folder_of(run).glob("*.json")
    return any(kept) or any(run.path.glob(f"hosts/*/{NODE_CERTIFICATE}"))


def document(run: Run, folder: Path, history: History) -> dict[str, Any]:
    """Return drift.json. `folder` has the certificates."""
    before = Before(run)
    hosts = {host.name: _host(run, host, folder, history, before) for host in run.hosts() if host.state != "skipped"}
    return {
        "schema_version": 1,
        "run_id": run.run_id,
        "code": max((host["code"] for host in hosts.values()), default=1),
        "hosts": hosts,
    }


def doubtful(found: Mapping[str, Any]) -> list[str]:
    """Return the hosts of drift.json with a figure that drifted: worth another look before anybody is called."""
    return [
        name
        for name, host in mapping(found.get("hosts")).items()
        if any(
            (each.get("kind"), each.get("word")) == (PERFORMANCE, DRIFTED) for each in mappings(host.get("findings"))
        )
    ]


def sentences(found: Mapping[str, Any]) -> list[str]:
    """Say how many nodes drifted, and of each one in what. Nothing where drift was not asked for."""
    hosts = {name: mapping(host) for name, host in mapping(found.get("hosts")).items()}
    if not hosts:
        return []
    counted = Counter(map(word, hosts.values()))
    parts = ", ".join(f"{number:,} {verdict}" for verdict, number in sorted(counted.items()))
    told = [(name, _line(host)) for name, host in hosts.items() if host.get("findings")]
    more = len(told) - NAMED
    return [
        f"Drift, {figures.plural(len(hosts), 'node')}: {parts}.",
        *(f"{name}: {line}" for name, line in told[:NAMED]),
        *([f"{more:,} more in {NAME}."] if more > 0 else []),
    ]


class Before:
    """The runs before this one in which drift was judged, newest first, each read once at most."""

    def __init__(self, run: Run) -> None:
        here = run.path.absolute().resolve()
        older = (path for path in here.parent.iterdir() if path.name < here.name and not path.is_symlink())
        self._paths = sorted((path for path in older if (path / NAME).is_file()), reverse=True)[:LOOK_BACK]
        self._read: dict[Path, dict[str, Any]] = {}

    def of(self, host: str) -> tuple[str, list[dict[str, Any]]] | None:
        """Return the run in which a host was judged last, and what was found then."""
        for path in self._paths:
            if path not in self._read:
                try:
                    self._read[path] = mapping(run_folder.load(path / NAME))
                except (OSError, ValueError):
                    self._read[path] = {}
            judged = mapping(mapping(self._read[path].get("hosts")).get(host))
            if judged.get("certified_in"):
                return str(self._read[path].get("run_id")), mappings(judged.get("findings"))
        return None


def _host(run: Run, host: Host, folder: Path, history: History, before: Before) -> dict[str, Any]:
    found = list(_lost(host))
    own, refused = _certificate(run, host, folder)
    found += refused
    name, measured = _measurement(host)
    state = _state(run, host, measured)
    known: list[performance.Figure] = []
    if state is None:
        found += [] if found else [Finding(RUN, UNKNOWN, "state", "nothing came back from this node")]
    else:
        changed = list(versions.findings(state, own, measured.fingerprint if measured else None)) if own else []
        same_kernel = not any(each.what == "kernel" for each in changed)
        found += [*changed, *configuration.findings(state, own, same_kernel)]
        found += _not_measured(measured) if measured or host.state == "ok" else []
        if own and measured and measured.fingerprint and not changed:
            known, judged = _performance(run, host, name, measured, own, history)
            found += judged
    last, then = before.of(host.name) or (own.run_id if own else "", [])
    found = [_dated(run, each, last, then) for each in _after(host, measured, found)]
    return {
        "code": code(found),
        "against": f"its certificate of {own.issued:%Y-%m-%d}" if own else "the inventory alone",
        "certified_in": own.run_id if own else None,
        "measured": name,
        "findings": [{**asdict(each), "set_by": list(map(asdict, each.set_by))} for each in found],
        "figures": {each.name: each.document() for each in known},
    }


def _lost(host: Host) -> Iterator[Finding]:
    if host.state != "ok":
        yield Finding(RUN, UNKNOWN, f"run, in {host.phase or 'its beginning'}", f"{host.state}: {host.reason}")
    for sentence in host.broken:
        yield Finding(RUN, UNKNOWN, "result", sentence)


def _not_measured(measured: Measurement | None) -> Iterator[Finding]:
    """Say why performance, or some of it, cannot be judged."""
    if measured is None:
        yield Finding(RUN, UNKNOWN, "performance", "nothing was measured: the configuration alone was compared")
    elif not measured.fingerprint:
        yield Finding(RUN, UNKNOWN, "performance", "the node was not described, so its figures do not compare")
    for probe in measured.probes.values() if measured else ():
        if probe.status == "failed":
            yield Finding(RUN, UNKNOWN, f"probe {probe.name}", f"failed: {probe.reason}")


def _certificate(run: Run, host: Host, folder: Path) -> tuple[Certificate | None, list[Finding]]:
    """Return what the node is held against, the controller's copy before the node's own, and what is wrong with it."""

    def refuse(sentence: str) -> tuple[None, list[Finding]]:
        return None, [Finding(RUN, UNKNOWN, "certificate", sentence)]

    try:
        path = certified.path_of(folder, host.name)
    except ValueError as error:
        return refuse(str(error))
    if not path.exists() and not host.linked:
        path = run.path / "hosts" / host.name / NODE_CERTIFICATE
    if not path.exists():
        return refuse("nothing was certified of this node: a run of tune_and_probe.yml that keeps its settings does")
    try:
        own = certificate.read(path)
    except ValueError as error:
        return refuse(str(error))
    if own.host != host.name:
        return refuse(f"{path} is refused: it is of {own.host}, another node")
    if own.until < datetime.datetime.fromisoformat(run.started):
        said = f"it ended {own.until:%Y-%m-%d}: certify the node again"
        return own, [Finding(RUN, UNKNOWN, "certificate", said)]
    return own, []


def _measurement(host: Host) -> tuple[str | None, Measurement | None]:
    """Return the measurement of the node as it was found: the one before tuning, where there are two."""
    if host.baseline:
        return "baseline.json", host.baseline
    return ("result.json", host.result) if host.result else (None, None)


def _state(run: Run, host: Host, measured: Measurement | None) -> Node | None:
    path = run.path / "hosts" / host.name / STATE
    if host.folder and not host.linked:
        try:
            return node(run_folder.load(path))
        except FileNotFoundError:
            pass
        except (OSError, ValueError):
            return node(None)
    return Node(measured.host_memory) if measured else None


def _performance(
    run: Run, host: Host, name: str | None, measured: Measurement, own: Certificate, history: History
) -> tuple[list[performance.Figure], list[Finding]]:
    again = host.again if measured is host.result else None
    known = performance.figures(
        run, measured, again, own, lambda figure: history.points(host.name, figure, measured.fingerprint_id)
    )
    raw = run_folder.load(run.path / "hosts" / host.name / str(name))
    return known, performance.findings(raw, run.again(host) if again else None, own, known)


def _after(host: Host, measured: Measurement | None, found: Sequence[Finding]) -> Iterator[Finding]:
    """Add to each setting what it was when the node was measured after tuning."""
    tuned = values(host.result.host_memory) if host.result and host.result is not measured else {}
    for each in found:
        after = tuned.get(each.what) if each.kind == CONFIGURATION else None
        yield each if after in (None, each.now) else replace(each, after=after)


def _dated(run: Run, found: Finding, last: str, then: Sequence[Mapping[str, Any]]) -> Finding:
    """Add the first run that saw it: this one, unless run `last` did, which found `then`."""
    if found.word != DRIFTED:
        return found
    same = next((each for each in then if _same(found, each)), None)
    since, until = (str(same.get("since")), str(same.get("until"))) if same else (run.run_id, last)
    return replace(found, since=found.since or since, until="" if found.since else until)


def _same(found: Finding, other: Mapping[str, Any]) -> bool:
    kept = ("kind", "word", "what") + (("now",) if found.kind == CONFIGURATION else ())
    return all(getattr(found, name) == other.get(name) for name in kept)


def _line(host: Mapping[str, Any]) -> str:
    """Say what is wrong with a node, what drifted first."""
    found = sorted(mappings(host.get("findings")), key=lambda each: each.get("word") != DRIFTED)
    said = [f"{each.get('what')} {each.get('sentence')}{_since(each)}" for each in found]
    more = f"; and {len(said) - SAID} more" if len(said) > SAID else ""
    return f"{word(host)}: {'; '.join(said[:SAID])}{more}."


def _since(found: Mapping[str, Any]) -> str:
    since, after = found.get("since"), found.get("after")
    return (f" (since run {since})" if since else "") + (f" (after tuning: {after})" if after else "")
