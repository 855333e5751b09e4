"""What systemd and the files it reads give a service: its variables, each with file and line.

Sources: systemd.unit(5), systemd.exec(5), systemd.syntax(7).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterator

from . import source, startup
from .startup import Setting

PROPERTIES = ("Names", "LoadState", "MainPID", "Environment", "DropInPaths")

# Where the system manager looks for units and their drop-ins; an earlier folder hides its namesakes.
FOLDERS = (
    "etc/systemd/system.control",
    "run/systemd/system.control",
    "run/systemd/transient",
    "run/systemd/generator.early",
    *startup.FOLDERS[:2],
    "run/systemd/generator",
    *startup.FOLDERS[2:],
    "run/systemd/generator.late",
)
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TOKEN = re.compile(r"""\\(?:x([0-9a-fA-F]{2})|(.))|(["'])|(\s+)|([^\\"'\s]+)""")
ESCAPES = {"n": "\n", "t": "\t", "s": " "}


@dataclass(frozen=True)
class State:
    """What systemd says of a unit. `pid` is 0 when it does not run."""

    load: str = "not-found"
    pid: int = 0
    names: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    dropins: tuple[str, ...] = ()


@dataclass(frozen=True)
class Given:
    """A line that gives a variable, or with `value` None takes it away; without a name it takes all before it.

    `rank` says where the line stands among others.
    """

    name: str
    value: str | None
    file: str
    line: int
    rank: str

    @property
    def sentence(self) -> str:
        takes = f"takes {self.name or 'every variable'} away"
        return f"{self.file} line {self.line} {takes if self.value is None else f'sets {self.name} to {self.value}'}"


def parse_show(text: str, units: list[str]) -> dict[str, State]:
    """Read `systemctl show --property …` of the units: a block each, in their order. Raises ValueError on less."""
    blocks = [dict(_property(line) for line in block.splitlines()) for block in text.strip().split("\n\n")]
    if len(blocks) != len(units):
        raise ValueError(f"systemctl show tells of {len(blocks)} units, and was asked for {', '.join(units)}")
    return {unit: _state(block) for unit, block in zip(units, blocks)}


def _property(line: str) -> tuple[str, str]:
    name, _, value = line.partition("=")
    return name, value


def _state(block: dict[str, str]) -> State:
    return State(
        load=block.get("LoadState", "not-found"),
        pid=int(block.get("MainPID") or 0),
        names=tuple(block.get("Names", "").split()),
        environment=assignments(block.get("Environment", "")),
        dropins=tuple(words(block.get("DropInPaths", ""))),
    )


def words(text: str) -> list[str]:
    """Split a value as systemd does: quotes hold words together, a backslash escapes the next character."""
    found: list[str] = []
    quote, inside = "", False
    for code, escaped, mark, space, plain in TOKEN.findall(text):
        if space and not quote:
            inside = False
            continue
        if not inside:
            found.append("")
            inside = True
        if mark and quote in ("", mark):
            quote = "" if quote else mark
        else:
            found[-1] += chr(int(code, 16)) if code else ESCAPES.get(escaped, escaped) or mark or space or plain
    return found


def assignments(text: str) -> dict[str, str]:
    """Return the variables of one `Environment=` value."""
    return dict(word.split("=", 1) for word in words(text) if "=" in word)


def assigned(text: str) -> dict[str, str]:
    """Return the variables that the `Environment=` lines of a whole file set."""
    settings = startup.parse_unit(source.File("", tuple(text.split("\n"))))
    return {
        name: value.replace("%%", "%")
        for setting in settings
        if setting.key == "Environment"
        for name, value in assignments(setting.value).items()
    }


def line(name: str, value: str) -> str:
    """Return the line that sets a variable to exactly `value`; a lone percent sign would start a specifier."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t").replace("%", "%%")
    return f'Environment="{name}={escaped}"\n'


def given(unit: str, ours: str, names: tuple[str, ...] = (), root: Path = Path("/")) -> list[Given]:
    """Return what other files than the drop-in `ours` give a unit that has `names`, later ones winning."""
    found: list[Given] = []
    from_files: list[Given] = []
    unset: list[Given] = []
    for place, setting in _settings(unit, names, root):
        if setting.section != "Service" or place == ours:
            continue
        name, our_name = Path(place).name, Path(ours).name
        later = place.endswith(".conf") and name > our_name
        rank = f"of a unit's drop-ins the last file name wins, here {name if later else our_name}"
        where = setting.file.path, setting.line
        if setting.key == "Environment" and not setting.value:
            found = [Given("", None, *where, rank)] if later else []
        elif setting.key == "Environment":
            pairs = assignments(setting.value).items()
            found += [Given(name, value.replace("%%", "%"), *where, rank) for name, value in pairs]
        elif setting.key == "EnvironmentFile":
            from_files += _environment_file(setting.value, unit, root)
            from_files = from_files if setting.value else []
        elif setting.key == "UnsetEnvironment":
            taken = [word.partition("=")[0] for word in words(setting.value)]
            unset += [Given(name, None, *where, "UnsetEnvironment wins over every Environment") for name in taken]
            unset = unset if taken else []
    return [*found, *from_files, *unset]


def _settings(unit: str, names: tuple[str, ...], root: Path) -> Iterator[tuple[str, Setting]]:
    """Yield each setting of the unit file and of the drop-ins that apply, with the path it is read as."""
    called = list(dict.fromkeys((unit, *names)))
    templates = [template for name in called for template in _template(name)]
    places = [f"{folder}/{name}" for name in [*called, *templates] for folder in FOLDERS]
    fragment = [place for place in places if (root / place).exists() or (root / place).is_symlink()][:1]
    kinds = [*(kind for name in called for kind in _kinds(name)), "service"]
    dropins = source.layered(tuple(f"{folder}/{kind}.d" for kind in kinds for folder in FOLDERS), ".conf", root)
    for place in [*fragment, *dropins]:
        file = source.load(place, root)
        for setting in startup.parse_unit(file) if file else ():
            yield place, setting


def _template(unit: str) -> list[str]:
    return [f"{unit.partition('@')[0]}@.service"] if "@" in unit else []


def _kinds(unit: str) -> list[str]:
    """Return the names whose drop-ins apply: the unit's, its template's, and for a-b-c those of a-b- and a-."""
    prefix = unit[: -len(".service")].partition("@")[0]
    cuts = [place for place, character in enumerate(prefix[:-1], 1) if character == "-"]
    return [unit, *_template(unit), *(f"{prefix[:cut]}.service" for cut in reversed(cuts))]


def _environment_file(value: str, unit: str, root: Path) -> Iterator[Given]:
    prefix, _, instance = unit[: -len(".service")].partition("@")
    place = value[value.startswith("-") :].replace("%i", instance).replace("%p", prefix)
    file = source.load(source.simplify(place), root) if place.startswith("/") else None
    for number, text in enumerate(file.lines if file else (), 1):
        name, _, raw = (part.strip() for part in text.partition("="))
        if VARIABLE.fullmatch(name):
            plain = "".join(words(raw)[:1]) if raw[:1] in ('"', "'") else raw
            yield Given(name, plain, file.path, number, "an EnvironmentFile wins over every Environment")
