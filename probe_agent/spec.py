"""What one run of the agent measures. The controller sends it as JSON; by hand it comes from the command line.

Checked here with the standard library alone, so that a module on the system Python can refuse bad input before anything
happens on the node. `schema/spec.schema.json` says the same for other tools; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from . import models, paths

PROFILES = {"quick": 1, "standard": 3, "certify": 6}
PROBES = ("load", "allocator")
LONGEST_S = 24 * 3600


@dataclass(frozen=True)
class Spec:
    """`profile` sets the fresh processes per arm; `deadline_s` ends the whole run, children included.

    `drop_caches` lets the load probe drop the page cache of the whole node instead of the model's files only.
    `seed` orders the arms.
    """

    model: str = "synthetic:tiny"
    model_revision: str = ""
    probes: tuple[str, ...] = PROBES
    profile: str = "standard"
    host: str = ""
    label: str = ""
    seed: int = 1
    deadline_s: int = 1800
    drop_caches: bool = False
    models_dir: str = str(paths.HOME / "models")
    state_dir: str = str(paths.STATE)

    @property
    def repeats(self) -> int:
        """Fresh processes per arm, the unit that statistics count."""
        return PROFILES[self.profile]

    def to_json(self) -> dict[str, Any]:
        return {"schema_version": 1, **asdict(self), "probes": list(self.probes)}


def parse(document: dict[str, Any]) -> Spec:
    """Return the spec. Raises ValueError with one sentence that names the field, its value and what is allowed."""
    given = {name: value for name, value in document.items() if name != "schema_version"}
    if document.get("schema_version", 1) != 1:
        raise ValueError(f"schema_version is {document['schema_version']!r}, and this agent understands 1")
    kinds = {field.name: type(field.default) for field in fields(Spec)}
    for name, value in given.items():
        if name not in kinds:
            raise ValueError(f"{name} is no field of a probe spec, which has {', '.join(kinds)}")
        if kinds[name] is tuple and isinstance(value, (list, tuple)):
            given[name] = tuple(value)
        elif type(value) is not kinds[name]:
            raise ValueError(f"probe_{name} is {value!r}, and must be of type {kinds[name].__name__}")
    spec = Spec(**given)
    _check(spec)
    return spec


def _check(spec: Spec) -> None:
    if spec.profile not in PROFILES:
        raise ValueError(f"probe_profile is {spec.profile}, and must be one of {', '.join(PROFILES)}")
    unknown = [name for name in spec.probes if name not in PROBES]
    if unknown or not spec.probes or len(set(spec.probes)) < len(spec.probes):
        named = ", ".join(map(str, unknown or spec.probes)) or "empty"
        raise ValueError(f"probe_probes has {named}, and must name one or more of {', '.join(PROBES)}, each once")
    if not 1 <= spec.deadline_s <= LONGEST_S:
        raise ValueError(f"probe_deadline_s is {spec.deadline_s}, and must be between 1 and {LONGEST_S} seconds")
    if spec.seed < 0:
        raise ValueError(f"probe_seed is {spec.seed}, and must be 0 or more")
    models.check(spec.model, spec.model_revision)
