"""Which versions are other ones than certified: figures from before and after such a change do not compare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from probe_agent.preflight import PARTS, differing
from probe_agent.settings import values

from ..certificate import Certificate
from ..loose import mapping, words
from .configuration import LIBRARY
from .kinds import DRIFTED, UNKNOWN, VERSION, Finding, Node

TITLES = {"kernel release": "kernel", "driver nvidia": "NVIDIA driver"}
NOT_OF_THE_NODE = ("model", "way of measuring")  # the inventory asked for something else than was certified


def findings(node: Node, certified: Certificate, fingerprint: Mapping[str, Any] | None) -> Iterator[Finding]:
    """Yield what changed. Without a fingerprint nothing was measured, and only the kernel and libraries are known."""
    yield from _libraries(node, certified)
    if not fingerprint:
        then = str(mapping(certified.fingerprint.get("kernel")).get("release") or "")
        if node.release and then and node.release != then:
            yield _other("kernel", then, node.release)
        return
    parts = differing(dict(certified.fingerprint), dict(fingerprint))
    for part in (part for part in PARTS if part in parts and part not in NOT_OF_THE_NODE):
        yield from _part(part, mapping(certified.fingerprint.get(part)), mapping(fingerprint.get(part)))
    for part in (part for part in parts if part in NOT_OF_THE_NODE):
        said = "is another one than certified, so figures do not compare: certify the node again, or ask for the same"
        then, now = (words(found.get(part)) for found in (certified.fingerprint, fingerprint))
        yield Finding(VERSION, UNKNOWN, part, said, certified=then, now=now)


def _part(part: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Finding]:
    names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    for name in names:
        full = f"{part} {name}"
        yield _other(
            name if part == "packages" else TITLES.get(full, full), words(then.get(name)), words(now.get(name))
        )
    if not names:
        yield Finding(VERSION, DRIFTED, part, "has another hash than certified")


def _other(what: str, then: str, now: str) -> Finding:
    return Finding(VERSION, DRIFTED, what, f"is {now}, and was certified with {then}", certified=then, now=now)


def _libraries(node: Node, certified: Certificate) -> Iterator[Finding]:
    found = values(node.host_memory)
    for name in (name for name in certified.settings if found and name.endswith(LIBRARY)):
        content = f"{name}, content"
        then, now = ((known.get(name), known.get(content)) for known in (certified.settings, found))
        if then[1] is None:  # certified before contents were
            then, now = (then[0], None), (now[0], None)
        if then == now:
            continue
        path = now[0] or ""
        setter = node.setter(path) if path else None
        if not path:
            said = f"is gone; certified was {then[0]}"
        elif then[0] != now[0]:
            said = f"is {path}, and was certified as {then[0]}"
        else:
            said = f"{path} is another file than the certified one"
        if setter and setter.modified:
            owner = f"package {setter.package}" if setter.package else "no package"
            said += f", written {setter.modified}, at a path that {owner} owns"
        shown = [" ".join(filter(None, pair)) or None for pair in (then, now)]
        yield Finding(
            VERSION, DRIFTED, name, said, certified=shown[0], now=shown[1], set_by=(setter,) if setter else ()
        )
