"""What an advice is: a sentence that says what to do, the variables that do it, and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ..statistics import Effect


class Basis(StrEnum):
    MEASURED = "measured"  # on this node, against its own noise
    FACT = "fact"  # of the kernel or the library, whatever was measured
    RULE = "rule"  # arithmetic on what was measured


@dataclass(frozen=True)
class Recommendation:
    """`changes` tells whether anything is to be done; otherwise the advice is to leave it, or that nobody can tell."""

    subject: str
    advice: str
    evidence: tuple[str, ...]
    basis: Basis
    changes: bool
    variables: Mapping[str, Any] = field(default_factory=dict)
    effect: Effect | None = None
    cost: str = ""
