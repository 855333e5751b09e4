"""What is kept of a host beyond its pages, made where its result has been read: a fleet's results are read once."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from probe_agent.settings import values

from . import certificate, fleet, headlines
from .headlines import Headline
from .run_folder import Host, Run


@dataclass(frozen=True)
class Outcome:
    """What a run found a host to be; empty but for state and reason where it was not measured."""

    state: str
    reason: str
    profile: str
    model: str
    fingerprint_id: str
    fingerprint: Mapping[str, Any]
    settings: Mapping[str, str]


@dataclass(frozen=True)
class Record(Outcome):
    """`packed` is the certificate that the host earned, None where it earned none."""

    host: str
    figures: tuple[Headline, ...]
    packed: bytes | None

    @property
    def certificate(self) -> dict[str, Any] | None:
        return unpacked(self.packed)


def of_run(run: Run) -> Iterator[Record]:
    """Yield a record of each inventory host, whose files are read for it."""
    return (of(run, host) for host in run.hosts())


def of(run: Run, host: Host) -> Record:
    state, reason = fleet.judge(host)
    measured = host.result
    earned = certificate.document(run, host) if certificate.earned(host, state) else None
    return Record(
        host=host.name,
        state=state,
        reason=reason,
        profile=measured.profile if measured else "",
        model=measured.model if measured else "",
        fingerprint_id=measured.fingerprint_id if measured else "",
        fingerprint=measured.fingerprint if measured else {},
        settings=values(measured.host_memory) if measured else {},
        figures=tuple(headlines.of(measured)) if measured else (),
        packed=zlib.compress(json.dumps(earned).encode()) if earned else None,
    )


def unpacked(packed: bytes | None) -> dict[str, Any] | None:
    return json.loads(zlib.decompress(packed)) if packed else None
