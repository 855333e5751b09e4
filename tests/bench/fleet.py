"""What a fleet costs its controller: CPU and memory per host with nodes that answer at once, wall time over real SSH.

`stub` runs the whole of tune_and_probe against a connection plugin whose nodes are converged and have their answers
ready; with `--result-mb` each result is padded to that size. `ssh` starts sshd on 127.0.0.2 and so on, with a stand-in
for the agent's Python that waits, and times the probe task beside parallel-ssh running the same on the same hosts.
Prints and judges nothing: .venv/bin/python tests/bench/fleet.py stub --hosts 16 64
"""

from __future__ import annotations

import argparse
import base64
import collections
import configparser
import contextlib
import datetime
import gzip
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from probe_agent.host import process  # noqa: E402 - found through the line above

PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
PLUGINS = Path(__file__).with_name("fleet_plugins")
RESULT = ROOT / "tests/unit/reports/samples/run/hosts/node1/result.json"
LOOK_EVERY_S = 2.0
JOB = "/stub/job"  # as the connection plugin knows it


@dataclass(frozen=True)
class Cost:
    """What one command cost with all that it started. `peak_mb` is their memory, shared pages counted once."""

    code: int
    wall_s: float
    cpu_s: float
    peak_mb: float


def cost_of(command: list[str], environment: dict[str, str], log: Path) -> Cost:
    """Run a command to its end."""
    began = time.monotonic()
    with log.open("wb") as words:
        running = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=words, stderr=subprocess.STDOUT)
    peak, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(LOOK_EVERY_S):
            peak[0] = max(peak[0], sum(map(pss_mb, [running.pid, *process.descendants(running.pid)])))

    thread = threading.Thread(target=watch)
    thread.start()
    _, status, used = os.wait4(running.pid, 0)
    over.set()
    thread.join()
    running.returncode = os.waitstatus_to_exitcode(status)
    return Cost(running.returncode, time.monotonic() - began, used.ru_utime + used.ru_stime, peak[0])


def pss_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def answers() -> dict[str, dict[str, Any]]:
    """Return what each module says on a node that is as the inventory wants it."""
    nothing = {"changed": False, "diff": []}
    memory = json.loads(RESULT.read_text())["host_memory"]
    unread = {"services_not_verified": "", "not_verified": ""}
    nowhere = {"origins": {}, "written": {}, "inventory": [], "services": []}
    state = {"as_wanted": True, "host_memory": memory, **nowhere, **unread}
    probe = {"status": "ok", "reason": "", "headline": {"cold_load_s": 0.64, "warm_load_s": 0.31}}
    measured = {"changed": False, "result": "/r", "probes": {"load": probe, "serving": probe}, "resumed": []}
    return {
        "node_state": {"changed": False, "state": state},
        "thp": nothing,
        "hugepages": {**nothing, "reboot_required": False},
        "hugetlbfs": nothing,
        "service_levers": {**nothing, "restart_owed": [], "missing": {}, "services": []},
        "probe_environment": {"changed": False, "python": "/usr/bin/python3", "agent": "/a", "device": "cpu"},
        "slm_probe": measured,
        "async_wrapper": {"started": True, "finished": False, "ansible_job_id": "job", "results_file": JOB},
        "async_status": {**measured, "started": True, "finished": True, "ansible_job_id": "job"},
        "small_files": {"changed": True, "written": ["/c"]},
        "rollback": {"changed": False, "restored": [], "left": []},
    }


