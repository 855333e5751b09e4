"""What is kept of a host beyond its pages, made where its result has been read: a fleet's results are read once."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from probe_agent.settings import values

from . import certificate, fleet, headlines
from .headlines import Headline
from .run_folder import Host, Run


@dataclass(frozen=True)
class Record:
    """`packed` is the certificate that the host earned. Texts are a node's: half of a surrogate pair is spelled out."""

    host: str
    state: str
    reason: str
    profile: str
    model: str
    fingerprint_id: str
    fingerprint: Mapping[str, Any]
    settings: Mapping[str, str]
    figures: tuple[Headline, ...]
    packed: bytes | None

    @property
    def certificate(self) -> dict[str, Any] | None:
        return unpacked(self.packed)


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
