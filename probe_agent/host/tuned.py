"""TuneD: which profiles are active, and what they set.

Source: tuned.conf(5), tuned-main.conf(5), and the loader, merger and vm plugin of TuneD 2.20.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Iterator

from . import cmdline, shell, source, startup
from .source import THP, File, Source

FOLDERS = ("etc/tuned/profiles", "etc/tuned", "usr/lib/tuned/profiles", "usr/lib/tuned")
VM = {
    "transparent_hugepages": f"{THP}/enabled",
    "transparent_hugepage": f"{THP}/enabled",
    "transparent_hugepage.defrag": f"{THP}/defrag",
}
SECTION = re.compile(r"\[(.*)\]")
VARIABLE = re.compile(r"(?<!\\)\$\{(\w+)\}")


@dataclass(frozen=True)
class State:
    """`profiles` in the order they are merged. `running` is None where the node's /proc cannot tell."""

    profiles: tuple[str, ...]
    running: bool | None
    at_boot: bool

    @property
    def active(self) -> bool:
        """Whether the profiles act now or at the next boot; in doubt they do."""
        return bool(self.profiles) and (self.running is not False or self.at_boot)


@dataclass(frozen=True)
class Option:
    """One `name=value` of a profile."""

    section: str
    name: str
    value: str
    file: File
    line: int

    def source(self, setting: str, value: str, note: str = "") -> Source:
        return self.file.source(setting, value, self.line, "tuned", note=note)


def state(root: Path = Path("/"), running: bool | None = None) -> State:
    """Return what is active. `running` is the caller's better knowledge; without it the process list decides."""
    profiles = [
        word
        for path in ("etc/tuned/active_profile", "etc/tuned/post_loaded_profile")
        for line in (source.load(path, root) or File(path)).lines
        for word in line.split()
    ]
    masked = any(_is_null(f"{folder}/tuned.service", root) for folder in startup.FOLDERS)
    if running is None and profiles:
        running = _running(root)
    return State(tuple(profiles), running, not masked and "tuned.service" in startup.started(root))


def read(
    found: State, keys: frozenset[str], default_kb: int | None, uname: str, root: Path = Path("/")
) -> list[Source]:
    """Return what the profiles set, included ones first.

    `keys` are the sysctls asked for, `uname` is the text that a profile's uname_regex is matched with.
    """
    profiles, rows = _load(found.profiles, root, set())
    units, lost = _merge(profiles)
    variables = _variables(units.pop("variables", {}), root)
    runtime: list[Source] = []
    boot: list[cmdline.Word] = []
    for section, options in units.items():
        plugin = options["type"].value if "type" in options else section
        unused = _unused(options, variables, uname, root)
        for option in options.values():
            value = _expand(option.value, variables)
            note = "only TuneD can resolve its variable" if "${" in value else ""
            new = [option.source(setting, value, note) for setting in _settings(plugin, option, keys, root)]
            if plugin == "script" and option.name == "script":
                new += _script(option, keys, root)
            if plugin == "bootloader" and option.name.startswith("cmdline") and not unused:
                boot = _boot_words(boot, option, value)
            reason = unused or (_yields(root) if plugin == "vm" and VM.get(option.name) == f"{THP}/enabled" else "")
            runtime += [replace(row, effective=False, note=reason) if reason else row for row in new]
    at_boot = [replace(row, note=row.note or "at the next boot") for row in cmdline.read(boot, "tuned", default_kb)]
    rows += [*_overruled(lost, units, keys, root), *source.last_wins(runtime), *at_boot]
    if found.active:
        return rows
    asleep = "TuneD is neither running nor started at boot"
    return [replace(row, effective=False, note=asleep) if row.setting else row for row in rows]


def reapplies_sysctls(root: Path = Path("/")) -> bool:
    """Return whether /etc/sysctl.d and its like have the last word over a profile's [sysctl], as is TuneD's default."""
    file = source.load("etc/tuned/tuned-main.conf", root)
    values = [option.value for option in parse(file) if option.name == "reapply_sysctl"] if file else []
    return not values or values[-1].lower() not in ("0", "false", "no", "off")


def parse(file: File) -> list[Option]:
    """Read a profile: comments may follow a value, and an indented line continues the one before."""
    options: list[Option] = []
    section = ""
    for number, raw in enumerate(file.lines, 1):
        text = re.sub(r"(^|\s)#.*", "", raw)
        line = text.strip()
        head = SECTION.fullmatch(line)
        if not line or line[0] == ";":
            continue
        if head:
            section = head.group(1)
        elif text[0] in " \t" and options and options[-1].section == section:
            options[-1] = replace(options[-1], value=f"{options[-1].value} {line}")
        elif "=" in line:
            name, _, value = line.partition("=")
            options.append(Option(section, name.strip(), value.strip(), file, number))
    return options


def _load(profiles: tuple[str, ...] | list[str], root: Path, seen: set[str]) -> tuple[list[list[Option]], list[Source]]:
    """Return the profiles' options, an included profile before the one that includes it, and what could not be read."""
    loaded: list[list[Option]] = []
    unread: list[Source] = []
    for profile in profiles:
        # a profile of /etc may include its namesake of /usr/lib, hence files that were seen are passed over
        paths = (f"{folder}/{Path(profile.lstrip('-')).name}/tuned.conf" for folder in FOLDERS)
        files = ((path, source.load(path, root)) for path in paths if path not in seen)
        path, file = next(((path, file) for path, file in files if file), ("", None))
        if file is None or len(seen) > 50:
            continue
        seen.add(path)
        unread += file.unread("tuned")
        options = parse(file)
        for option in options:
            if (option.section, option.name) == ("main", "include"):
                if "${" in option.value:
                    note = f"includes {option.value}, which only TuneD can resolve"
                    unread.append(replace(option.source("", "", note), effective=False))
                more, missed = _load(re.split(r"[\s,;]+", option.value), root, seen)
                loaded, unread = loaded + more, unread + missed
        loaded.append(options)
    return loaded, unread


