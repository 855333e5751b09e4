"""Chromium without a window, driven over its debugging pipe: opens a page from disk, and tells what it had to say."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ("--headless=new", "--remote-debugging-pipe", "--no-first-run", "--no-sandbox", "--disable-gpu", "about:blank")


class Page:
    """One tab. `said` holds each error and warning of its console, policy violations among them."""

    def __init__(self, reads: int, writes: int) -> None:
        self._reads, self._writes, self._number, self._rest = reads, writes, 0, b""
        self._events: list[dict[str, Any]] = []
        self.said: list[str] = []
        target = self._ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self._ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._ask(method, parameters, sessionId=self._session)

    def open(self, path: Path, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        """Show a file at a width, in light or dark, once it has loaded."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._events.clear()
        self.ask("Page.navigate", url=path.absolute().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._events.append(self._read())

    def run(self, script: str) -> Any:
        """Evaluate an expression in the page and return its value."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """Press a key as a person does: the page cannot tell the difference."""
        text = {"text": "\r"} if key == "Enter" else {"text": " "} if key == " " else {}
        common = {"key": key, "windowsVirtualKeyCode": code}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **common, **text)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **common)

    def screenshot(self, path: Path) -> None:
        """Keep the whole page as it looks."""
        taken = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))

    def _ask(self, method: str, parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters, **more}
        os.write(self._writes, json.dumps(message).encode() + b"\0")
        while True:
            found = self._read()
            if found.get("id") == self._number:
                assert "error" not in found, found["error"]
                return found["result"]
            self._events.append(found)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            read = os.read(self._reads, 1 << 20)
            assert read, "chromium ended"
            self._rest += read
        message, _, self._rest = self._rest.partition(b"\0")
        found = json.loads(message)
        self._listen(found.get("method"), found.get("params", {}))
        return found

    def _listen(self, method: str | None, event: dict[str, Any]) -> None:
        if method == "Log.entryAdded" and event["entry"]["level"] in ("error", "warning"):
            self.said.append(event["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.said.append(json.dumps(event["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and event["type"] in ("error", "warning", "assert"):
            self.said.append(json.dumps(event["args"]))


@contextlib.contextmanager
def browser(scratch: Path) -> Iterator[Page]:
    """Start Chromium with a profile in `scratch`, and end it."""
    asks, commands = os.pipe()
    answers, tells = os.pipe()
    command = [str(PROGRAM), *FLAGS[:-1], f"--user-data-dir={scratch}", FLAGS[-1]]
    process = subprocess.Popen(  # the pipe's ends have to be numbers 3 and 4
        ["bash", "-c", f'exec "$0" "$@" 3<&{asks} 4>&{tells}', *command],
        pass_fds=(asks, tells),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(asks)
    os.close(tells)
    try:
        yield Page(answers, commands)
    finally:
        os.close(commands)  # with its pipe gone, Chromium ends by itself, and its children with it
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(answers)
