"""JSON Schemas of a run folder's own files: run.json as the playbook writes it, fleet.json as we do."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import jsonschema

FOLDER = Path(__file__).parent


@functools.cache
def _validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads((FOLDER / f"{name}.schema.json").read_text()))


def check(name: str, document: Any) -> None:
    """Raise ValueError, naming the place and the value, when `document` does not match the schema `name`."""
    error = jsonschema.exceptions.best_match(_validator(name).iter_errors(document))
    if error is not None:
        raise ValueError(f"{name}.json does not match its schema at {error.json_path}: {error.message[:300]}")
