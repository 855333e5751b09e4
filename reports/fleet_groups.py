"""Nodes that are alike, folded: same state and reason, same fingerprint, settings and verdicts, same outliers."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence

from .fleet import Row, first_verdicts
from .fleet_twins import Outlier


def fold(rows: Sequence[Row], unusual: Mapping[str, Sequence[Outlier]]) -> list[tuple[Row, ...]]:
    """Return the rows as groups, each where its first row stood. `unusual` has the outliers by host."""
    groups: dict[Hashable, list[Row]] = {}
    for row in rows:
        groups.setdefault(_key(row, unusual.get(row.host, ())), []).append(row)
    return [tuple(group) for group in groups.values()]


def shape(row: Row) -> str:
    """Return a reason without what differs from host to host for the same reason: its name and numbers."""
    return re.sub(r"\d+", "#", row.reason.replace(row.host, "#"))


def _key(row: Row, unusual: Sequence[Outlier]) -> Hashable:
    return (
        row.state,
        row.phase,
        shape(row),
        row.fingerprint,
        tuple(sorted(row.found.items())),
        tuple((name, each["before"], each["after"]) for name, each in sorted(row.settings.items())),
        tuple((arm, found["verdict"]) for arm, found in sorted(first_verdicts(row).items())),
        tuple(sorted((each.metric, each.worse) for each in unusual)),
    )
