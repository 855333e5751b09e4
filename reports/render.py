"""Writes a run folder's pages from its files, the same bytes every time.

A fleet's hosts are rendered by a process per CPU: none needs another's result, and each writes into its own folder.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from . import (
    advice,
    certificate,
    documents,
    drift,
    figures,
    findings,
    fleet,
    fleet_page,
    lab_log,
    plots,
    prometheus,
    recommendations,
    recommended_vars,
    record,
    schema,
    sections,
    tables,
)
from .documents import Document
from .fleet import Row
from .fleet_page import Fleet
from .record import Record
from .run_folder import Host, Run
from .tables import Table

TEMPLATES = Path(__file__).parent / "templates"
TABLES = "tables"  # the folder, of a host or of the run, that has the tables of its page as CSV
FLEET = 8  # hosts; fewer are rendered sooner than processes are started
CHUNK = 4  # hosts that a process takes at a time
# Whatever could be markup inside a line of GitHub's Markdown; a table ends its cell at a pipe.
MARKDOWN = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "\\|", **{c: f"\\{c}" for c in "\\`*[]~$#"}},
)


def render(run: Run) -> list[Row]:
    """Write every page of the run, remove those of an earlier rendering that it lacks now, and return the rows."""
    return [row for row, _ in render_and_record(run)]


def render_and_record(run: Run) -> list[tuple[Row, Record]]:
    """As `render`, with what is kept of each host beyond its pages."""
    found = _hosts(run)
    for path, content in fleet_files(run, [row for row, _ in found]):
        write(run.path / path, content)
    return found


def render_host(run: Run, name: str) -> tuple[Row, Record]:
    """Write everything in one host's folder, and return its row and what is kept of it."""
    host = run.host(name)
    row = fleet.row(host)
    for path, content in host_files(run, host, row):
        write(run.path / path, content)
    return row, record.of(run, host)


def _hosts(run: Run) -> list[tuple[Row, Record]]:
    """Render every host, in the order of run.json."""
    one = functools.partial(render_host, run)
    workers = len(os.sched_getaffinity(0))
    if len(run.entries) < FLEET or workers < 2:
        return [one(name) for name in run.entries]
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(one, run.entries, chunksize=CHUNK))


def host_files(run: Run, host: Host, row: Row) -> Iterator[tuple[str, str | None]]:
    """Yield path and content of each file in a host's folder; None where there is no such file for this host."""
    if "page" not in row.files:
        return
    advised, tiers = advice.section(host), sections.by_tier(host)
    found = [*filter(None, [advised]), *(section for _, some in tiers for section in some)]
    page = {
        "run": run,
        "host": host,
        "row": row,
        "findings": findings.of(host),
        "fit": findings.fit(host, row.state, row.reason),
        "key_figures": findings.key_figures(row.headline),
        "to_do": advice.sentences(host),
        "advice": advised,
        "tiers": tiers,
        "sections": found,
        "files": {what: path.rpartition("/")[2] for what, path in row.files.items()},
    }
    yield row.files["page"], to_html("host", page)
    yield row.files["report"], to_markdown("host", page)
    yield from _csv(run, f"{host.folder}/{TABLES}", (each for section in found for each in tables.named(section)))
    log = lab_log.log(run, host, row) if "log" in row.files else None
    yield f"{host.folder}/{documents.LOG}", to_markdown("log", {"log": log}) if log else None
    filled = {file.name: file.make(host.result) for file in documents.of(host)}
    for file in documents.FILES:
        yield f"{host.folder}/{file.name}", _text(host, filled.get(file.name))
    certified = certificate.document(run, host) if "certificate" in row.files else None
    yield f"{host.folder}/{certificate.NAME}", _checked("certificate", certified)
    exported = prometheus.text(run, host, row.state) if "metrics" in row.files else None
    yield f"{host.folder}/{prometheus.NAME}", exported
    variables = recommended_vars.text(run.run_id, host.name, recommendations.of(host))
    yield f"{host.folder}/{recommended_vars.NAME}", variables


