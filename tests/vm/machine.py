"""A test machine: Debian with its own kernel and systemd, emulated by qemu, reached by SSH on a port of 127.0.0.1."""

from __future__ import annotations

import base64
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from image import Image

BOOT_DEADLINE_S = 240  # 15 s on two idle cores
POWER_OFF_DEADLINE_S = 60
BOOT_ID = "/proc/sys/kernel/random/boot_id"


class MachineError(Exception):
    """A machine did not do what it was told; the message names it and says what it left on its console."""


class Machine:
    """Starts on a fresh copy of the image. What is written stays through reboots and restarts, and goes with `folder`.

    `start` and `wait_until_ready` are two steps so that several machines boot at the same time. Both belong in the
    main thread: the kernel kills qemu when the thread that started it ends.
    """

    def __init__(self, name: str, image: Image, key: Path, folder: Path, numa_nodes: int = 1, memory_mb: int = 4096):
        """`key` is the private SSH key that root accepts; `folder` must exist.

        qemu takes memory as the guest touches it: about 0.8 GiB after a boot. 4 GiB is the least that has room for a
        1 GiB page, since the kernel, the initrd and the memory map lie across the lower ones.
        """
        self.name = name
        self.port = _free_port()
        self.key = key
        self.numa_nodes = numa_nodes
        self.memory_mb = memory_mb
        self._image = image
        self._append = ""
        self._process: subprocess.Popen | None = None
        self._disk = folder / f"{name}.qcow2"
        self._console = folder / f"{name}.console"
        self._qemu_log = folder / f"{name}.qemu"
        self._known_hosts = folder / f"{name}.known_hosts"
        self._known_hosts.write_text(f"[127.0.0.1]:{self.port} {image.host_key}\n")
        backing = ["-F", "raw", "-b", str(image.disk)]
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(self._disk)], check=True)

    @property
    def pid(self) -> int | None:
        """Process id of qemu; None when the machine is off."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def ssh_options(self) -> list[str]:
        """What ssh needs to know beside user, host, port and key; nothing of the caller's own configuration counts."""
        options = {
            "UserKnownHostsFile": self._known_hosts,
            "StrictHostKeyChecking": "yes",
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "ConnectTimeout": 30,
            "ServerAliveInterval": 5,  # a machine that went down mid-command never closes the connection
        }
        return ["-F", "/dev/null", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]

    def start(self) -> None:
        """Switch the machine on. After `stop` this is what a node sees after a power cut."""
        if self.pid:
            raise MachineError(f"{self.name} is already running as process {self.pid}")
        self._console.write_text("")
        with self._qemu_log.open("w") as log:
            self._process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait_until_ready(self, not_boot: str | None = None) -> str:
        """Return the boot id once systemd has nothing left to start. `not_boot` is the id of the boot to outlive."""
        deadline = time.monotonic() + BOOT_DEADLINE_S
        while time.monotonic() < deadline:
            if self.pid is None:
                status = self._process.returncode if self._process else "none, it was never started"
                raise self._failure(f"qemu ended before SSH answered, with status {status}")
            if "Kernel panic" in self._console.read_text(errors="replace"):
                raise self._failure("the kernel panicked")
            if self._greets():
                with suppress(subprocess.TimeoutExpired):
                    found = self.run(f"cat {BOOT_ID}", check=False, timeout_s=60)
                    if found.returncode == 0 and found.stdout.strip() != not_boot:
                        self.run("systemctl is-system-running --wait", check=False, timeout_s=BOOT_DEADLINE_S)
                        return found.stdout.strip()
            time.sleep(0.5)
        raise self._failure(f"SSH did not answer within {BOOT_DEADLINE_S} s")

    def run(self, command: str, check: bool = True, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root. A status other than 0 raises unless `check` is off; 255 may be ssh's own."""
        ssh = ["ssh", *self.ssh_options, "-i", str(self.key), "-p", str(self.port), "root@127.0.0.1", command]
        done = subprocess.run(ssh, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s)
        if check and done.returncode:
            said = (done.stderr or done.stdout).strip()
            raise MachineError(f"{self.name}: {command!r} ended with status {done.returncode}: {said}")
        return done

    def reboot(self) -> str:
        """Reboot from inside and return the new boot id."""
        before = self.run(f"cat {BOOT_ID}").stdout.strip()
        self.run("systemctl reboot", check=False)  # the connection may go down with the machine
        return self.wait_until_ready(not_boot=before)

    def kernel_append(self, extra: str) -> None:
        """Add words to the kernel command line of every later start, instead of those added before. See `restart`."""
        self._append = extra

    def restart(self) -> str:
        """Power off from inside, switch on again and return the new boot id. A `reboot` keeps the old command line."""
        self.run("systemctl poweroff", check=False)
        try:
            self._process.wait(POWER_OFF_DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise self._failure(f"it did not power off within {POWER_OFF_DEADLINE_S} s") from None
        self.start()
        return self.wait_until_ready()

    def stop(self) -> None:
        """Cut the power. Harmless when the machine is off already."""
        if not self._process:
            return
        self._process.terminate()  # lets qemu finish its own files
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def console_tail(self, lines: int = 30) -> str:
        return "\n".join(self._console.read_text(errors="replace").splitlines()[-lines:])

    def _greets(self) -> bool:
        """Whether sshd sends its greeting. ssh itself would wait long for a guest that has no network yet."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _failure(self, what: str) -> MachineError:
        said = self._qemu_log.read_text().strip() if self._qemu_log.exists() else ""
        return MachineError(f"{self.name}: {what}. qemu said: {said or 'nothing'}. Console:\n{self.console_tail()}")

    def _command(self) -> list[str]:
        public_key = base64.b64encode(self.key.with_suffix(".pub").read_bytes()).decode()
        words = f"root=/dev/vda rw console=ttyS0 mitigations=off systemd.hostname={self.name} {self._append}"
        return [
            *("setpriv", "--pdeathsig", "KILL"),  # a killed pytest leaves no qemu
            # A larger translation buffer (MiB) makes the second boot no faster, and stays in memory.
            *("qemu-system-x86_64", "-accel", "tcg,thread=multi,tb-size=256", "-machine", "q35", "-smp", "2"),
            *("-cpu", "Nehalem,pdpe1gb=on"),  # 1 GiB pages
            *("-m", f"{self.memory_mb}M", *self._numa()),
            *("-nodefaults", "-no-user-config", "-display", "none", "-serial", f"file:{self._console}"),
            *("-kernel", str(self._image.kernel), "-initrd", str(self._image.initrd), "-append", words.strip()),
            *("-drive", f"if=none,id=disk,format=qcow2,cache=unsafe,file={self._disk}"),
            *("-device", "virtio-blk-pci,drive=disk", "-device", "virtio-rng-pci"),
            *("-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{self.port}-:22"),
            *("-device", "virtio-net-pci,netdev=net,romfile="),
            # systemd puts this into root's authorized_keys at boot
            *("-smbios", f"type=11,value=io.systemd.credential.binary:ssh.authorized_keys.root={public_key}"),
        ]

    def _numa(self) -> list[str]:
        """Memory in equal shares, and a CPU for the first two nodes."""
        if self.numa_nodes == 1:
            return []
        share = self.memory_mb // self.numa_nodes
        nodes = range(self.numa_nodes)
        memory = [("-object", f"memory-backend-ram,id=memory{node},size={share}M") for node in nodes]
        numa = [("-numa", f"node,nodeid={n},memdev=memory{n}" + (f",cpus={n}" if n < 2 else "")) for n in nodes]
        return [word for words in memory + numa for word in words]


def new_key(folder: Path) -> Path:
    """Make an SSH key pair for one session and return the path of its private half."""
    key = folder / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "vm-session", "-f", str(key)], check=True)
    return key


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
