"""Which nodes are fit for work: each quick result against the node's certificate, or against its twins.

The judgement itself is that of the agent, which makes it on a node alone too; here it gets a baseline, and is written
down for the whole fleet.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from probe_agent import preflight
from probe_agent.figures import NAMES
from probe_agent.preflight import NO_BASELINE, UNFIT, UNKNOWN, Finding

from . import certificate, certified, figures, run_folder, thresholds
from .certificate import Certificate
from .loose import mapping, mappings
from .run_folder import Host, Run

NAME = run_folder.PREFLIGHT
NAMED = 20  # hosts
SAID = 4  # findings of each


def document(run: Run, folder: Path, now: datetime.datetime) -> dict[str, Any]:
    """Return preflight.json. A node that is fit and has no baseline gets its first one in `folder`."""
    kept = list(certified.known(folder))
    hosts = {host.name: _host(run, host, folder, kept, now) for host in run.hosts() if host.state != "skipped"}
    return {"schema_version": 1, "run_id": run.run_id, "code": _worst(hosts), "hosts": hosts}


def doubtful(run: Run, folder: Path, now: datetime.datetime) -> list[str]:
    """Return the hosts with a figure beyond its limit: worth another look before a node is called unfit."""
    kept = list(certified.known(folder))
    return [
        host.name
        for host in run.hosts()
        if any(each.word == UNFIT and each.subject in NAMES for each in _judged(run, host, folder, kept, now)[1])
    ]


def sentences(found: Mapping[str, Any]) -> list[str]:
    """Say how many nodes are fit, and of each other one why not."""
    hosts = {name: mapping(host) for name, host in mapping(found.get("hosts")).items()}
    if not hosts:
        return ["Pre-flight: no node was measured."]
    counted = Counter(_verdict(host) for host in hosts.values())
    parts = ", ".join(f"{number:,} {verdict}" for verdict, number in sorted(counted.items()))
    said = [f"Pre-flight, {figures.plural(len(hosts), 'node')}: {parts}."]
    told = [(name, line) for name, host in hosts.items() if (line := _line(host))]
    said += [f"{name}: {line}" for name, line in told[:NAMED]]
    more = len(told) - NAMED
    return [*said, f"{more:,} more in {NAME}."] if more > 0 else said


def _host(run: Run, host: Host, folder: Path, kept: Sequence[Certificate], now: datetime.datetime) -> dict[str, Any]:
    against, findings, first = _judged(run, host, folder, kept, now)
    until = next((own.until.isoformat() for own in kept if own.host == host.name), None)
    if first and certificate.earned(host, "ok"):
        earned = certificate.document(run, host)
        said, until = certified.keep(folder, earned), earned["validity"]["until"]
        findings.append(Finding("first baseline", NO_BASELINE, f"recorded, for the next time: {said}"))
    code = preflight.exit_code(findings)
    return {
        "code": code,
        "against": against,
        "certified_until": until,
        "findings": [asdict(finding) for finding in findings],
    }


def _judged(
    run: Run, host: Host, folder: Path, kept: Sequence[Certificate], now: datetime.datetime
) -> tuple[str, list[Finding], bool]:
    """Return what a node is held against, what is found, and whether it is healthy and has no baseline yet."""
    found = list(_lost(host))
    if not host.result:
        return "nothing", found or [Finding("result", UNKNOWN, "no result came back from this node")], False
    raw = run_folder.load(run.path / "hosts" / host.name / "result.json")
    against, baseline, doubts = _baseline(host, folder, kept, now)
    judged = preflight.judge(raw, baseline, now, run.again(host))
    found += [*doubts, *(each for each in judged if not (doubts and each.word == NO_BASELINE))]
    return against, found, baseline is None and not doubts and preflight.exit_code(found) == 0


def _lost(host: Host) -> Iterator[Finding]:
    if host.state != "ok":
        yield Finding(f"run, in {host.phase or 'its beginning'}", UNKNOWN, f"{host.state}: {host.reason}")
    for sentence in host.broken:
        yield Finding("result", UNKNOWN, sentence)


def _baseline(
    host: Host, folder: Path, kept: Sequence[Certificate], now: datetime.datetime
) -> tuple[str, dict[str, Any] | None, list[Finding]]:
    """Return what a node is held against, in words and as a certificate, and what is wrong with its own."""
    path = certified.path_of(folder, host.name)
    if path.exists():
        try:
            own = certificate.read(path)
        except ValueError as error:
            return "nothing", None, [Finding("certificate", UNKNOWN, str(error))]
        return f"its certificate of {own.issued:%Y-%m-%d}", dict(own.document), []
    assert host.result is not None  # noqa: S101 - only a measured node is held against anything
    taken = host.result.fingerprint
    twins = [one for one in kept if one.until >= now and not preflight.differing(dict(one.fingerprint), taken)]
    if not twins:
        return "nothing", None, []
    words = f"{figures.plural(len(twins), 'node')} with the same fingerprint"
    return words, _of_twins(words, taken, twins), []


def _of_twins(words: str, fingerprint: dict[str, Any], twins: Sequence[Certificate]) -> dict[str, Any]:
    """Return what twins have in common, in the form of a certificate."""
    first = twins[0].settings
    return {
        "host": words,
        "fingerprint": fingerprint,
        "settings": {
            name: value for name, value in first.items() if all(one.settings.get(name) == value for one in twins)
        },
        "limits": thresholds.limits({name: thresholds.baseline(name, None, twins) for name in NAMES}),
    }


def _worst(hosts: Mapping[str, Mapping[str, Any]]) -> int:
    """Return the code of a fleet: what is known to be unfit counts more than what is not known."""
    return max((host["code"] for host in hosts.values()), default=1)


def _verdict(host: Mapping[str, Any]) -> str:
    code = host.get("code")
    return preflight.verdict(code if code in (0, 1, 2) else 1)


def _line(host: Mapping[str, Any]) -> str:
    """Say what is wrong with a node; of one that is fit, only that it has no baseline."""
    found = mappings(host.get("findings"))
    for word in (UNFIT, UNKNOWN, NO_BASELINE):
        said = [f"{each.get('subject')}: {each.get('sentence')}" for each in found if each.get("word") == word]
        if said:
            more = f"; and {len(said) - SAID} more" if len(said) > SAID else ""
            return f"{_verdict(host)}: {'; '.join(said[:SAID])}{more}."
    return ""
