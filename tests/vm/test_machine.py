"""The test machines themselves: they boot, forget what they should forget, and leave nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from machine import MachineError

THP = "/sys/kernel/mm/transparent_hugepage/enabled"


def gone(pid: int, deadline_s: float = 10) -> bool:
    """Whether the process ends in time. A zombie has ended: its files, memory and port are free."""
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.1)
    return False


def test_both_machines_run_a_healthy_systemd_of_their_own(machines):
    assert [machine.run("hostname").stdout.strip() for machine in machines] == ["node1", "node2"]
    for machine in machines:
        assert machine.run("systemctl is-system-running", check=False).stdout.strip() == "running"
        assert machine.run("systemctl is-active tuned", check=False).stdout.strip() == "inactive"
    assert len({machine.run("cat /etc/machine-id").stdout for machine in machines}) == 2


def test_a_reboot_forgets_what_was_set_at_run_time_only(machines):
    machine = machines[0]
    at_boot = machine.run(f"cat {THP}").stdout
    assert "[never]" not in at_boot
    machine.run(f"echo never >{THP}; echo kept >/root/on-disk")
    assert "[never]" in machine.run(f"cat {THP}").stdout

    before = machine.run("cat /proc/sys/kernel/random/boot_id").stdout.strip()
    assert machine.reboot() != before
    assert machine.run(f"cat {THP}").stdout == at_boot
    assert machine.run("cat /root/on-disk").stdout == "kept\n"


def test_packages_install_from_the_network(machines):
    machines[0].run("apt-get install -y libjemalloc2", timeout_s=240)
    machines[0].run("test -e /usr/lib/x86_64-linux-gnu/libjemalloc.so.2")


def test_tuned_can_be_started(machines):
    machines[1].run("systemctl start tuned")
    try:
        assert "virtual-guest" in machines[1].run("tuned-adm active").stdout
    finally:
        machines[1].run("systemctl stop tuned")


def test_ansible_reaches_both_and_its_recap_is_counted(playbook, tmp_path):
    task = {"name": "Say hello", "ansible.builtin.command": "hostname"}
    play = {"hosts": "all", "gather_facts": False, "tasks": [task]}
    (tmp_path / "hello.yml").write_text(yaml.safe_dump([play]))
    done = playbook(str(tmp_path / "hello.yml"))
    assert done.code == 0, done.output
    assert {host: counts["changed"] for host, counts in done.recap.items()} == {"node1": 1, "node2": 1}


def test_a_failed_command_raises_a_sentence_unless_told_otherwise(machines):
    assert machines[0].run("exit 3", check=False).returncode == 3
    with pytest.raises(MachineError, match=r"node1: 'ls /nowhere' ended with status 2: .*No such file"):
        machines[0].run("ls /nowhere")


def test_kernel_words_of_the_next_start_reserve_a_gibibyte_page_beside_two_numa_nodes(new_machine):
    machine = new_machine("numa", numa_nodes=2)
    pool = "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"
    try:
        machine.start()
        first = machine.wait_until_ready()
        assert machine.run("cat /sys/devices/system/node/online").stdout == "0-1\n"
        assert machine.run(f"cat {pool}").stdout == "0\n"

        machine.kernel_append("hugepagesz=1G hugepages=1")
        assert machine.restart() != first
        assert machine.run(f"cat {pool}").stdout == "1\n"
    finally:
        machine.stop()


def test_a_boot_that_fails_shows_the_end_of_the_console(new_machine):
    machine = new_machine("broken")
    machine.kernel_append("rdinit=/nowhere")
    machine.start()
    try:
        with pytest.raises(MachineError, match=r"(?s)broken: the kernel panicked.*Unable to mount root fs"):
            machine.wait_until_ready()
    finally:
        machine.stop()


def test_a_qemu_that_ends_early_is_reported_with_what_it_said(new_machine):
    machine = new_machine("portless")
    machine.port = 0x10000  # no such port
    machine.start()
    with pytest.raises(MachineError, match=r"portless: qemu ended before SSH answered, with status 1\. .*65536"):
        machine.wait_until_ready()


def test_stop_leaves_no_process_and_may_be_repeated(new_machine):
    machine = new_machine("brief")
    machine.start()
    pid = machine.pid
    machine.stop()
    machine.stop()
    assert machine.pid is None
    assert not Path(f"/proc/{pid}").exists()


def test_no_machine_outlives_a_killed_session(image, tmp_path):
    script = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from image import Image
from machine import Machine, new_key
folder = Path({str(tmp_path)!r})
machine = Machine("orphan", Image(Path({str(image.folder)!r})), new_key(folder), folder)
machine.start()
print(machine.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as session:
        pid = int(session.stdout.readline())
        time.sleep(1)  # until qemu has taken the place of setpriv
        os.kill(session.pid, signal.SIGKILL)
    assert gone(pid)
