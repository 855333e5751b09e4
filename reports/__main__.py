"""python -m reports: run a playbook, render its run folder, or say in three lines what came of it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn, TextIO

from . import (
    compare_command,
    conclude,
    console,
    figures,
    history,
    history_view,
    merge,
    regressions,
    render,
    run_folder,
)

RUNS = Path("reports/runs")


class Parser(argparse.ArgumentParser):
    """Ends with status 1 for a command that makes no sense: 2 means unhealthy, drifted or regressed."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(prog="python -m reports", description=__doc__)
    commands = parser.add_subparsers(required=True)
    for name, work in (*conclude.VERDICTS.items(), *conclude.KEPT.items()):
        _of_a_run(commands, name, work.__doc__).set_defaults(command=_work, work=work)
    for command in (_render, _regressions, _doubtful, _conclude):
        described = _of_a_run(commands, command.__name__.removeprefix("_"), command.__doc__)
        described.set_defaults(command=command)
        if command is _conclude:
            described.add_argument("--by", choices=conclude.VERDICTS, default="summary", help="whose verdict counts")
        if command is _doubtful:
            described.add_argument("--by", choices=["drift", "preflight"], required=True, help="whose limits count")
        if command is _regressions:
            described.add_argument("hosts", nargs="+", help="inventory names")
    merged = commands.add_parser("merge", help=_merge.__doc__, description=_merge.__doc__)
    merged.add_argument("into", type=Path, help="the run folder to write")
    merged.add_argument("runs", type=Path, nargs="+", help="run folders, each of a slice of the fleet")
    merged.set_defaults(command=_merge)
    compare_command.add(commands)
    past = commands.add_parser("history", help=_history.__doc__, description=_history.__doc__)
    past.add_argument("host", nargs="?", help="its name in the inventory")
    past.add_argument("--runs", type=Path, default=RUNS, help="where the run folders are")
    past.add_argument("--json", action="store_true", help="all of it, for programs")
    past.add_argument("--import", type=Path, dest="import_", metavar="RUNS", help="record the run folders in there")
    past.add_argument("--keep", type=int, metavar="N", help="forget what is older than a host's N newest runs")
    past.set_defaults(command=_history)
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
        print(figures.printable(error), file=sys.stderr)
        return 1


def _of_a_run(commands: Any, name: str, said: str | None) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=said, description=said)
    parser.add_argument("run", type=Path, help="a run folder, as reports/runs/latest")
    return parser


def _work(chosen: argparse.Namespace) -> int:
    return _told(chosen.work(chosen.run))


def _render(chosen: argparse.Namespace) -> int:
    """Write the pages of a run from its files."""
    render.render(run_folder.read(chosen.run))
    return 0


def _doubtful(chosen: argparse.Namespace) -> int:
    """Print, as JSON, the hosts with a figure beyond its limit: each is measured again before that counts."""
    print(json.dumps(conclude.doubtful(chosen.run, chosen.by)))
    return 0


def _conclude(chosen: argparse.Namespace) -> int:
    """Do all that a playbook ends with: judge, render, certify, record. The verdict goes to standard output."""
    verdict, said = conclude.conclude(chosen.run, chosen.by)
    _say(said, file=sys.stderr)
    return _told(verdict)


def _merge(chosen: argparse.Namespace) -> int:
    """Make one run folder of several, each of other hosts, and write its pages."""
    render.render(merge.merge(map(run_folder.read, chosen.runs), chosen.into))
    return 0


def _regressions(chosen: argparse.Namespace) -> int:
    """Print, as JSON, which of the hosts are worse after tuning, or cannot be told."""
    print(json.dumps(regressions.document(run_folder.returned(chosen.run, chosen.hosts))))
    return 0


def _history(chosen: argparse.Namespace) -> int:
    """Show the runs of a host, its figures over time and their trend."""
    if not chosen.runs.is_dir():
        raise ValueError(f"--runs is {chosen.runs}, and must be a folder of run folders")
    with history.open_(chosen.runs) as opened:
        said = list(opened.said)
        if chosen.import_:
            said += opened.import_(chosen.import_)
        if chosen.keep is not None:
            forgotten = opened.keep(chosen.keep, history.baselines(chosen.runs))
            said.append(f"{figures.plural(forgotten, 'run')} of a host forgotten, their folders are as they were")
        _say(said, file=sys.stderr)
        if chosen.host is None:
            _say(opened.hosts())
        elif chosen.json:
            print(json.dumps(history_view.document(opened, chosen.host), indent=1))
        elif opened.runs(chosen.host):
            _say(history_view.lines(opened, chosen.host))
        else:
            known = figures.listed(opened.hosts())
            raise ValueError(f"{chosen.host!r} is in no run that was recorded in {chosen.runs}; known: {known}")
    return 0


def _say(sentences: Iterable[str], file: TextIO | None = None) -> None:
    for sentence in sentences:
        print(figures.printable(sentence), file=file)


def _told(verdict: conclude.Verdict) -> int:
    _say(verdict.sentences)
    return verdict.code


def _run(chosen: argparse.Namespace) -> int:
    """Run a playbook with its progress shown, then sum the run up. Ends with Ansible's exit status."""
    tune = chosen.tune == "yes" and Path(chosen.playbook).name in console.TUNING
    code, folder = console.run(chosen.playbook, chosen.inventory, tune, chosen.ansible)
    if folder and (folder / "run.json").is_file():
        print()
        _told(conclude.summed_up(folder))
    return code


if __name__ == "__main__":
    sys.exit(main())
