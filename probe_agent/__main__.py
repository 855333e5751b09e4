"""The agent by hand: `python -m probe_agent run --probe load --model synthetic:tiny --out result.json`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from . import bundle, paths
from .run import run
from .spec import PROBES, PROFILES, Spec, parse


def main() -> int:
    """Return 0, 1 when a probe failed, 2 when the command makes no sense."""
    parser = argparse.ArgumentParser(prog="probe_agent", description="Measure this node with a small language model.")
    commands = parser.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("run", help="measure, and write result.json")
    measure.add_argument("--spec", type=Path, help="a JSON file with any of the fields below; options win over it")
    measure.add_argument("--out", type=Path, required=True, help="where the result goes")
    measure.add_argument("--probe", dest="probes", action="append", help=f"{', '.join(PROBES)}; may be repeated")
    measure.add_argument("--model", help=f"folder, hub id or synthetic:<name> (default {Spec.model})")
    measure.add_argument("--model-revision", help="commit of a hub id")
    measure.add_argument("--profile", help=", ".join(PROFILES))
    measure.add_argument("--seed", type=int)
    measure.add_argument("--deadline-s", type=int)
    measure.add_argument("--models-dir", help=f"where models are kept (default {paths.HOME / 'models'})")
    measure.add_argument("--drop-caches", action="store_true", default=None, help="drop the node's whole page cache")
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
