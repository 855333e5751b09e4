"""python -m reports: run a playbook, render its run folder, or say in three lines what came of it."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from pathlib import Path

from . import certified, console, figures, fleet, merge, preflight, regressions, render, run_folder, summary


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m reports", description=__doc__)
    commands = parser.add_subparsers(required=True)
    for name, command in (
        ("render", _render),
        ("summary", _summary),
        ("certify", _certify),
        ("preflight", _preflight),
        ("regressions", _regressions),
    ):
        described = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        described.add_argument("run", type=Path, help="a run folder, as reports/runs/latest")
        described.set_defaults(command=command)
        if name == "certify":
            described.add_argument(
                "--without", action="append", default=[], help="a host that is no longer as measured"
            )
        if name == "regressions":
            described.add_argument("hosts", nargs="+", help="inventory names")
    merged = commands.add_parser("merge", help=_merge.__doc__, description=_merge.__doc__)
    merged.add_argument("into", type=Path, help="the run folder to write")
    merged.add_argument("runs", type=Path, nargs="+", help="run folders, each of a slice of the fleet")
    merged.set_defaults(command=_merge)
    play = commands.add_parser("run", help=_run.__doc__, description=_run.__doc__)
    play.add_argument("--playbook", default="tune_and_probe.yml")
    play.add_argument("--inventory", default=console.LOCAL)
    play.add_argument("--tune", choices=["yes", "no"], default="yes", help="no: measure the nodes as they are")
    play.add_argument("ansible", nargs="*", help="further arguments for ansible-playbook, after --")
    play.set_defaults(command=_run)
    chosen = parser.parse_args(arguments)
    try:
        return chosen.command(chosen)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1


def _render(chosen: argparse.Namespace) -> int:
    """Write the pages of a run from its files."""
    render.render(run_folder.read(chosen.run))
    return 0


def _summary(chosen: argparse.Namespace) -> int:
    """Print where the report is and three lines of result; status 1 when a host is neither ok nor skipped."""
    lines, rows = summary.lines(run_folder.read(chosen.run))
    print("\n".join(lines))
    return 0 if fleet.healthy(rows) else 1


def _certify(chosen: argparse.Namespace) -> int:
    """Keep the certificate of each host that is ok in certified/ beside the run folder, for a pre-flight."""
    run = run_folder.read(chosen.run)
    for sentence in certified.certify(run, certified.folder_of(run), chosen.without):
        print(figures.printable(sentence))
    return 0


def _preflight(chosen: argparse.Namespace) -> int:
    """Tell which nodes are fit, from quick results. Status 0: all, 1: cannot tell of one, 2: one is not."""
    run = run_folder.read(chosen.run)
    found = preflight.document(run, certified.folder_of(run), datetime.datetime.now(datetime.UTC))
    (run.path / preflight.NAME).write_text(json.dumps(found, indent=1) + "\n")
    print("\n".join(map(figures.printable, preflight.sentences(found))))
    return found["code"]


def _merge(chosen: argparse.Namespace) -> int:
    """Make one run folder of several, each of other hosts, and write its pages."""
    render.render(merge.merge(map(run_folder.read, chosen.runs), chosen.into))
    return 0


def _regressions(chosen: argparse.Namespace) -> int:
    """Print, as JSON, which of the hosts are worse after tuning, or cannot be told."""
    print(json.dumps(regressions.document(run_folder.returned(chosen.run, chosen.hosts))))
    return 0


def _run(chosen: argparse.Namespace) -> int:
    """Run a playbook with its progress shown, then sum the run up. Ends with Ansible's exit status."""
    tune = chosen.tune == "yes" and Path(chosen.playbook).name in console.TUNING
    code, folder = console.run(chosen.playbook, chosen.inventory, tune, chosen.ansible)
    if folder and (folder / "run.json").is_file():
        print()
        _summary(argparse.Namespace(run=folder))
    return code


if __name__ == "__main__":
    sys.exit(main())
