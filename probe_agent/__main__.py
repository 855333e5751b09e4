"""The agent by hand: `preflight`, or `run --probe load --model synthetic:tiny --out result.json`."""

from __future__ import annotations

import argparse
import datetime
import functools
import json
import sys
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, NoReturn

from . import bundle, paths, preflight, schema
from .run import run
from .spec import Spec, parse

PREFLIGHT_FIELDS = ("model", "model_revision", "gpus", "drop_caches", "models_dir", "state_dir")  # of a spec


def add_option(parser: argparse.ArgumentParser, field: Field) -> None:
    """Offer a field of the spec as an option, described as in its schema."""
    flag, kind = f"--{field.name.replace('_', '-')}", type(field.default)
    known = schema.load("spec")["properties"][field.name]
    element = known.get("items", {})
    words = known.get("description") or ", ".join(known.get("enum") or element.get("enum") or ())
    if kind is bool:
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, help=words)
    elif kind is not tuple:
        parser.add_argument(flag, type=kind, help=f"{words} (default {field.default!r})".replace("%", "%%"))
    elif element.get("type") == "integer":
        parser.add_argument(flag, type=int, nargs="+", help=words)
    else:
        parser.add_argument(flag[:-1], dest=field.name, action="append", help=f"{words}; may be repeated")


def _cannot_tell(parser: argparse.ArgumentParser, message: str) -> NoReturn:
    parser.print_usage(sys.stderr)
    parser.exit(1, f"{parser.prog}: {message}\n")


def _document(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises OSError, or ValueError in a sentence."""
    try:
        found = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no object")
    return found


def check(options: dict[str, Any]) -> int:
    """Measure for a minute, hold the node against its certificate, and print what was found. Returns the verdict."""
    file, out = options.pop("certificate"), options.pop("out").absolute()
    baseline = file.with_name("baseline.json")
    try:
        given = {name: value for name, value in options.items() if value is not None}
        known = next((_document(each) for each in (file, baseline) if each.exists()), None)
        model = {} if "model" in given else preflight.model_of(known or {})
        spec = parse({"profile": "quick", "probes": preflight.PROBES, "deadline_s": 300, **model, **given})
        out.unlink(missing_ok=True)  # what an earlier run left must not be judged
        run(spec, out)
        result = _document(out)
        findings = preflight.judge(result, known, datetime.datetime.now(datetime.timezone.utc))
        code = preflight.exit_code(findings)
        if known is None and code == 0:
            baseline.write_text(json.dumps(preflight.first_baseline(result), indent=1))
            said = f"recorded in {baseline}: the next run is held against this one"
            findings.append(preflight.Finding("first baseline", preflight.FIT, said))
    except (ImportError, OSError, ValueError) as error:
        print(f"unknown: preflight: {error}")
        return 1
    for finding in findings:
        print(f"{finding.word}: {finding.subject}: {finding.sentence}")
    print(f"This node: {preflight.verdict(code)}.")
    return code


def main() -> int:
    """Return 0, 1 when a probe failed, 2 when the command makes no sense; of preflight, its verdict."""
    parser = argparse.ArgumentParser(prog="probe_agent", description="Measure this node with a small language model.")
    commands = parser.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("run", help="measure, and write result.json")
    measure.add_argument("--spec", type=Path, help="a JSON file with any of the fields below; options win over it")
    measure.add_argument("--out", type=Path, required=True, help="where the result goes")
    for field in fields(Spec):
        add_option(measure, field)
    pack = commands.add_parser("bundle", help="write the agent as one archive and print its path")
    pack.add_argument("folder", type=Path)
    checks = commands.add_parser("preflight", help="tell whether this node is fit: 0 yes, 1 cannot tell, 2 no")
    checks.error = functools.partial(_cannot_tell, checks)  # of its statuses, 2 means: not fit
    checks.add_argument(
        "--certificate", type=Path, default=paths.STATE / "certificate.json", help="(default %(default)s)"
    )
    checks.add_argument(
        "--out", type=Path, default=paths.STATE / "probe/quick.json", help="the raw result (default %(default)s)"
    )
    for field in fields(Spec):
        if field.name in PREFLIGHT_FIELDS:
            add_option(checks, field)
    chosen, unknown = parser.parse_known_args()
    if unknown:
        (checks if chosen.command == "preflight" else parser).error(f"unrecognized arguments: {' '.join(unknown)}")
    options = vars(chosen)

    command = options.pop("command")
    if command == "preflight":
        return check(options)
    if command == "bundle":
        print(bundle.write(options["folder"]))
        return 0
    out, spec_file = options.pop("out"), options.pop("spec")
    try:
        document = json.loads(spec_file.read_text()) if spec_file else {}
        spec = parse({**document, **{name: value for name, value in options.items() if value is not None}})
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return run(spec, out.absolute())


if __name__ == "__main__":
    sys.exit(main())
