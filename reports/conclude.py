"""What a run ends with, on the controller: judged, rendered, certified and recorded by one process."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import certified, drift, fleet, history, preflight, render, run_folder, schema, summary
from .fleet import Row
from .record import Record
from .run_folder import Run


@dataclass(frozen=True)
class Verdict:
    """What is to be said, and an exit status: 0 healthy or not asked, 1 could not tell, 2 unhealthy or drifted."""

    code: int
    sentences: list[str]


def drifted(path: Path) -> Verdict:
    """Tell what drifted since each node was certified. Status 0: nothing, 1: cannot tell of a node, 2: one drifted."""
    found, said = _drift(path)
    schema.check("drift", found)
    (path / drift.NAME).write_text(json.dumps(found, indent=1) + "\n")
    return Verdict(found["code"], [*said, *drift.sentences(found)])


def _drift(path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    run = run_folder.read(path)
    folder = certified.folder_of(run)
    with history.open_(folder.parent) as opened:
        return drift.document(run, folder, opened), opened.said


def fit(path: Path) -> Verdict:
    """Tell which nodes are fit, from quick results. Status 0: all, 1: cannot tell of one, 2: one is not."""
    run = run_folder.read(path)
    found = preflight.document(run, certified.folder_of(run), datetime.datetime.now(datetime.UTC))
    (run.path / preflight.NAME).write_text(json.dumps(found, indent=1) + "\n")
    return Verdict(found["code"], preflight.sentences(found))


def doubtful(path: Path, by: str) -> list[str]:
    """Return the hosts with a figure that the verdict would hold against them, which another run may not show."""
    if by == "drift":
        return drift.doubtful(_drift(path)[0])
    run = run_folder.read(path)
    return preflight.doubtful(run, certified.folder_of(run), datetime.datetime.now(datetime.UTC))


def summed_up(path: Path) -> Verdict:
    """Print where the report is and three lines of result; status 1 when a host is neither ok nor skipped."""
    return _summed_up(run_folder.read(path))


def _summed_up(run: Run, rows: list[Row] | None = None) -> Verdict:
    lines, rows = summary.lines(run, rows)
    return Verdict(0 if fleet.healthy(rows) else 1, lines)


def certify(path: Path) -> Verdict:
    """Keep the certificate of each host that is ok in certified/ beside the run folder, for a pre-flight."""
    run = run_folder.read(path)
    return Verdict(0, list(certified.certify(run, certified.folder_of(run))))


def record(path: Path) -> Verdict:
    """Keep a run's certificates and figures in the history beside its folder; once, however often it is called."""
    return Verdict(0, _recorded(run_folder.read(path)))


def _recorded(run: Run, records: list[Record] | None = None) -> list[str]:
    with history.open_(run.path.absolute().resolve().parent) as opened:
        new = opened.record(run, records)
        return [*opened.said, f"{run.run_id}: {'recorded' if new else 'was recorded already'}"]


VERDICTS: dict[str, Callable[[Path], Verdict]] = {"summary": summed_up, "drift": drifted, "preflight": fit}
KEPT: dict[str, Callable[[Path], Verdict]] = {"certify": certify, "record": record}


def conclude(path: Path, by: str) -> tuple[Verdict, list[str]]:
    """Return the verdict of a run's playbook, and what else is to be said. A run that tuned is summed up when it ends;
    what drift.yml and preflight.yml ask stands on the pages, so it is judged before. Raises OSError or ValueError.
    """
    judge = VERDICTS[by] if by != "summary" else drifted if drift.certificates(run_folder.read(path)) else None
    verdict = _tried(judge, path) if judge else Verdict(0, [])
    run = run_folder.read(path)  # with what was judged
    found = render.render_and_record(run)
    records = [kept for _, kept in found]
    if by != "summary":
        return verdict, _recorded(run, records)
    said = [*verdict.sentences, *certified.certify(run, certified.folder_of(run), records), *_recorded(run, records)]
    return _summed_up(run, [row for row, _ in found]), said


def _tried(judge: Callable[[Path], Verdict], path: Path) -> Verdict:
    """Judge; where that cannot be done, the pages are written all the same."""
    try:
        return judge(path)
    except (OSError, ValueError) as error:
        return Verdict(1, [str(error)])
