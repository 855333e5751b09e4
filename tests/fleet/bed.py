"""A fleet on one machine: each node has a network, processes and folders of its own, and an sshd; the kernel is shared.

The controller has a network namespace too, so that nothing is added to the machine's own interfaces and routes.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import ROOT, wait_for

# Where a node has the test's Python and this project: a plain user may not come to where they really are.
SHARED = {
    "/run/python": Path(sys.base_prefix),
    "/run/packages": Path(pytest.__file__).parents[1],
    "/run/project": ROOT,
}
PYTHON = f"/run/python/bin/python{sys.version_info.major}.{sys.version_info.minor}"
STAND_IN = "/run/project/tests/fleet/stand_in"
MODEL = "/run/model"  # which the controller does not have
SSHD = "/usr/sbin/sshd"
PORT = 22
PLAIN_UID = 4242
TASK_TIMEOUT_S = 25  # in place of the minutes of ansible.cfg
# Folders that a node has for itself, beside its own /run: where the tool installs, writes and mounts.
OWN_FOLDERS = ("/opt/stethos", "/var/lib/stethos", "/mnt")


@dataclass
class Node:
    """`user` logs in; `environment` is that of its sessions; `command` is run instead of what a session asks for.

    `sizes` limits one of OWN_FOLDERS, in KiB. `masked` are files that look empty there.
    """

    name: str
    user: str = "root"
    environment: dict[str, object] = field(default_factory=dict)
    command: str = ""
    sizes: dict[str, int] = field(default_factory=dict)
    masked: tuple[str, ...] = ()
    variables: dict[str, object] = field(default_factory=dict)
    address: str = ""
    namespace: str = ""
    known_key: str = ""
    folder: Path = Path()
    _process: subprocess.Popen | None = None

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def inventory(self, key: Path, known_hosts: Path) -> dict[str, object]:
        return {
            "ansible_host": self.address,
            "ansible_user": self.user,
            "ansible_ssh_private_key_file": str(key),
            "ansible_ssh_common_args": f"-F /dev/null -o IdentitiesOnly=yes -o UserKnownHostsFile={known_hosts}",
            "ansible_python_interpreter": "/usr/bin/python3",
            **self.variables,
        }

    def start(self) -> None:
        script = self.folder / "start.sh"
        script.write_text(self._script())
        self._process = subprocess.Popen(
            # the first process of a pid namespace takes all others with it when it ends
            ["nsenter", f"--net=/run/netns/{self.namespace}", "unshare", "--mount", "--pid", "--fork", "--kill-child",
             "--mount-proc", "sh", "-e", str(script)],
            stdin=subprocess.DEVNULL,
            stdout=(self.folder / "sshd.log").open("ab"),
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        wait_for(self._listens, 30)

    def kill(self) -> None:
        if self._process:
            self._process.kill()

    def stop(self) -> None:
        """Cut the power: every process of the node ends, and its mounts go."""
        self.kill()
        if self._process:
            self._process.wait()
            wait_for(lambda: not self.processes(), 30)
            self._process = None

    def processes(self, words: str = "") -> list[int]:
        """Return the pids, as this machine counts them, of the node's processes with `words` in their command line."""
        own = self.folder / "pid_namespace"
        wanted = own.read_text().strip() if own.exists() else ""
        found = []
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                if (folder / "ns/pid").readlink().name == wanted:
                    line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found += [int(folder.name)] if words in line else []
        return sorted(found)

    def measures(self, probe: str) -> bool:
        """Tell whether the node's agent runs, and is at `probe`."""
        try:
            state = json.loads((self.folder / "var-lib-stethos/probe/progress.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return False
        return state["phase"] == probe and not state["finished"] and bool(self.processes("agent.py run"))

    def send(self, number: signal.Signals, words: str) -> None:
        for pid in self.processes(words):
            os.kill(pid, number)

    def mounts(self) -> str:
        return Path(f"/proc/{self.processes('sshd')[0]}/mounts").read_text()

    def cut_link(self) -> None:
        subprocess.run(["ip", "-n", self.namespace, "link", "set", "eth0", "down"], check=True)

    def _listens(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"{self.name} did not start: {(self.folder / 'sshd.log').read_text()}")
        found = subprocess.run(
            ["ip", "netns", "exec", self.namespace, "ss", "-Hltn", f"sport = :{PORT}"], capture_output=True, check=True
        )
        return bool(found.stdout)

    def _script(self) -> str:
        """Return what a node does as it boots: mount its own folders, then become sshd."""
        folder = self.folder
        lines = ["mount --make-rprivate /", f"readlink /proc/self/ns/pid > {folder}/pid_namespace"]
        for path in OWN_FOLDERS:
            kept = folder / path.strip("/").replace("/", "-")
            kept.mkdir(exist_ok=True)
            if path in self.sizes:
                lines.append(f"mount -t tmpfs -o size={self.sizes[path]}k,mode=755 tmpfs {path}")
            else:
                lines.append(f"mount --bind {kept} {path}")  # what a node keeps outlives a power cut
        lines.append("mount -t tmpfs -o mode=755 tmpfs /run && mkdir /run/sshd")
        shared = {**SHARED, MODEL: folder.parent / "model"}
        lines += [f"mkdir {path}; mount --bind {there} {path}" for path, there in shared.items()]
        lines += [f"mount --bind {folder}/{name} /etc/{name}" for name in ("passwd", "shadow")]
        lines += [f"mount --bind {folder}/nothing {file}" for file in self.masked]
        return "\n".join([*lines, f"exec {SSHD} -D -e -f {folder}/sshd_config", ""])

    def prepare(self, folder: Path, namespace: str, public_key: Path) -> None:
        self.folder, self.namespace = folder, namespace
        home = self.home
        home.mkdir(parents=True)
        (folder / "nothing").touch(mode=0o600)
        (folder / "passwd").write_text(
            f"root:x:0:0:root:{home}:/bin/sh\nsshd:x:101:65534::/run/sshd:/usr/sbin/nologin\n"
            f"plain:x:{PLAIN_UID}:{PLAIN_UID}::{home}:/bin/sh\n"
        )
        (folder / "shadow").write_text("root:*:19000:0:99999:7:::\nsshd:!:19000::::::\nplain:*:19000:0:99999:7:::\n")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "host_key"], check=True)
        self.known_key = " ".join((folder / "host_key.pub").read_text().split()[:2])
        authorized = folder / "authorized_keys"
        shutil.copy(public_key, authorized)
        if self.user != "root":
            os.chown(home, PLAIN_UID, PLAIN_UID)
        options = {
            "Port": PORT,
            "ListenAddress": self.address,
            "HostKey": folder / "host_key",
            "PidFile": "none",
            "AuthorizedKeysFile": authorized,
            "StrictModes": "no",  # the test's folder may lie below a world-writable one
            "PasswordAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
            "Subsystem": "sftp internal-sftp",
        }
        lines = [f"{name} {value}" for name, value in options.items()]
        if self.environment:  # sshd takes one such line
            lines.append("SetEnv " + " ".join(f"{name}={value}" for name, value in self.environment.items()))
        lines += [f"ForceCommand {self.command}"] if self.command else []
        (folder / "sshd_config").write_text("\n".join([*lines, ""]))


