"""Bring a node's result home in one command, and no more of it than a result may have."""

from __future__ import annotations

import base64
import binascii
import os
import shlex
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from probe_agent import foreign

ABSENT = 3


def fetch(run: Callable[[str], Mapping[str, Any]], source: str, target: Path) -> str:
    """Fetch a file of a node, on which `run` runs a shell command. Returns why it was left there, or nothing.

    A file that is not there is no failure: what kept it away is known.
    """
    done = run(command(source))
    if done["rc"] == ABSENT:
        return ""
    try:
        if done["rc"]:
            raise ValueError(" ".join(done["stderr"].split()))
        content = unpack(done["stdout"])
    except ValueError as error:
        return f"{source} was left on the node: {error}"
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f"{target.name}.{os.getpid()}")
    fresh.write_bytes(content)
    fresh.replace(target)
    return ""


def with_result(done: dict[str, Any], left: str) -> dict[str, Any]:
    """Return a module's answer, failed where its result was `left` on the node."""
    if not left:
        return done
    said = [done["msg"]] if done.get("failed") and done.get("msg") else []
    return {**done, "failed": True, "msg": "; then: ".join([*said, left])}


def command(file: str) -> str:
    """Return the shell command that prints the file, packed; one byte beyond the limit is enough to know."""
    name = shlex.quote(file)
    return f"test -f {name} || exit {ABSENT}; head -c {foreign.LIMIT_BYTES + 1} {name} | gzip -c | base64"


def unpack(text: str) -> bytes:
    """Return the file. Raises ValueError, in words, for what is too large or was not packed by `command`."""
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        content = unpacker.decompress(base64.b64decode(text), foreign.LIMIT_BYTES + 1)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"what came is no packed file: {error}") from None
    if len(content) > foreign.LIMIT_BYTES:
        raise ValueError(f"it is larger than {foreign.LIMIT_BYTES >> 20} MiB")
    if not unpacker.eof:
        raise ValueError("it came only in part")
    return content
