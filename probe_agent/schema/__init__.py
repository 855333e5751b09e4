"""JSON Schemas of what the agent takes and gives (draft 2020-12)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def load(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.schema.json").read_text())


def check(name: str, document: Any) -> None:
    """Raise ValueError, naming the place and the value, when `document` does not match the schema `name`."""
    import jsonschema

    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(load(name)).iter_errors(document))
    if error is not None:
        raise ValueError(f"{name} does not match its schema at {error.json_path}: {error.message[:300]}")
