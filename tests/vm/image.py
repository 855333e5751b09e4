"""The Debian 12 root image that the test machines boot: built once per recipe, kept under `.cache/vm`."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SUITE = "bookworm"
PACKAGES = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "linux-image-cloud-amd64",
    "openssh-server",
    "python3",
    "python3-apt",
    "systemd-sysv",
    "tuned",
)
SIZE = "4G"  # sparse; room for what a test installs
INITRD_MODULES = "virtio_pci virtio_blk ext4"

CUSTOMIZE = Path(__file__).with_name("customize.sh")
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "vm"

# Program → the Debian package that brings it.
TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mmdebstrap": "mmdebstrap",
    "mkfs.ext4": "e2fsprogs",
    "ssh": "openssh-client",
    "setpriv": "util-linux",
}


class UnavailableError(Exception):
    """This machine cannot run test machines; the message says what it lacks."""


class BuildError(Exception):
    """The image could not be built; the message ends with the last lines of the log."""


@dataclass(frozen=True)
class Image:
    """A folder with everything a boot needs. `host_key` is the public SSH key that every machine of it shows."""

    folder: Path

    @property
    def disk(self) -> Path:
        return self.folder / "disk.raw"

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd.img"

    @property
    def host_key(self) -> str:
        return (self.folder / "host_key.pub").read_text().strip()


def install_tools() -> None:
    """Install the programs that are missing, or raise UnavailableError where only root could."""
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise UnavailableError(f"{', '.join(missing)} not installed, and only root on Debian could install it")
    packages = sorted({TOOLS[tool] for tool in missing})
    for command in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(["apt-get", *command], env=_environment(), capture_output=True, text=True)
        if done.returncode:
            raise UnavailableError(f"apt-get {' '.join(command)} failed: {_tail(done.stderr)}")


def cached_or_built() -> Image:
    """Return the image of this recipe. Building it takes a minute or two and root."""
    sources, options = host_apt_sources(), host_apt_options()
    recipe = (Path(__file__).read_bytes(), CUSTOMIZE.read_bytes(), "\n".join([*sources, *options]).encode())
    image = Image(CACHE / hashlib.sha256(b"\0".join(recipe)).hexdigest()[:16])
    if not image.folder.exists() and os.geteuid() != 0:  # its files belong to root
        raise UnavailableError(f"no image in {image.folder}, and only root can build one")
    if not image.folder.exists():
        with _locked(CACHE / "lock"):
            if not image.folder.exists():  # another session may have built it while this one waited
                for left_by_a_killed_build in CACHE.glob("building-*"):
                    shutil.rmtree(left_by_a_killed_build)
                _build(image, sources, options)
    return image


def host_apt_sources() -> list[str]:
    """Return this machine's Debian 12 sources as lines of a sources.list. With none, mmdebstrap takes its own default.

    Only what Debian signed, as the image has no other keys; apt knows that once it has fetched its lists.
    """
    if not shutil.which("apt-get"):
        return []
    form = "deb $(REPO_URI) $(RELEASE) $(COMPONENT)"
    asked = ["apt-get", "indextargets", "--format", form, "Created-By: Packages", "Origin: Debian"]
    lines = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()
    return sorted(line for line in lines if line.split()[2].split("-")[0] == SUITE)


def host_apt_options() -> list[str]:
    """Return how this machine's apt reaches its mirror (proxy, TLS, clock checks), for the build and for the nodes."""
    if not shutil.which("apt-config"):
        return []
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    wanted = ("Acquire::http", "Acquire::Check-", "Acquire::Retries", "Acquire::Languages", "Acquire::GzipIndexes")
    return [line for line in dump.splitlines() if line.startswith(wanted)]


def _build(image: Image, sources: list[str], options: list[str]) -> None:
    """Build beside the final place and rename at the end, so that a killed build leaves nothing that looks whole."""
    with tempfile.TemporaryDirectory(prefix="building-", dir=CACHE) as scratch:
        root, parts = Path(scratch, "root"), Path(scratch, "parts")
        parts.mkdir()
        apt_options = Path(scratch, "apt.conf")
        apt_options.write_text("".join(f"{line}\n" for line in options))
        initramfs = "$1/etc/initramfs-tools/conf.d", "$1/usr/share/initramfs-tools/modules.d"
        before_kernel = (  # the kernel's own installation then makes the small initrd at once
            f'mkdir -p "{initramfs[0]}" "{initramfs[1]}"'
            f' && printf "MODULES=list\\nCOMPRESS=gzip\\n" >"{initramfs[0]}/vm"'
            f' && printf "%s\\n" {INITRD_MODULES} >"{initramfs[1]}/vm"'
        )
        _run(
            *("unshare", "--mount"),  # what a killed build leaves mounted is not there for whoever cleans up
            "mmdebstrap",
            "--mode=root",
            "--variant=apt",
            f"--include={','.join(PACKAGES)}",
            f"--aptopt={apt_options}",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            f"--essential-hook={before_kernel}",
            f"--customize-hook={CUSTOMIZE}",
            "--skip=cleanup/apt/lists,cleanup/apt/cache",  # a node's apt-get install needs no update first
            SUITE,
            str(root),
            *sources,
        )
        shutil.copy(next(root.glob("boot/vmlinuz-*")), parts / image.kernel.name)
        shutil.copy(next(root.glob("boot/initrd.img-*")), parts / image.initrd.name)
        shutil.copy(root / "etc/ssh/ssh_host_ed25519_key.pub", parts / "host_key.pub")
        _run("mkfs.ext4", "-q", "-d", str(root), "-L", "node", str(parts / image.disk.name), SIZE)
        parts.rename(image.folder)


def _run(*command: str) -> None:
    done = subprocess.run(command, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise BuildError(f"{command[0]} ended with status {done.returncode}: {_tail(done.stdout)}")


def _environment() -> dict[str, str]:
    """A plain environment: the caller's PYTHONDONTWRITEBYTECODE or locale must not shape the image."""
    kept = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return kept | {"PATH": path, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}


def _tail(text: str, lines: int = 15) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Two sessions that start together build once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
