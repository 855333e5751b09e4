"""Connection plugin for the benchmark: a node with its answers ready, so that what is left is the controller's work."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
name: stub
short_description: Answers each module from a file
description:
  - Takes the folder from STETHOS_BENCH; a module's answer is answers/<module>.json there.
  - Adds the module's name to executions/<host>. The module that STETHOS_BENCH_SLOW names takes a second, and
    says in the file turns when it begins and ends.
extends_documentation_fragment: [connection_pipelining]
"""

FOLDER = Path(os.environ["STETHOS_BENCH"])
SLOW = os.environ.get("STETHOS_BENCH_SLOW")
MODULE = re.compile(rb"ansible_module='(?:ansible\.legacy\.)?([\w.]+)'")
PACKED = "gzip -c | base64"
APART = re.compile(r"async_wrapper\S* j\d+ ")  # a module that goes on by itself, and has answered when asked
JOB = "/stub/job"
FOLDER_MADE = re.compile(r"echo ([\w.-]+)=")


class Connection(ConnectionBase):
    transport = "stub"
    has_pipelining = True

    def _connect(self) -> Connection:
        self._connected = True
        return self

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        module = MODULE.search(in_data or b"")
        if module:
            return 0, self._ran(module[1].decode(), f"answers/{module[1].decode()}.json"), b""
        if PACKED in cmd:
            return 0, self._ran("command", "packed"), b""
        if APART.search(cmd):
            return 0, self._ran("async_wrapper", "answers/async_wrapper.json"), b""
        if JOB in cmd:
            return 0, b"{}\n{}\n", b""
        made = FOLDER_MADE.search(cmd)
        return 0, f"{made[1]}=/tmp/stub\n".encode() if made else b"", b""

    def _ran(self, name: str, answer: str) -> bytes:
        """Count what ran, and return what it says."""
        with (FOLDER / "executions" / str(self._play_context.remote_addr)).open("a") as file:
            file.write(f"{name}\n")
        if name == SLOW:
            with (FOLDER / "turns").open("a", buffering=1) as turns:
                turns.write("begin\n")
                time.sleep(1)
                turns.write("end\n")
        return (FOLDER / answer).read_bytes()

    def put_file(self, in_path: str, out_path: str) -> None:
        """Everything that is sent arrives."""

    def fetch_file(self, in_path: str, out_path: str) -> None:
        shutil.copyfile(FOLDER / "result.json", out_path)

    def close(self) -> None:
        self._connected = False
