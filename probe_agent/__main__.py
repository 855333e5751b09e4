"""The agent by hand: `python -m probe_agent run --probe load --model synthetic:tiny --out result.json`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import Field, fields
from pathlib import Path

from . import bundle, schema
from .run import run
from .spec import Spec, parse


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


def main() -> int:
    """Return 0, 1 when a probe failed, 2 when the command makes no sense."""
    parser = argparse.ArgumentParser(prog="probe_agent", description="Measure this node with a small language model.")
    commands = parser.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("run", help="measure, and write result.json")
    measure.add_argument("--spec", type=Path, help="a JSON file with any of the fields below; options win over it")
    measure.add_argument("--out", type=Path, required=True, help="where the result goes")
    for field in fields(Spec):
        add_option(measure, field)
    pack = commands.add_parser("bundle", help="write the agent as one archive and print its path")
    pack.add_argument("folder", type=Path)
    options = vars(parser.parse_args())

    command = options.pop("command")
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
