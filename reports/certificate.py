"""What a node was found to be, in one file that a later measurement, or another node of its kind, is held against.

Everything in it comes from the run folder, so the same run gives the same bytes. It holds as long as the fingerprint
does, and VALID_DAYS at most.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from probe_agent.arms import COMPARED
from probe_agent.figures import NAMES as QUICK
from probe_agent.settings import values as settings_of
from probe_agent.spec import PROBES

from . import fingerprints, headlines, limits, run_folder, schema, set_by, thresholds
from .loose import mapping
from .run_folder import Host, Measurement, Run
from .sections import allocators
from .thresholds import DIGITS

NAME = "certificate.json"
VERSION = 1
ISSUED_TO = ("ok", "degraded")  # a host in another state showed nothing that may be relied on


@dataclass(frozen=True)
class Figure:
    """Median and median distance from it, of `n` processes, server starts or loads."""

    title: str
    lower_is_better: bool
    median: float
    mad: float
    n: int


@dataclass(frozen=True)
class Certificate:
    """A certificate as read; `document` is all of it."""

    host: str
    run_id: str
    issued: datetime.datetime
    until: datetime.datetime
    fingerprint: Mapping[str, Any]
    settings: Mapping[str, str]
    figures: Mapping[str, Figure]
    document: Mapping[str, Any]


def earned(host: Host, state: str) -> bool:
    """Tell whether a host in this state gets a certificate."""
    taken = host.result.fingerprint if host.result else {}
    return state in ISSUED_TO and bool(taken.get("id") and taken.get("hashes"))


def document(run: Run, host: Host) -> dict[str, Any]:
    """Return the certificate of a host that earned one."""
    measured = host.result
    assert measured is not None  # noqa: S101 - `earned` says so
    issued = datetime.datetime.fromisoformat(run.started)
    known = {
        found.name: Figure(
            found.title,
            found.lower_is_better,
            round(found.median, DIGITS),
            round(found.mad, DIGITS),
            len(found.values),
        )
        for found in headlines.of(measured)
    }
    judged = {name: thresholds.of_node(name, known.get(name)) for name in QUICK}
    return {
        "schema_version": VERSION,
        "run_id": run.run_id,
        "host": host.name,
        "issued": run.started,
        "validity": {
            "days": limits.VALID_DAYS,
            "until": (issued + datetime.timedelta(days=limits.VALID_DAYS)).isoformat(),
            "while": "the fingerprint matches in hardware, kernel, driver, packages and model",
        },
        "measured": measured.started,
        "profile": measured.profile,
        "model": measured.model,
        "fingerprint": measured.fingerprint,
        "settings": settings_of(measured.host_memory),
        **set_by.document(measured.host_memory),
        "figures": {name: asdict(figure) for name, figure in known.items()},
        "limits": thresholds.limits(judged),
        "verdicts": allocators.verdicts(measured),
        "thresholds": limits.used(),
        "not_tested": [{"what": what, "reason": reason} for what, reason in not_tested(measured)],
    }


def not_tested(measurement: Measurement) -> Iterator[tuple[str, str]]:
    """Yield each probe and arm of which there is no verdict, and why."""
    for name in PROBES:
        probe = measurement.probes.get(name)
        if probe is None:
            yield f"probe {name}", "it was not asked for"
        elif probe.status != "ok":
            kept = " after some of its samples" if probe.samples else ""
            yield f"probe {name}", f"{probe.status}{kept}: {probe.reason or 'no reason given'}"
    ran, skipped = set(allocators.arms(measurement)), allocators.skipped(measurement)
    for name in COMPARED:
        if name in skipped:
            yield f"arm {name}", f"skipped: {skipped[name]}"
        elif name not in ran:
            yield f"arm {name}", "it was not asked for, or its probe did not come to it"


def read(path: Path) -> Certificate:
    """Open a certificate. Raises ValueError, in one sentence, when `path` is none that this version can use."""
    try:
        found = run_folder.load(path)
        version = mapping(found).get("schema_version")
        if version != VERSION and type(version) is int:
            raise ValueError(f"its schema version is {version}, and this version of Stethos reads {VERSION}")
        schema.check("certificate", found)
        issued, until = (
            datetime.datetime.fromisoformat(text) for text in (found["issued"], found["validity"]["until"])
        )
    except FileNotFoundError:
        raise ValueError(f"{path} is no certificate: there is no such file") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is no certificate: {getattr(error, 'strerror', None) or error}") from None
    figures = {name: Figure(**figure) for name, figure in found["figures"].items()}
    return Certificate(
        found["host"], found["run_id"], issued, until, found["fingerprint"], found["settings"], figures, found
    )


def doubts(certificate: Certificate, fingerprint: Mapping[str, Any], when: datetime.datetime) -> list[str]:
    """Say why a certificate does not speak for what has this fingerprint at that time."""
    said = []
    if when > certificate.until:
        said.append(f"The certificate of {certificate.host} ended {certificate.until:%Y-%m-%d}.")
    differing = fingerprints.differences(certificate.fingerprint, fingerprint)
    if differing:
        said.append(f"The certificate of {certificate.host} is for another {' and '.join(differing)}.")
    return said


def known(runs: Path) -> Iterator[Certificate]:
    """Yield the certificates of the run folders under `runs`, the newest run first, leaving out what cannot be read."""
    folders = sorted((path for path in runs.iterdir() if not path.is_symlink()), reverse=True) if runs.is_dir() else []
    for path in (path for folder in folders for path in sorted(folder.glob(f"hosts/*/{NAME}"))):
        try:
            yield read(path)
        except ValueError:
            continue


def of_kind(
    found: Iterable[Certificate], host: str, fingerprint: Mapping[str, Any], when: datetime.datetime
) -> tuple[Certificate | None, list[Certificate]]:
    """Return a node's own certificate and those of its twins, of each node the first one found that holds."""
    first: dict[str, Certificate] = {}
    for certificate in found:
        if certificate.host not in first and not doubts(certificate, fingerprint, when):
            first[certificate.host] = certificate
    return first.pop(host, None), list(first.values())
