"""Which small language model to load: a local folder, a hub id at a pinned revision, or one built on the node."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from .shapes import SHAPES

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
COMMIT = re.compile(r"[0-9a-f]{40}")
SYNTHETIC = "synthetic:"


def check(name: str, revision: str = "") -> None:
    """Raise ValueError, in one sentence, unless `name` is a model that this node could load."""
    if name.startswith(SYNTHETIC):
        if name[len(SYNTHETIC) :] not in SHAPES:
            known = ", ".join(SYNTHETIC + shape for shape in SHAPES)
            raise ValueError(f"probe_model is {name}, and must be one of {known}, a local folder or a hub id")
    elif name.startswith(("/", "./", "../")):
        _check_folder(Path(name))
    elif not HUB_ID.fullmatch(name):
        raise ValueError(
            f"probe_model is {name}, and must be synthetic:<name>, a folder starting with /, or a hub id owner/name"
        )
    elif not COMMIT.fullmatch(revision):
        raise ValueError(
            f"probe_model_revision is {revision or 'empty'}, and must be the commit (40 hex digits) of {name} "
            "that every node shall load"
        )


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ValueError(f"probe_model is {folder}, and no such folder is on this node")
    missing = [name for name in ("config.json", "tokenizer_config.json") if not (folder / name).is_file()]
    if not any(folder.glob("*.safetensors")):
        missing.append("*.safetensors")
    if missing:
        raise ValueError(f"probe_model is {folder}, a folder without a model: it lacks {', '.join(missing)}")


def synthetic_folder(name: str, models_dir: str) -> Path:
    """Return where `synthetic:<name>` lives; a changed shape gets a new folder."""
    shape = name[len(SYNTHETIC) :]
    digest = hashlib.sha256(json.dumps(SHAPES[shape], sort_keys=True).encode()).hexdigest()[:8]
    return Path(models_dir) / f"synthetic-{shape}-{digest}"


def files(folder: Path) -> list[Path]:
    """Return the files that loading the model reads, in a fixed order."""
    return sorted(path for path in folder.iterdir() if path.suffix in {".safetensors", ".json", ".model", ".txt"})