def padded(result: dict[str, Any], size_mb: float) -> bytes:
    """Return a result as it lies on a node, with raw rows like its own until it has that size."""
    samples = result["probes"]["load"]["evidence"].setdefault("rows", [])
    row = dict(result["probes"]["load"]["samples"][0])
    needed = max(0, int(size_mb * 2**20) - len(json.dumps(result)))
    samples.extend([row] * (needed // len(json.dumps(row))))
    return json.dumps(result).encode()


def fleet_of(folder: Path, hosts: int, size_mb: float) -> dict[str, str]:
    """Lay out inventory and answers, and return the environment to run in."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    result = padded({**json.loads(RESULT.read_text()), "started": now, "finished": now}, size_mb)
    (folder / "result.json").write_bytes(result)
    (folder / "packed").write_bytes(base64.b64encode(gzip.compress(result)))
    (folder / "executions").mkdir()
    (folder / "answers").mkdir()
    for name, answer in answers().items():
        (folder / "answers" / f"{name}.json").write_text(json.dumps(answer))
    shutil.copytree(ROOT / "inventory/example/group_vars", folder / "inventory/group_vars")
    variables = {"ansible_connection": "stub", "reports_dir": str(folder / "runs"), "probe_model": "synthetic:tiny"}
    inventory = {"all": {"hosts": {f"node[0001:{hosts:04}]": None}, "vars": variables}}
    (folder / "inventory/hosts.yml").write_text(yaml.safe_dump(inventory))
    plugins = {"ANSIBLE_CONNECTION_PLUGINS": str(PLUGINS), "ANSIBLE_PIPELINING": "true"}
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**usual, **plugins, "STETHOS_BENCH": str(folder)}


def executions(folder: Path) -> dict[str, int]:
    """Return how often a node ran each module."""
    return collections.Counter(next((folder / "executions").iterdir()).read_text().split())


def stub(hosts: int, size_mb: float, forks: int) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        environment = fleet_of(folder, hosts, size_mb)
        inventory = str(folder / "inventory/hosts.yml")
        command = [str(PLAYBOOK), "tune_and_probe.yml", "-i", inventory, "--forks", str(forks)]
        cost = cost_of(command, environment, folder / "log")
        if cost.code:
            yield (folder / "log").read_text()[-4000:]
        pages = cost_of(
            [sys.executable, "-m", "reports", "render", str(folder / "runs/latest")], environment, folder / "log"
        )
        ran = executions(folder)
        yield (
            f"{hosts:5} hosts, results of {(folder / 'result.json').stat().st_size / 2**20:.2f} MB: "
            f"{cost.cpu_s / hosts:6.2f} CPU-s per host, {pages.cpu_s / hosts:.2f} of them pages; "
            f"{cost.cpu_s:7.1f} CPU-s, {cost.wall_s:6.1f} s, {cost.peak_mb:4.0f} MB; "
            f"{sum(ran.values())} module executions per host"
        )
        yield f"      {', '.join(f'{name} {count}' for name, count in ran.items())}"


STAND_IN = """#!/bin/sh
# In place of the agent's Python: measures for a while, and leaves a result where the last argument says.
for last; do :; done
sleep {wait_s}
printf '{{"finished": "now", "probes": {{}}}}' > "$last"
"""
SSHD = """
{listen}
HostKey {folder}/host_key
PidFile {folder}/sshd-{number}.pid
AuthorizedKeysFile {folder}/key.pub
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
MaxStartups 4096
MaxSessions 100
# The login shell of each node reads no start-up file of this machine's user.
SetEnv HOME={folder}
"""
LISTENING_MOST = 16  # addresses of one sshd


def addresses(hosts: int) -> list[str]:
    return [f"127.0.{number // 250}.{number % 250 + 2}" for number in range(hosts)]


@contextlib.contextmanager
def nodes(folder: Path, hosts: int, port: int) -> Iterator[None]:
    """Let sshd listen on each address, with keys of its own."""
    for name in ("key", "host_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    host_key = " ".join((folder / "host_key.pub").read_text().split()[:2])
    known = "".join(f"[{address}]:{port} {host_key}\n" for address in addresses(hosts))
    (folder / "known_hosts").write_text(known)
    Path("/run/sshd").mkdir(exist_ok=True)
    running = []
    try:
        for number in range(0, hosts, LISTENING_MOST):
            part = addresses(hosts)[number : number + LISTENING_MOST]
            listen = "\n".join(f"ListenAddress {address}:{port}" for address in part)
            file = folder / f"sshd-{number}.conf"
            file.write_text(SSHD.format(listen=listen, folder=folder, number=number))
            running.append(subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", file], stderr=subprocess.DEVNULL))
        for address in addresses(hosts)[::LISTENING_MOST]:
            for _ in range(100):
                with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=1):
                    break
                time.sleep(0.1)
        yield
    finally:
        for sshd in running:
            sshd.terminate()
            sshd.wait()


def commands(folder: Path, hosts: int, port: int, forks: int, wait_s: float) -> dict[str, list[str]]:
    """Lay out what both run, and return the two commands; both bring a result home."""
    (folder / "python").write_text(STAND_IN.format(wait_s=wait_s))
    (folder / "python").chmod(0o755)
    (folder / "agent/probe_agent").mkdir(parents=True)
    task = {
        "python": str(folder / "python"),
        "agent": str(folder / "agent"),
        "spec": {"model": "synthetic:tiny", "probes": ["load"], "profile": "quick"},
        "result": f"{folder}/{{{{ inventory_hostname }}}}/result.json",
        "keep": f"{folder}/home/{{{{ inventory_hostname }}}}.json",
    }
    play = {"hosts": "all", "gather_facts": False, "tasks": [{"name": "Measure", "slm_probe": task}]}
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    options = f"-o UserKnownHostsFile={folder}/known_hosts -o IdentitiesOnly=yes"
    variables = {
        "ansible_port": port,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(folder / "key"),
        "ansible_ssh_common_args": options,
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    inventory = {"all": {"hosts": dict.fromkeys(addresses(hosts)), "vars": variables}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
    (folder / "hosts.txt").write_text("".join(f"root@{address}:{port}\n" for address in addresses(hosts)))
    result = f"{folder}/plain/$$/result.json"
    wait = f"mkdir -p {folder}/plain/$$ && {folder}/python -m probe_agent run --out {result} && cat {result}"
    theirs = f"parallel-ssh -h {folder}/hosts.txt -p {hosts} -t 0 -o {folder}/theirs".split()
    return {
        "ours": [str(PLAYBOOK), "-i", str(folder / "hosts.yml"), "--forks", str(forks), str(folder / "play.yml")],
        "theirs": [*theirs, "-x", f"-i {folder}/key {options}", wait],
    }


def ssh(hosts: int, forks: int, wait_s: float, rounds: int) -> Iterator[str]:
    """Time the probe task and parallel-ssh in turns; they take the lead from round to round."""
    if not shutil.which("parallel-ssh"):
        raise SystemExit("parallel-ssh is not here: apt-get install pssh")
    environment = {
        **os.environ,
        "ANSIBLE_ACTION_PLUGINS": str(ROOT / "playbooks/action_plugins"),
        "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "playbooks/callback_plugins"),
        "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=5s",  # gone before the next round
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder, port = Path(scratch), 2222
        both = commands(folder, hosts, port, forks, wait_s)
        taken: dict[str, list[Cost]] = {who: [] for who in both}
        with nodes(folder, hosts, port):
            for number in range(rounds):
                for who in sorted(both, reverse=bool(number % 2)):
                    cost = cost_of(both[who], environment, folder / "log")
                    if cost.code:
                        yield f"{who} ended with {cost.code}: {(folder / 'log').read_text()[-2000:]}"
                    taken[who].append(cost)
        for mine, other in zip(taken["ours"], taken["theirs"], strict=True):
            times = f"{mine.wall_s:6.1f} s, parallel-ssh {other.wall_s:6.1f} s, {mine.wall_s / other.wall_s:.2f} times"
            memory = f"{mine.peak_mb:.0f} MB beside {other.peak_mb:.0f}"
            yield f"{hosts:5} hosts over SSH, {wait_s:g} s of waiting, {forks} forks: {times}; {memory}"


def shipped_forks() -> int:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "ansible.cfg")
    return settings.getint("defaults", "forks")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["stub", "ssh"])
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--result-mb", type=float, default=0.0)
    parser.add_argument("--forks", type=int, default=shipped_forks(), help="those of ansible.cfg, where not said")
    parser.add_argument("--wait-s", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=1)
    chosen = parser.parse_args()
    for hosts in chosen.hosts:
        if chosen.part == "stub":
            lines = stub(hosts, chosen.result_mb, chosen.forks)
        else:
            lines = ssh(hosts, chosen.forks, chosen.wait_s, chosen.rounds)
        for line in lines:
            print(line, flush=True)


if __name__ == "__main__":
    main()
