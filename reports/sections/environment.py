"""What the figures were measured on, and the fingerprint by which two measurements may be compared."""

from __future__ import annotations

from .. import fingerprints, tables
from ..loose import mapping, words
from ..run_folder import Host
from ..tables import Column, Section, Table

KERNEL = {
    "release": "release",
    "machine": "machine",
    "distribution": "distribution",
    "command_line": "command line",
    "uptime_s": "up for, s",
    "page_size_bytes": "page size, bytes",
    "numa_nodes": "NUMA nodes, by number",
    "systemd": "systemd",
}


def findings(host: Host) -> list[str]:
    """Say what makes before and after hard to compare."""
    said = []
    if host.baseline and host.result:
        differing = fingerprints.differences(host.baseline.fingerprint, host.result.fingerprint)
        if differing:
            said.append(f"Before and after differ in {', '.join(differing)}: their figures do not compare.")
        before, after = (mapping(part.host_memory.get("kernel")) for part in (host.baseline, host.result))
        if before.get("boot_id") != after.get("boot_id"):
            said.append("The node was booted between the measurement before and the one after.")
    return said


def section(host: Host) -> Section | None:
    newest = host.measured
    if newest is None:
        return None
    hashes = mapping(newest.fingerprint.get("hashes"))
    parts = tuple(
        (tables.text(name), tables.text(words(newest.fingerprint.get(name))), tables.text(digest))
        for name, digest in hashes.items()
    )
    kernel = mapping(newest.host_memory.get("kernel"))
    return Section(
        "environment",
        "Environment and fingerprint",
        sentences=(
            f"Fingerprint {newest.fingerprint_id or 'not taken'}; measured "
            + ", ".join(
                f"{f'{when} tuning ' if when else ''}{part.started} to {part.finished or 'its early end'}"
                for when, part in host.moments
            )
            + f" with profile {newest.profile} and model {newest.model}.",
        ),
        tables=(Table("Fingerprint", (Column("Part"), Column("Found", wide=True), Column("Hash")), parts),)
        if parts
        else (),
        details=(
            Table(
                "Kernel",
                (Column("What"), Column("Found", wide=True)),
                tuple(
                    (tables.text(title), tables.text(words(kernel[name])))
                    for name, title in KERNEL.items()
                    if name in kernel
                ),
            ),
        )
        if kernel
        else (),
    )
