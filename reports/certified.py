"""What each node was last certified as, kept between runs: a file per host, never replaced by an older one."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from . import certificate, record, run_folder, schema
from .certificate import Certificate
from .record import Record
from .run_folder import Run

FOLDER = "certified"


def folder_of(run: Run) -> Path:
    """Return where the certificates are that belong to a run's neighbours."""
    return run.path.absolute().resolve().parent / FOLDER


def certify(run: Run, folder: Path, records: Iterable[Record] | None = None) -> Iterator[str]:
    """Keep the certificate of each host that is ok and still as it was measured, and say so.

    Without `records`, the run's hosts are read.
    """
    for kept in record.of_run(run) if records is None else records:
        if run.entries[kept.host].get("put_back"):
            yield f"{kept.host}: not certified, for its settings were put back after it was measured"
        elif kept.state == "ok" and (earned := kept.certificate):
            yield keep(folder, earned)


def keep(folder: Path, document: Mapping[str, Any]) -> str:
    """Write a certificate whole, unless a newer one is there. Returns a sentence, raises OSError or ValueError."""
    schema.check("certificate", document)
    host, path = document["host"], path_of(folder, document["host"])
    try:
        there = certificate.read(path)
    except ValueError:  # none, or none that can be used
        there = None
    if there and there.issued > datetime.datetime.fromisoformat(document["issued"]):
        return f"{host}: not certified, for {path} is newer ({there.issued:%Y-%m-%d %H:%M})"
    folder.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    fresh.replace(path)
    return f"{host}: certified in {path}"


def path_of(folder: Path, host: str) -> Path:
    """Return where a host's certificate is. Raises ValueError for a name that is none of a file."""
    name = f"{host}.json"
    if not run_folder.is_folder_name(host) or not run_folder.is_folder_name(name):
        raise ValueError(f"{host!r} cannot be the name of a file, so it has no certificate")
    return folder / name


def known(folder: Path) -> Iterator[Certificate]:
    """Yield every certificate that is kept, leaving out what cannot be read."""
    for path in sorted(folder.glob("*.json")):
        try:
            yield certificate.read(path)
        except ValueError:
            continue
