"""What every node was found to be, run after run: one SQLite file beside the run folders, of which it is an index.

The run folders are the truth. A file that cannot be used is set aside under another name, never overwritten, and what
the folders still hold is read again.

It keeps SQLite's rollback journal: a write-ahead log needs memory that all its processes share, which no network file
system gives, and reports often lie on one. Readers wait only while a run's few rows are committed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from . import certificate, certified, record, run_folder, trend
from .metrics import Metric
from .record import Outcome, Record
from .run_folder import Run
from .trend import Point, Trend

NAME = "history.sqlite"
VERSION = 1
WAIT_S = 60  # for another process that writes
BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
SCHEMA = """
CREATE TABLE runs (run_id TEXT PRIMARY KEY, started TEXT NOT NULL, finished TEXT) WITHOUT ROWID;
CREATE TABLE hosts (
    run_id TEXT NOT NULL REFERENCES runs ON DELETE CASCADE,
    host TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    profile TEXT NOT NULL,
    model TEXT NOT NULL,
    fingerprint_id TEXT NOT NULL,
    fingerprint TEXT NOT NULL, -- JSON
    settings TEXT NOT NULL, -- JSON
    certificate BLOB, -- JSON, through zlib: it is most of the file
    PRIMARY KEY (host, run_id)
);
CREATE TABLE figures (
    run_id TEXT NOT NULL,
    host TEXT NOT NULL,
    name TEXT NOT NULL,
    title TEXT NOT NULL,
    lower_is_better INTEGER NOT NULL,
    median REAL NOT NULL,
    mad REAL NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (host, name, run_id),
    FOREIGN KEY (host, run_id) REFERENCES hosts ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX hosts_by_run ON hosts (run_id);
CREATE INDEX figures_by_run ON figures (host, run_id);
"""


@dataclass(frozen=True)
class Entry(Outcome):
    """A host in one run. `certificate` is None where it earned none."""

    run_id: str
    started: str
    certificate: Mapping[str, Any] | None


class History:
    """An open history; `said` tells what had to be set aside to open it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.said: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def record(self, run: Run, records: Iterable[Record] | None = None) -> bool:
        """Keep a run whole, once. Returns False when it was there already. Without `records`, its hosts are read."""
        run_id = _text(run.run_id)
        if self.connection.execute("SELECT 1 FROM runs WHERE run_id = ?", (run_id,)).fetchone():
            return False
        hosts, found = [], []
        # A fleet's results take a while to read: nobody waits for that.
        for kept in record.of_run(run) if records is None else records:
            hosts.append((run_id, *_row(kept)))
            found += [(run_id, *row) for row in _figures(kept)]
        with _transaction(self.connection):
            added = self.connection.execute(
                "INSERT OR IGNORE INTO runs VALUES (?, ?, ?)", (run_id, run.started, run.finished)
            )
            if not added.rowcount:  # another process was faster
                return False
            self.connection.executemany("INSERT INTO hosts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", hosts)
            self.connection.executemany("INSERT INTO figures VALUES (?, ?, ?, ?, ?, ?, ?, ?)", found)
        return True

    def hosts(self) -> list[str]:
        return [host for (host,) in self.connection.execute("SELECT DISTINCT host FROM hosts ORDER BY host")]

    def runs(self, host: str) -> list[Entry]:
        """Return the runs of a host, oldest first."""
        found = self.connection.execute(
            "SELECT state, reason, profile, model, fingerprint_id, fingerprint, settings, run_id, started, certificate"
            " FROM hosts JOIN runs USING (run_id) WHERE host = ? ORDER BY started, run_id",
            (_text(host),),
        )
        return [Entry(*row[:5], *map(json.loads, row[5:7]), *row[7:9], record.unpacked(row[9])) for row in found]

    def newest(self, host: str) -> Entry | None:
        """Return the newest run of a host that measured it."""
        return next((entry for entry in reversed(self.runs(host)) if entry.state in certificate.ISSUED_TO), None)

    def metrics(self, host: str) -> list[Metric]:
        """Return every figure a host was ever measured by, as it was named last."""
        found = self.connection.execute(
            "SELECT name, title, lower_is_better, max(started) FROM figures JOIN runs USING (run_id)"
            " WHERE host = ? GROUP BY name ORDER BY name",
            (_text(host),),
        )
        return [Metric(name, title, bool(lower)) for name, title, lower, _ in found]

    def points(self, host: str, metric: str, fingerprint_id: str) -> list[Point]:
        """Return a figure over the runs of one fingerprint, oldest first, those in which the host failed left out."""
        found = self.connection.execute(
            "SELECT run_id, started, median FROM figures JOIN hosts USING (host, run_id) JOIN runs USING (run_id)"
            " WHERE host = ? AND name = ? AND fingerprint_id = ? AND state IN (SELECT value FROM json_each(?))"
            " ORDER BY started, run_id",
            (_text(host), metric, _text(fingerprint_id), json.dumps(certificate.ISSUED_TO)),
        )
        return [Point(*row) for row in found]

    def trends(self, host: str) -> list[Trend]:
        """Judge each figure of a host's newest measurement against the runs before it with the same fingerprint."""
        newest = self.newest(host)
        judged = []
        for metric in self.metrics(host) if newest else []:
            points = self.points(host, metric.key, newest.fingerprint_id)
            if points and points[-1].run_id == newest.run_id:
                judged.append(trend.judge(metric.key, points[:-1], points[-1], metric.lower_is_better))
        return judged

    def keep(self, newest: int, baselines: Mapping[str, str]) -> int:
        """Forget all but the newest runs of each host, and its baseline: `baselines` maps hosts to run ids."""
        if newest < 1:
            raise ValueError(f"--keep is {newest}, and must be 1 or more: the newest run of a host is never dropped")
        old = [
            (host, entry.run_id)
            for host in self.hosts()
            for entry in self.runs(host)[:-newest]
            if entry.run_id != baselines.get(host)
        ]
        with _transaction(self.connection):
            self.connection.executemany("DELETE FROM hosts WHERE host = ? AND run_id = ?", old)
            self.connection.execute("DELETE FROM runs WHERE run_id NOT IN (SELECT run_id FROM hosts)")
        return len(old)

    def import_(self, folder: Path) -> list[str]:
        """Record the run folders under `folder`, and say which were new and which cannot be read."""
        said = []
        for path in sorted(folder.iterdir()):
            if path.is_symlink() or not (path / "run.json").exists():
                continue
            try:
                if self.record(run_folder.read(path)):
                    said.append(f"{path.name}: recorded")
            except (OSError, ValueError) as error:
                said.append(f"{path.name}: not recorded: {error}")
        return said


@contextlib.contextmanager
def open_(folder: Path) -> Iterator[History]:
    """Open the history beside the run folders in `folder`. One that cannot be used is set aside, and built again.

    Raises OSError in words where the file can be neither used nor set aside.
    """
    path = folder / NAME
    try:
        said = _set_aside(path) if _wrong(path) else []
        with History(_connect(path)) as history:
            if said:
                history.said = (*said, *history.import_(folder))
            yield history
    except sqlite3.Error as error:
        raise OSError(f"the history in {path} cannot be used now: {error}") from None


def baselines(folder: Path) -> dict[str, str]:
    """Return the run that each host's certificate is from."""
    return {_text(found.host): _text(found.run_id) for found in certified.known(folder / certified.FOLDER)}


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)
    for pragma in ("foreign_keys = ON", "synchronous = EXTRA"):
        connection.execute(f"PRAGMA {pragma}")
    if not _version(connection):
        with _transaction(connection):
            if not _version(connection):  # nobody else made it meanwhile
                for statement in filter(str.strip, SCHEMA.split(";")):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {VERSION}")
    return connection


