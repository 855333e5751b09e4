"""Action plugin: bring a node's result home in one command, and no more of it than a result may have."""

from __future__ import annotations

import base64
import binascii
import os
import shlex
import sys
import zlib
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from probe_agent import foreign  # noqa: E402 - found through the line above

ABSENT = 3


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


class ActionModule(ActionBase):
    """Takes `src` on the node and `dest` here. A file that is not there is no failure: what kept it away is known."""

    _supports_check_mode = True
    _VALID_ARGS = frozenset(("src", "dest"))

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = {**super().run(tmp, task_vars), "changed": False}
        if self._task.check_mode:
            return {**result, "skipped": True}
        source, target = self._task.args["src"], Path(self._task.args["dest"])
        done = self._low_level_execute_command(command(source))
        if done["rc"] == ABSENT:
            return {**result, "msg": f"{source} is not on the node"}
        try:
            if done["rc"]:
                raise ValueError(" ".join(done["stderr"].split()))
            content = unpack(done["stdout"])
        except ValueError as error:
            raise AnsibleActionFail(f"{source} was left on the node: {error}") from None
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f"{target.name}.{os.getpid()}")
        fresh.write_bytes(content)
        fresh.replace(target)
        return result