class Play:
    """A playbook that runs in a session of its own, with all it starts, so that it can be interrupted as a whole."""

    def __init__(self, words: list[str], folder: Path) -> None:
        # sockets of kept connections would lead to nodes that are gone, and their paths may not be long
        sockets = tempfile.mkdtemp(prefix="cp-", dir=folder)
        self._log = (folder / "output").open("w+")
        self._process = subprocess.Popen(
            ["nsenter", *words],
            cwd=ROOT,
            env={
                **os.environ,
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_SSH_CONTROL_PATH_DIR": sockets,
                "ANSIBLE_TASK_TIMEOUT": str(TASK_TIMEOUT_S),
            },
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=heed_interrupts,
        )

    def running(self) -> bool:
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Signal the controller and all that runs for it, as a terminal or a closing session does."""
        if self.running():
            os.killpg(self._process.pid, number)

    def code(self, seconds: float = 300) -> int:
        """Wait for the end and return the exit status."""
        return self._process.wait(seconds)

    def output(self) -> str:
        self._log.seek(0)
        return self._log.read()


class Fleet:
    """Nodes with addresses, a controller's network that reaches them, and one key for all."""

    def __init__(self, folder: Path, nodes: list[Node]) -> None:
        self.folder, self.nodes = folder, {node.name: node for node in nodes}
        self.controller = f"stethos-{os.getpid()}-{next(NUMBERS)}"
        self.key, self.known_hosts, self.reports = folder / "key", folder / "known_hosts", folder / "runs"
        self._plays: list[Play] = []
        self._made_folders = [path for path in map(Path, OWN_FOLDERS) if not path.exists()]

    def __enter__(self) -> Fleet:
        folder = self.folder
        self.python = stand_in_python(folder)
        stub_model(folder)
        for path in self._made_folders:
            path.mkdir(parents=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        ip("netns", "add", self.controller)
        ip("-n", self.controller, "link", "set", "lo", "up")
        for number, node in enumerate(self.nodes.values(), 1):
            node.address = f"198.18.{number}.2"  # the range for benchmarks, which no network has
            namespace = f"{self.controller}-{number}"
            ip("netns", "add", namespace)
            ip("-n", namespace, "link", "set", "lo", "up")
            ip("-n", namespace, *f"link add eth0 type veth peer name node{number} netns {self.controller}".split())
            ip("-n", namespace, "addr", "add", f"{node.address}/30", "dev", "eth0")
            ip("-n", namespace, "link", "set", "eth0", "up")
            ip("-n", self.controller, "addr", "add", f"198.18.{number}.1/30", "dev", f"node{number}")
            ip("-n", self.controller, "link", "set", f"node{number}", "up")
            node.prepare(folder / node.name, namespace, self.key.with_suffix(".pub"))
        self.learn_keys()
        for node in self.nodes.values():
            node.start()
        return self

    def __exit__(self, *_: object) -> None:
        for play in self._plays:
            play.send(signal.SIGKILL)
        for node in self.nodes.values():
            node.kill()
        for node in self.nodes.values():
            node.stop()
        for number in range(1, len(self.nodes) + 1):
            ip("netns", "del", f"{self.controller}-{number}")
        ip("netns", "del", self.controller)
        for path in reversed(self._made_folders):
            path.rmdir()

    def learn_keys(self) -> None:
        self.known_hosts.write_text("".join(f"{node.address} {node.known_key}\n" for node in self.nodes.values()))

    def play(self, playbook: str, *arguments: str, **variables: object) -> Play:
        """Start ansible-playbook where the nodes can be reached; keyword arguments become variables of every node."""
        inventory = self.folder / "inventory.yml"
        hosts = {node.name: node.inventory(self.key, self.known_hosts) for node in self.nodes.values()}
        known = {
            "probe_python": str(self.python),
            "probe_model": MODEL,
            "probe_profile": "standard",
            "probe_probes": ["load"],
            "reports_dir": str(self.reports),
        }
        inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": {**known, **variables}}}))
        command = [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, f"playbooks/{playbook}"]
        self._plays.append(Play([f"--net=/run/netns/{self.controller}", *map(str, command), *arguments], self.folder))
        return self._plays[-1]

    def run_record(self) -> dict[str, Any]:
        return json.loads((self.reports / "latest/run.json").read_text())

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return the rows of the last run's fleet.json by host."""
        return {row["host"]: row for row in json.loads((self.reports / "latest/fleet.json").read_text())["hosts"]}


NUMBERS = itertools.count(1)


def heed_interrupts() -> None:
    """Take SIGINT as at a terminal; a shell that starts tests in the background has it ignored in all they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def stub_model(folder: Path) -> None:
    """Make a folder that looks like a model to whoever does not load it."""
    model = folder / "model"
    model.mkdir()
    for name in ("config.json", "tokenizer_config.json", "model.safetensors"):
        (model / name).write_text("{}")


def stand_in_python(folder: Path) -> Path:
    """Return an interpreter of a serving stack as the playbooks see it: its agent is the real one over a stub probe."""
    python = folder / "python"
    python.write_text(
        "#!/bin/sh\n"
        f"export LD_LIBRARY_PATH=/run/python/lib PYTHONPATH={STAND_IN}:$PYTHONPATH:/run/packages\n"
        f'if [ "$2" = probe_agent ]; then shift 2; exec {PYTHON} {STAND_IN}/agent.py "$@"; fi\n'
        f'exec {PYTHON} "$@"\n'
    )
    python.chmod(0o755)
    return python
