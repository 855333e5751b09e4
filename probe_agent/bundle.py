"""The agent as one archive, the same bytes for the same source: how it travels to a node."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

PACKAGE = Path(__file__).parent


def write(folder: Path) -> Path:
    """Write `probe_agent-<hash>.tar.gz` into `folder` and return its path; the hash names the source."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for source in sorted(PACKAGE.rglob("*")):
            if source.suffix in {".py", ".json"}:
                member = tarfile.TarInfo(f"probe_agent/{source.relative_to(PACKAGE)}")
                member.size, member.mode = source.stat().st_size, 0o644
                with source.open("rb") as stream:
                    archive.addfile(member, stream)
    name = f"probe_agent-{hashlib.sha256(packed.getvalue()).hexdigest()[:12]}.tar.gz"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / name).exists():
        (folder / name).write_bytes(gzip.compress(packed.getvalue(), mtime=0))
    return folder / name