def _version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]


def _wrong(path: Path) -> str:
    """Say what is wrong with a history, or nothing."""
    if not path.exists():
        return ""
    with contextlib.closing(sqlite3.connect(path, timeout=WAIT_S)) as connection:
        try:
            version = _version(connection)
            if version > VERSION:
                return f"its schema version is {version}, and this version of Stethos reads {VERSION}"
            if not version and connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
                return "it is the database of something else"
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.DatabaseError as error:
            if (getattr(error, "sqlite_errorcode", 0) & 0xFF) not in BROKEN:  # locked, or the disk: it may be whole
                raise
            return str(error)
    return "" if found == "ok" else f"it is damaged: {' '.join(found.split())}"


def _set_aside(path: Path) -> list[str]:
    """Rename a history that cannot be used, and say so; nothing where another process was faster."""
    with path.with_name(f".{NAME}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wrong = _wrong(path)
        if not wrong:
            return []
        number = 1
        while (aside := path.with_name(f"{NAME}.unusable-{number}")).exists():
            number += 1
        journal = path.with_name(f"{NAME}-journal")
        if journal.exists():  # belongs to what is set aside, and would be played into the new one
            journal.rename(path.with_name(f"{aside.name}-journal"))
        path.rename(aside)
    return [f"{path} cannot be used: {wrong}; it is kept as {aside.name}, and the run folders are read again"]


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        yield


def _row(kept: Record) -> tuple[str | bytes | None, ...]:
    """Return a host's row, what follows its run."""
    texts = (kept.host, kept.state, kept.reason, kept.profile, kept.model, kept.fingerprint_id)
    return (*map(_text, texts), json.dumps(kept.fingerprint), json.dumps(kept.settings), kept.packed)


def _figures(kept: Record) -> Iterator[tuple[str | float, ...]]:
    """Yield a row for each figure of a host, what follows its run."""
    for found in kept.figures:
        known = (float(found.median), float(found.mad), len(found.values))
        yield (_text(kept.host), found.name, found.title, found.lower_is_better, *known)


def _text(foreign: str) -> str:
    """Return a node's text as UTF-8 has it: half of a surrogate pair, which JSON lets through, is spelled out."""
    return foreign.encode(errors="backslashreplace").decode()
