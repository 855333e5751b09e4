"""Reruns of drift.yml on a node that nobody touches: each must report nothing. Prints a line per rerun.

    .venv/bin/python tests/bench/quiet_reruns.py FOLDER [--reruns 20]

FOLDER keeps the runs. Where it has no certificate, three reruns come first, of which the middle one is certified. With
--wait each rerun takes its turn at a machine that others use, by a lock on that file.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CERTIFIED_BY = 3
JUDGED_BY = "cold_load_s"


@contextlib.contextmanager
def turn(lock: Path | None) -> Iterator[None]:
    if lock is None:
        yield
        return
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def rerun(folder: Path) -> tuple[int, float]:
    """Run drift.yml once on this machine. Returns its exit status and how long it took."""
    began = time.monotonic()
    paths = {"reports_dir": str(folder), "probe_state": str(folder / "state")}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "playbooks/drift.yml", "-e", json.dumps(paths)],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return done.returncode, time.monotonic() - began


def certify(folder: Path) -> None:
    """Certify the run whose cold load is neither the fastest nor the slowest."""
    runs = sorted(path.parent for path in folder.glob("*/drift.json"))
    loads = {run: json.loads((run / "fleet.json").read_text())["hosts"][0]["headline"][JUDGED_BY] for run in runs}
    middle = sorted(runs, key=loads.get)[len(runs) // 2]
    subprocess.run([sys.executable, "-m", "reports", "certify", str(middle)], cwd=ROOT, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--reruns", type=int, default=20)
    parser.add_argument("--wait", type=Path)
    chosen = parser.parse_args()
    folder = chosen.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "certified").is_dir():
        for _ in range(CERTIFIED_BY):
            with turn(chosen.wait):
                rerun(folder)
        certify(folder)
    print("run               exit  took_s  findings")
    codes = []
    for _ in range(chosen.reruns):
        with turn(chosen.wait):
            code, took_s = rerun(folder)
        run = (folder / "latest").resolve()
        host = json.loads((run / "drift.json").read_text())["hosts"]["local"]
        said = [f"{each['word']} {each['what']}: {each['sentence']}" for each in host["findings"]] or ["none"]
        print(f"{run.name}  {code:4}  {took_s:6.1f}  {'; '.join(said)}", flush=True)
        codes.append(code)
    print(f"{len(codes)} reruns: {codes.count(0)} no drift, {codes.count(1)} could not tell, {codes.count(2)} drifted")


if __name__ == "__main__":
    main()
