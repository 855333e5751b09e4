"""JSON Schemas of a run folder's own files: run.json as the playbook writes it, fleet.json as we do.

A valid document is let through by jsonschema-rs, hundreds of times as fast as jsonschema, which says what is wrong with
any other: a fleet's results are a gigabyte.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import jsonschema
import jsonschema_rs

from probe_agent import schema as agent_schema

FOLDER = Path(__file__).parent


def check(name: str, document: Any) -> None:
    """Raise ValueError, naming the place and the value, when `document` does not match the schema `name`."""
    if _valid(_quick(FOLDER / f"{name}.schema.json"), document):
        return
    error = jsonschema.exceptions.best_match(_validator(name).iter_errors(document))
    if error is not None:
        raise ValueError(f"{name}.json does not match its schema at {error.json_path}: {error.message[:300]}")


def check_result(document: Any) -> None:
    """Hold what an agent sent against the agent's own schema. Raises ValueError as `check` does."""
    if not _valid(_quick(agent_schema.FOLDER / "result.schema.json"), document):
        agent_schema.check("result", document)


@functools.cache
def _quick(path: Path) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(json.loads(path.read_text()))


def _valid(validator: jsonschema_rs.Draft202012Validator, document: Any) -> bool:
    try:
        return validator.is_valid(document)
    except ValueError:  # half of a surrogate pair, which Python's strings can hold and Rust's cannot
        return False


@functools.cache
def _validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads((FOLDER / f"{name}.schema.json").read_text()))
