"""What to do on a host, drawn from its measurements alone; what was not measured yields nothing.

Only what was called better against the node's own noise is recommended. Of levers that were not measured together one
is chosen. Where the figures do not tell, the advice is to keep what is there, with the blocks it would take to know.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..run_folder import Host
from . import levers, placement, pools, serving
from .kinds import Basis, Recommendation

__all__ = ["Basis", "Recommendation", "of", "variables"]


def of(host: Host) -> list[Recommendation]:
    """Return the advice for a host, what is to be done first."""
    measured = host.result
    if measured is None:
        return []
    arms = levers.judged(measured)
    choice = levers.choose(arms)
    found = [
        *levers.thp(measured, arms, choice),
        *pools.of(measured, arms, choice),
        *levers.of(measured, arms, choice),
        *placement.of(measured, arms),
        *levers.bytecode(measured, arms),
        *serving.of(measured),
    ]
    return sorted(found, key=lambda each: not each.changes)


def variables(found: Iterable[Recommendation]) -> dict[str, Any]:
    """Return the inventory variables that all of the advice comes to."""
    return {name: value for each in found for name, value in each.variables.items()}