def fleet_files(run: Run, rows: list[Row]) -> Iterator[tuple[str, str | None]]:
    """Yield path and content of the files about the whole fleet."""
    found = fleet_page.of(rows)
    page = fleet_view(run, found)
    yield "fleet.json", _checked("fleet", fleet_page.document(run, found))
    yield "fleet.md", to_markdown("fleet", page)
    yield "index.html", to_html("fleet", page)
    named = [each for section in page["sections"] for each in tables.named(section)]
    yield from _csv(run, TABLES, [("hosts-1", page["table"]), *named] if rows else [])


def fleet_view(run: Run, found: Fleet) -> dict[str, Any]:
    """Return what the templates of the fleet print."""
    strips, more_strips = fleet_page.strips(found)
    return {
        "run": run,
        "states": fleet.counts(found.rows),
        "kinds": list(found.kinds.values()),
        "sentences": [*fleet_page.sentences(found), *drift.sentences(run.drift)],
        "table": fleet_page.hosts_table(found),
        "groups": list(fleet_page.groups(found)),
        "folded": fleet_page.groups_table(found),
        "strips": strips,
        "more_strips": more_strips,
        "sections": fleet_page.sections(found),
        "script": SCRIPT,
    }


def _csv(run: Run, folder: str, named: Iterable[tuple[str, Table]]) -> Iterator[tuple[str, str | None]]:
    """Yield the tables of a page as files of a folder, and every other CSV in it as one that goes."""
    made = {f"{name}.csv": table for name, table in named}
    there = run.path / folder
    if there.is_symlink():  # what a link leads to is nothing of ours
        there.unlink()
    stale = sorted({path.name for path in there.glob("*.csv")} - set(made))
    yield from ((f"{folder}/{name}", tables.to_csv(table)) for name, table in made.items())
    yield from ((f"{folder}/{name}", None) for name in stale)


def _checked(name: str, document: dict[str, Any] | None) -> str | None:
    """Return a document as JSON, once it matches its schema."""
    if document is None:
        return None
    schema.check(name, document)
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def _text(host: Host, content: Table | Document | None) -> str | None:
    if isinstance(content, Document):
        return to_markdown("document", {"host": host, "document": content})
    return tables.to_csv(content) if content else None


def to_html(name: str, page: dict[str, Any]) -> str:
    return HTML.get_template(f"{name}.html.j2").render(page)


def to_markdown(name: str, page: dict[str, Any]) -> str:
    return MD.get_template(f"{name}.md.j2").render(page)


def markdown(value: Any) -> str:
    """Return text as text inside one line of Markdown."""
    return value if isinstance(value, Markup) else figures.printable(value).translate(MARKDOWN)


def _printable(value: Any) -> str:
    return value if isinstance(value, Markup) else figures.printable(value)


@dataclass(frozen=True)
class Script:
    """A page's own script, and by which hash its policy lets it run, and no other."""

    text: Markup
    source: str


def _script(name: str) -> Script:
    text = (TEMPLATES / name).read_text()
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Script(Markup(text), f"sha256-{digest}")  # noqa: S704 - it comes with the templates


def _href(path: str) -> Markup:
    """Return a relative path as a link; what `quote` leaves is safe in HTML and in Markdown."""
    return Markup(quote(path))  # noqa: S704


def _code(command: str) -> Markup:
    """Return a command for a block of code, where Markdown escapes nothing; `lab_log` has quoted what is foreign."""
    return Markup(figures.printable(command))  # noqa: S704


def _environment(**options: Any) -> jinja2.Environment:
    environment = jinja2.Environment(  # noqa: S701
        loader=jinja2.FileSystemLoader(TEMPLATES),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        **options,
    )
    environment.filters |= {"href": _href, "code": _code, "svg": plots.svg}
    return environment


# Every expression of a template passes `finalize`: nothing foreign can be printed without being escaped.
HTML = _environment(autoescape=True, finalize=_printable)
MD = _environment(autoescape=False, finalize=markdown)
SCRIPT = _script("fleet.js")


def write(path: Path, content: str | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(content.encode())
    fresh.replace(path)
