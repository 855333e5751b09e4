"""What an earlier run measured and this one need not measure again."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from . import foreign, schema, settings


def previous_of(out: Path) -> Path:
    """Return where the result that stood in `out` before this run is kept."""
    return out.with_name(f"{out.stem}.previous.json")


def set_aside(out: Path) -> None:
    """Move an older result out of the way, so that it cannot pass for this run's.

    One in which no probe finished is dropped instead: an earlier one has more to resume from.
    """
    with contextlib.suppress(FileNotFoundError):
        try:
            barren = not any(part["status"] == "ok" for part in _load(out)["probes"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            barren = False  # whatever it is, somebody may want to look at it
        if barren:
            out.unlink()
        else:
            out.replace(previous_of(out))


def read(path: Path) -> dict[str, Any] | None:
    """Return the result in `path`, None without one. Raises ValueError, in one sentence, for what is no result."""
    try:
        document = _load(path)
        schema.check("result", document)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be resumed from: {getattr(error, 'strerror', None) or error}") from None
    return document


def kept(previous: dict[str, Any], document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the parts of `previous` that hold for `document`, a result whose probes are still to be measured.

    They hold when the same was measured (fingerprint and label) on the same GPUs of a node that is set up the same.
    """
    same = (
        previous["fingerprint"].get("id")
        and previous["fingerprint"]["id"] == document["fingerprint"]["id"]
        and previous["label"] == document["label"]
        and _gpus(previous) == _gpus(document)
        and settings.values(_tuned(previous)) == settings.values(_tuned(document))
    )
    return {
        name: {"measured": previous["started"], **part, "resumed": True}
        for name, part in previous["probes"].items()
        if same and name in document["probes"] and part["status"] == "ok"
    }


def _gpus(document: dict[str, Any]) -> tuple[Any, Any]:
    """Return which GPUs were asked for and which that were: an index is another GPU once one is hidden or replaced."""
    return document["spec"].get("gpus"), document.get("gpus")


def _tuned(document: dict[str, Any]) -> dict[str, Any]:
    return {name: document["host_memory"].get(name) for name in ("thp", "pools", "allocators")}


def _load(path: Path) -> Any:
    content = foreign.content(path)
    try:
        return json.loads(content, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse(figure: str) -> None:
    raise ValueError(f"it has the figure {figure}")
