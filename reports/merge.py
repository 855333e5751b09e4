"""One run folder out of several: a fleet that was run in slices, read as a whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import run_folder
from .run_folder import Run


def merge(runs: Iterable[Run], into: Path) -> Run:
    """Write a new folder with every host of `runs` once, where it was not skipped, if anywhere. Raises ValueError."""
    if into.exists():
        raise ValueError(f"{into} is there already, and a merged run is written anew")
    entries: dict[str, dict[str, Any]] = {}
    source: dict[str, Run] = {}
    runs = list(runs)
    for run in runs:
        for name, entry in run.entries.items():
            known = entries.get(name)
            if known and "skipped" not in (known["state"], entry["state"]):
                raise ValueError(f"{name} was run in {source[name].path} and in {run.path}, and slices share no host")
            if known is None or known["state"] == "skipped":
                entries[name], source[name] = entry, run
    (into / "hosts").mkdir(parents=True)
    for name, run in source.items():
        folder = run.path / "hosts" / name
        if run_folder.is_folder_name(name) and folder.is_dir() and not folder.is_symlink():
            shutil.copytree(folder, into / "hosts" / name, symlinks=True)
    ends = [run.finished for run in runs]
    document = {
        "schema_version": 1,
        "run_id": into.name,
        "started": min(run.started for run in runs),
        "finished": None if None in ends else max(filter(None, ends)),
        "hosts": entries,
    }
    (into / "run.json").write_text(json.dumps(document, indent=1))
    return run_folder.read(into)