def _merge(profiles: list[list[Option]]) -> tuple[dict[str, dict[str, Option]], list[tuple[Option, Option]]]:
    """Return section to name to option, later profiles winning, and the options that lost, each with its winner."""
    units: dict[str, dict[str, Option]] = {}
    lost: list[tuple[Option, Option]] = []
    for options in profiles:
        for option in options:
            unit = units.setdefault(option.section, {})
            gone = [option.name]
            if option.name == "replace" and option.value in ("1", "true", "True"):
                gone = [name for name, old in unit.items() if old.file != option.file]
            elif option.name == "drop":
                gone = [
                    name for name in re.split(r"\s*[,;]\s*", option.value) if unit.get(name, option).file != option.file
                ]
            lost += [(unit.pop(name), option) for name in gone if name in unit]
            unit[option.name] = option
    return units, lost


def _overruled(
    lost: list[tuple[Option, Option]], units: dict[str, dict[str, Option]], keys: frozenset[str], root: Path
) -> Iterator[Source]:
    for option, winner in lost:
        named = units.get(option.section, {}).get("type")
        for setting in _settings(named.value if named else option.section, option, keys, root):
            yield source.overrule(option.source(setting, option.value), winner.source(setting, winner.value))


def _settings(plugin: str, option: Option, keys: frozenset[str], root: Path) -> list[str]:
    if plugin == "vm" and option.name in VM:
        return [VM[option.name]]
    if plugin == "sysctl" and source.sysctl_path(option.name) in keys:
        return [source.sysctl_path(option.name)]
    if plugin == "sysfs":
        return source.expand(source.simplify(option.name), root)
    return []


def _script(option: Option, keys: frozenset[str], root: Path) -> list[Source]:
    folder = Path(option.file.path).parent
    path = folder / option.value.replace("${i:PROFILE_DIR}", str(folder))
    file = source.load(source.simplify(str(path)), root)
    rows = shell.script(file, "tuned", keys, root) if file else []
    return [replace(row, note=f"run by profile {folder.name}") for row in rows if row.setting]


def _boot_words(words: list[cmdline.Word], option: Option, value: str) -> list[cmdline.Word]:
    """Apply one `cmdline…=`: `+` and nothing add, `-` takes away."""
    given = cmdline.split(value[1:] if value[:1] in ("+", "-") else value)
    if value[:1] == "-":
        return [word for word in words if word.text not in given]
    return words + [cmdline.Word(text, option.file, option.line) for text in given]


def _variables(options: dict[str, Option], root: Path) -> dict[str, str]:
    variables: dict[str, str] = {}
    for option in options.values():
        if option.name == "include":
            file = source.load(source.simplify(option.value), root)
            for given in parse(file) if file else []:
                variables[given.name] = _expand(given.value, variables)
        else:
            variables[option.name] = _expand(option.value, variables)
    return variables


def _expand(value: str, variables: dict[str, str]) -> str:
    return VARIABLE.sub(lambda found: variables.get(found.group(1), found.group(0)), value)[:4096]


def _unused(options: dict[str, Option], variables: dict[str, str], uname: str, root: Path) -> str:
    """Return why TuneD passes a section over on this machine, or nothing."""
    if "enabled" in options and options["enabled"].value not in ("1", "true", "True"):
        return "its section is not enabled"
    for name in ("uname_regex", "cpuinfo_regex"):
        if name not in options:
            continue
        cpuinfo = source.load("proc/cpuinfo", root) if name == "cpuinfo_regex" else None
        subject = uname if name == "uname_regex" else "\n".join(cpuinfo.lines if cpuinfo else ())
        try:
            with warnings.catch_warnings():  # TuneD's own profiles have a bracket that Python frowns upon
                warnings.simplefilter("ignore")
                if re.search(_expand(options[name].value, variables), subject, re.MULTILINE):
                    continue
        except (re.error, OverflowError, RecursionError):
            pass
        return f"its {name} does not match this machine"
    return ""


def _yields(root: Path) -> str:
    """Return why TuneD leaves THP alone: it does when the kernel command line speaks of it."""
    file = source.load("proc/cmdline", root)
    spoken = file and "transparent_hugepage=" in " ".join(file.lines)
    return "TuneD leaves it to transparent_hugepage= on the kernel command line" if spoken else ""


def _is_null(path: str, root: Path) -> bool:
    try:
        return source.resolve(path, root) == "dev/null"
    except OSError:
        return False


def _running(root: Path) -> bool | None:
    """Return whether the process named by TuneD's pid file lives, or any process called tuned."""
    pids = [name for name in source.names("proc", root) if name.isdigit()]
    if not pids:
        return None
    named = source.load("run/tuned/tuned.pid", root)
    first = [word for word in " ".join(named.lines if named else ()).split() if word in pids]
    names = (source.load(f"proc/{pid}/comm", root) for pid in [*first, *pids])
    return any(file is not None and file.lines[:1] == ("tuned",) for file in names)
