"""Writes a run folder's pages from its files, the same bytes every time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from . import (
    advice,
    certificate,
    documents,
    figures,
    findings,
    fleet,
    prometheus,
    recommendations,
    recommended_vars,
    schema,
    sections,
    tables,
)
from .documents import Document
from .fleet import Row
from .run_folder import Host, Run
from .tables import Table

TEMPLATES = Path(__file__).parent / "templates"
# Whatever could be markup inside a line of GitHub's Markdown; a table ends its cell at a pipe.
MARKDOWN = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "\\|", **{c: f"\\{c}" for c in "\\`*[]~$#"}},
)


def render(run: Run) -> list[Row]:
    """Write every page of the run, remove those of an earlier rendering that it lacks now, and return the rows."""
    rows = []
    for host in run.hosts():
        row = fleet.row(host)
        rows.append(row)
        for path, content in host_files(run, host, row):
            _write(run.path / path, content)
    for path, content in fleet_files(run, rows):
        _write(run.path / path, content)
    return rows


def host_files(run: Run, host: Host, row: Row) -> Iterator[tuple[str, str | None]]:
    """Yield path and content of each file in a host's folder; None where there is no such file for this host."""
    if "page" not in row.files:
        return
    page = {
        "run": run,
        "host": host,
        "row": row,
        "findings": findings.of(host),
        "sections": [*filter(None, [advice.section(host)]), *sections.of(host)],
        "files": {what: path.rpartition("/")[2] for what, path in row.files.items()},
    }
    yield row.files["page"], to_html("host", page)
    yield row.files["report"], to_markdown("host", page)
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
    page = {"run": run, "rows": rows, "table": fleet.table(rows), "sentences": fleet.sentences(rows)}
    yield "fleet.json", _checked("fleet", fleet.document(run, rows))
    yield "fleet.md", to_markdown("fleet", page)
    yield "index.html", to_html("fleet", page)


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


def _href(path: str) -> Markup:
    """Return a relative path as a link; what `quote` leaves is safe in HTML and in Markdown."""
    return Markup(quote(path))  # noqa: S704


def _environment(**options: Any) -> jinja2.Environment:
    environment = jinja2.Environment(  # noqa: S701
        loader=jinja2.FileSystemLoader(TEMPLATES),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        **options,
    )
    environment.filters |= {"href": _href, "seconds": figures.seconds}
    return environment


# Every expression of a template passes `finalize`: nothing foreign can be printed without being escaped.
HTML = _environment(autoescape=True, finalize=_printable)
MD = _environment(autoescape=False, finalize=markdown)


def _write(path: Path, content: str | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(content.encode())
    fresh.replace(path)
