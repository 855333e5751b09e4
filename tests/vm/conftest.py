"""Two running machines for a whole session, an inventory that names them, and a way to run playbooks on them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from image import Image, UnavailableError, cached_or_built, install_tools
from machine import Machine, new_key
from support import PlaybookRun, run_playbook

MachineFactory = Callable[..., Machine]
RunPlaybook = Callable[..., PlaybookRun]


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker("vm")


@pytest.fixture(scope="session")
def image() -> Image:
    try:
        install_tools()
        return cached_or_built()
    except UnavailableError as reason:
        pytest.skip(f"no test machines here: {reason}")


@pytest.fixture(scope="session")
def session_folder() -> Iterator[Path]:
    """Keys, disks and consoles of this session. Not under tmp_path: pytest would keep the disks of three sessions."""
    with tempfile.TemporaryDirectory(prefix="stethos-vm-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def new_machine(image: Image, session_folder: Path) -> Iterator[MachineFactory]:
    """Make a machine that is off, of a name and what else Machine takes; the session's end stops it."""
    key = new_key(session_folder)
    made: list[Machine] = []

    def make(name: str, **kwargs: int) -> Machine:
        made.append(Machine(name, image, key, session_folder, **kwargs))
        return made[-1]

    yield make
    for machine in made:
        machine.stop()


@pytest.fixture(scope="session")
def machines(new_machine: MachineFactory) -> list[Machine]:
    """Two machines that have finished booting."""
    both = [new_machine("node1"), new_machine("node2")]
    for machine in both:
        machine.start()
    for machine in both:
        machine.wait_until_ready()
    return both


@pytest.fixture(scope="session")
def inventory(machines: list[Machine], session_folder: Path) -> Path:
    hosts = {
        machine.name: {
            "ansible_host": "127.0.0.1",
            "ansible_port": machine.port,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(machine.key),
            "ansible_ssh_common_args": " ".join(machine.ssh_options),
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        for machine in machines
    }
    path = session_folder / "inventory.yml"
    path.write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    return path


@pytest.fixture(scope="session")
def playbook(inventory: Path, session_folder: Path) -> RunPlaybook:
    """Run ansible-playbook from the repository root with this session's inventory and the arguments given."""

    def run(name: str, *args: str, **variables: object) -> PlaybookRun:
        # Connections kept from an earlier run would lead to a machine that has rebooted since.
        with tempfile.TemporaryDirectory(dir=session_folder, prefix="cp-", ignore_cleanup_errors=True) as sockets:
            environment = {"ANSIBLE_SSH_CONTROL_PATH_DIR": sockets}
            return run_playbook(name, "-i", str(inventory), *args, env=environment, **variables)

    return run
