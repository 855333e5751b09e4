"""What is run or mounted at boot and touches huge pages: systemd units and their scripts, rc.local, fstab.

Sources: systemd.unit(5), systemd-rc-local-generator(8), fstab(5).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Iterator

from . import shell, source
from .source import File, Source

FOLDERS = (
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
)
SYSTEM_PROGRAMS = ("bin/", "sbin/", "usr/bin/", "usr/sbin/")
NOT_STARTED = "nothing starts it at boot: no .wants or .requires link names it"


@dataclass(frozen=True)
class Setting:
    """One `Key=value` of a unit or its drop-ins."""

    section: str
    key: str
    value: str
    file: File
    line: int


def units(keys: frozenset[str], root: Path) -> list[Source]:
    """Return what services run and mount units mount; one that nothing starts at boot is not effective."""
    links = started(root)
    rows: dict[tuple[str, int, str, str], Source] = {}
    for suffix, read in ((".service", _service), (".mount", _mount)):
        for path in source.layered(FOLDERS, suffix, root):
            name = Path(path).name
            dropins = tuple(f"{folder}/{name}.d" for folder in FOLDERS)
            files = [source.load(more, root) for more in (path, *source.layered(dropins, ".conf", root))]
            if files[0] is None:
                continue
            parts = [replace(file, link="") for file in files if file]
            found = [row for file in parts for row in file.unread("unit")]
            found += read([setting for file in parts for setting in parse_unit(file)], keys, root)
            starts = _is_started(name[: -len(suffix)], suffix, links)
            for row in found if starts else map(_asleep, found):
                # an alias is a link to the same file, and either name may start it
                key = (row.file, row.line, row.setting, row.value)
                if row.effective or key not in rows:
                    rows[key] = row
    return list(rows.values())


def started(root: Path) -> set[str]:
    """Return the units that others pull in when the node boots."""
    wants = [f"{folder}/{name}" for folder in FOLDERS for name in source.names(folder, root)]
    return {unit for want in wants if want.endswith((".wants", ".requires")) for unit in source.names(want, root)}


def _is_started(stem: str, suffix: str, links: set[str]) -> bool:
    if stem.endswith("@"):
        return any(unit.startswith(stem) for unit in links)
    return any(f"{stem}{kind}" in links for kind in (suffix, ".timer", ".path", ".socket"))


def _asleep(row: Source) -> Source:
    if not row.effective:
        return row
    return replace(row, effective=False, note=", ".join(filter(None, (row.note, NOT_STARTED))))


def parse_unit(file: File) -> Iterator[Setting]:
    """Yield the settings; a backslash at the end joins a line with the next."""
    section, start, joined = "", 0, ""
    for number, text in enumerate(file.lines, 1):
        line = text.strip()
        if line[:1] in ("#", ";"):  # also between joined lines
            continue
        start, joined = (start, joined) if joined else (number, "")
        if line.endswith("\\"):
            joined += line[:-1] + " "
            continue
        line, joined = (joined + line).strip(), ""
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif "=" in line:
            key, _, value = line.partition("=")
            yield Setting(section, key.strip(), value.strip(), file, start)


def _service(settings: list[Setting], keys: frozenset[str], root: Path) -> list[Source]:
    rows: list[tuple[str, Source]] = []
    for setting in settings:
        if not setting.key.startswith("Exec"):
            continue
        if not setting.value:  # an empty one takes back what came before
            reset = setting.file.source("", "", setting.line, "unit")
            rows = [(key, source.overrule(row, reset) if key == setting.key else row) for key, row in rows]
        rows += [
            (setting.key, setting.file.source(knob, value, setting.line, "unit"))
            for knob, value in shell.settings(setting.value, keys, root)
        ]
        for script in _scripts(setting.value, root):
            runs = f"run by {Path(setting.file.path).name}"
            rows += [(setting.key, replace(row, note=runs)) for row in shell.script(script, "unit", keys, root)]
    return [row for _, row in rows]


def _scripts(command: str, root: Path) -> Iterator[File]:
    """Yield the shell scripts a command runs, the distribution's own programs left out."""
    for word in command.split():
        path = source.simplify(word.strip("\"'@-:+!;"))
        if not word.strip("\"'@-:+!").startswith("/") or path.startswith((*SYSTEM_PROGRAMS, "dev/", "proc/", "sys/")):
            continue
        file = source.load(path, root) if _is_script(path, root) else None
        if file and file.lines and "sh" in file.lines[0]:
            yield file


def _is_script(path: str, root: Path) -> bool:
    try:
        path = source.resolve(path, root)
        if not (root / path).is_file():  # opening a pipe would wait for its writer
            return False
        with (root / path).open("rb") as stream:
            return stream.read(2) == b"#!"
    except (OSError, ValueError):
        return False


def _mount(settings: list[Setting], keys: frozenset[str], root: Path) -> list[Source]:
    last = {setting.key: setting for setting in settings if setting.section == "Mount"}
    if "Where" not in last or "Type" not in last or last["Type"].value != "hugetlbfs":
        return []
    place = last.get("Options", last["Where"])
    options = last["Options"].value if "Options" in last else ""
    return [place.file.source(source.simplify(last["Where"].value), options or "defaults", place.line, "unit")]


def rc_local(keys: frozenset[str], root: Path) -> list[Source]:
    """Return what rc.local sets; systemd runs it only when it may be executed."""
    file = source.load("etc/rc.local", root) or source.load("etc/rc.d/rc.local", root)
    if file is None:
        return []
    rows = source.last_wins(shell.script(file, "rc.local", keys, root))
    try:
        runs = (root / file.path.lstrip("/")).stat().st_mode & 0o111
    except OSError:
        runs = 0
    if runs:
        return rows
    note = "it is not executable, so nothing runs it"
    return [replace(row, effective=False, note=note) if row.setting else row for row in rows]


def fstab(root: Path) -> list[Source]:
    """Return the hugetlbfs lines; of two for one mount point systemd takes the first."""
    file = source.load("etc/fstab", root)
    rows = file.unread("fstab") if file else []
    first: dict[str, Source] = {}
    for number, text in enumerate(file.lines if file else (), 1):
        words = text.split()
        if len(words) < 3 or words[0].startswith("#") or words[2] != "hugetlbfs":
            continue
        target = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), words[1])
        options = words[3] if len(words) > 3 else "defaults"
        row = file.source(source.simplify(target), options, number, "fstab")
        if "noauto" in options.split(","):
            row = replace(row, effective=False, note="noauto: mounted only when asked")
        winner = first.setdefault(row.setting, row)
        rows.append(row if winner is row else source.overrule(row, winner))
    return rows
