"""result.json, written anew after every sample, so that whatever ends a run leaves what was measured until then."""

from __future__ import annotations

import json
import math
import os
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from . import VERSION, schema
from .clock import Clock, timing
from .renewed import renewed
from .spec import Spec

WRITE_S = 1.0
UNFINISHED = "the agent ended before this probe had finished"


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


class ResultFile:
    """The document and its file. Every probe asked for is in it from the start, as failed until it is not.

    Whatever writes the file raises NotKept where that cannot be done.
    """

    def __init__(self, path: Path, spec: Spec) -> None:
        self.path, self._written = path, -math.inf
        self.document: dict[str, Any] = {
            "schema_version": 1,
            "agent_version": VERSION,
            "host": spec.host,
            "label": spec.label,
            "started": now(),
            "finished": None,
            "spec": spec.to_json(),
            "fingerprint": {},
            "host_memory": {},
            "probes": {
                name: {"status": "failed", "reason": UNFINISHED, "samples": [], "evidence": {}, "headline": {}}
                for name in spec.probes
            },
        }

    def describe(self, **parts: Any) -> None:
        self.document.update(parts)
        self._write()

    def take(self, parts: dict[str, dict[str, Any]]) -> None:
        """Take over probes that an earlier run measured."""
        self.document["probes"].update(parts)
        self._write()

    def add(self, probe: str, sample: dict[str, Any]) -> None:
        """Keep a sample. The file is renewed once a second at most: hundreds of requests come at once."""
        self.document["probes"][probe]["samples"].append(sample)
        if time.monotonic() - self._written >= WRITE_S:
            self._write()

    def samples(self, probe: str) -> list[dict[str, Any]]:
        return self.document["probes"][probe]["samples"]

    def close(self, probe: str, status: str, reason: str = "", **parts: Any) -> None:
        self.document["probes"][probe].update(status=status, reason=reason, **parts)
        self._write()

    def fail_all(self, reason: str) -> None:
        """Name the reason on every probe that has not finished."""
        for part in self.document["probes"].values():
            if part["reason"] == UNFINISHED:
                part["reason"] = reason
        self._write()

    def finish(self, clock: Clock) -> None:
        """Close the document, and hold it against the schema that its readers rely on; that takes time as well."""
        self.document.update(finished=now(), timing=timing(clock.read()))
        schema.check("result", self.document)
        self.document["timing"] = timing(clock.read())
        self._write()

    def _write(self) -> None:
        with renewed(self.path) as fresh, fresh.open("w") as stream:
            json.dump(self.document, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        self._written = time.monotonic()
