"""Tuning on two machines with a kernel and a systemd of their own: what is set stays, what is rolled back is gone.

The tests follow each other on the same machines, as an operator's days do.
"""

import json

import pytest

WISH = {
    "thp_enabled": "never",
    "thp_defrag": "never",
    "thp_khugepaged": {"pages_to_scan": 512},
    "hugepages_pools": [{"size_kb": 2048, "count": 32, "overcommit": 8}],
    "hugetlbfs_mounts": [{"path": "/mnt/huge", "mode": "1770"}],
    "jemalloc_install": True,
}
# Counters, and what the kernel derives from the memory free at boot, are no settings.
STATE = r"""
find /sys/kernel/mm/transparent_hugepage /sys/kernel/mm/hugepages -type f ! -path '*/stats/*' \
  ! -name pages_collapsed ! -name full_scans ! -name free_hugepages | sort | xargs grep -H . 2>/dev/null
grep -rH . /proc/sys/vm 2>/dev/null | sort | grep -v -e stat_refresh -e compact_memory -e reserve_kbytes
grep hugetlbfs /proc/mounts
ls -d /mnt/*
find /etc -type f | sort | xargs sha256sum
find /etc -type l | sort
"""
PACKAGE = ("/etc/ld.so.cache",)  # jemalloc's package stays after a rollback


def state_of(machine):
    return [line for line in machine.run(STATE).stdout.splitlines() if not line.endswith(PACKAGE)]


@pytest.fixture(scope="module")
def before(machines):
    return [state_of(machine) for machine in machines]


def differences(machines, before):
    """Return every line of the state that is new (+) or gone (-), by machine."""
    after = [set(state_of(machine)) for machine in machines]
    return {
        machine.name: [f"+ {line}" for line in sorted(now - set(was))]
        + [f"- {line}" for line in sorted(set(was) - now)]
        for machine, now, was in zip(machines, after, before, strict=True)
        if now != set(was)
    }


def tune(playbook, *arguments, **variables):
    """Without the preflight, which only slows emulated machines down: the modules refuse by themselves."""
    if "--tags" not in arguments:
        arguments += ("--tags", "tune")
    return playbook("playbooks/tune.yml", *arguments, **{**WISH, **variables})


def verify(playbook, **variables):
    return tune(playbook, "--tags", "verify", **variables)


def changed(run):
    return {host: counts["changed"] for host, counts in run.recap.items()}


def test_check_mode_shows_every_change_and_makes_none(playbook, machines, before):
    planned = tune(playbook, "--check", "--diff", "--tags", "preflight,tune")
    assert planned.code == 0, planned.output
    for line in (
        "/sys/kernel/mm/transparent_hugepage/enabled = never",
        "/sys/kernel/mm/transparent_hugepage/khugepaged/pages_to_scan = 512",
        "/etc/tmpfiles.d/00-stethos-thp.conf:",
        "vm.nr_hugepages = 32",
        "/mnt/huge hugetlbfs pagesize=2048K,mode=1770",
        "Where=/mnt/huge",
    ):
        assert line in planned.output
    assert differences(machines, before) == {}


def test_it_converges_and_a_second_run_changes_nothing(playbook, machines):
    first = tune(playbook)
    assert first.code == 0, first.output
    assert all(count >= 3 for count in changed(first).values())
    second = tune(playbook)
    assert (second.code, changed(second)) == (0, {"node1": 0, "node2": 0}), second.output
    found = verify(playbook)
    assert found.code == 0, found.output
    assert "libjemalloc.so.2" in machines[0].run("ls /usr/lib/x86_64-linux-gnu").stdout


def test_a_value_edited_by_hand_is_found_and_repaired(playbook, machines):
    machines[0].run("echo always > /sys/kernel/mm/transparent_hugepage/enabled")
    found = verify(playbook)
    assert found.code == 2
    assert "thp_enabled is to be never, and /sys/kernel/mm/transparent_hugepage/enabled is always" in found.output
    assert found.recap["node2"]["failed"] == 0
    assert changed(tune(playbook)) == {"node1": 1, "node2": 0}
    assert verify(playbook).code == 0


def test_everything_holds_across_a_reboot(playbook, machines):
    for machine in machines:
        machine.reboot()
    held = verify(playbook)
    assert held.code == 0, held.output
    assert changed(tune(playbook)) == {"node1": 0, "node2": 0}
    # mounted before what needs it, by systemd and not by chance
    assert "mnt-huge.mount" in machines[0].run("systemctl list-dependencies --plain local-fs.target").stdout


def drift(playbook, folder):
    """Return drift.yml's exit status and what drifted, by node. Nothing is measured: the probe is not installed."""
    done = playbook("playbooks/drift.yml", reports_dir=str(folder), probe_home="/nowhere", **WISH)
    judged = json.loads((folder / "latest/drift.json").read_text())["hosts"]
    found = {
        name: {each["what"]: each for each in host["findings"] if each["word"] == "drifted"}
        for name, host in judged.items()
    }
    return done.code, found


def test_drift_names_the_package_that_set_a_value_before_and_after_a_reboot(playbook, machines, tmp_path):
    assert drift(playbook, tmp_path) == (1, {"node1": {}, "node2": {}})  # could not tell: nothing was measured
    file = "/etc/sysctl.d/zzz-database.conf"
    machines[0].run(
        "mkdir -p /root/database/DEBIAN /root/database/etc/sysctl.d && cd /root/database && "
        f"printf '# pages\\nvm.nr_hugepages = 7\\n' > /root/database{file} && "
        "printf 'Package: database\\nVersion: 1.0\\nArchitecture: all\\nMaintainer: x <x@x>\\nDescription: x\\n' "
        "> DEBIAN/control && dpkg-deb -b . /root/database.deb && dpkg -i /root/database.deb && sysctl --system && "
        "umount /mnt/huge && echo always > /sys/kernel/mm/transparent_hugepage/enabled"
    )
    code, found = drift(playbook, tmp_path)
    assert (code, found["node2"]) == (2, {}), found
    assert set(found["node1"]) == {"Pool of 2 MiB pages", "hugetlbfs at /mnt/huge", "THP enabled"}
    machines[0].reboot()
    code, found = drift(playbook, tmp_path)
    assert (code, set(found["node1"])) == (2, {"Pool of 2 MiB pages"}), found  # units put the others right
    (setter,) = found["node1"]["Pool of 2 MiB pages"]["set_by"]
    assert (setter["file"], setter["line"], setter["package"]) == (file, 2, "database 1.0")
    assert setter["modified"]
    machines[0].run("dpkg -P database && rm -r /root/database /root/database.deb")
    assert tune(playbook).code == 0
    assert drift(playbook, tmp_path) == (1, {"node1": {}, "node2": {}})


def test_somebody_elses_file_is_named_with_its_line_and_not_fought(playbook, machines):
    machines[0].run("printf '# database\\nvm.nr_hugepages = 7\\n' > /etc/sysctl.d/zzz-database.conf")
    refused = tune(playbook)
    assert refused.code == 2
    assert "/etc/sysctl.d/zzz-database.conf line 2 sets vm.nr_hugepages to 7" in " ".join(refused.output.split())
    assert (refused.recap["node1"]["failed"], refused.recap["node2"]["failed"]) == (1, 0)
    machines[0].run("rm /etc/sysctl.d/zzz-database.conf")
    assert tune(playbook).code == 0


def test_an_active_tuned_profile_is_met_not_fought(playbook, machines):
    profile = "[main]\\ninclude=virtual-guest\\n[vm]\\ntransparent_hugepages=always\\n"
    machines[1].run("cp -a /etc/tuned /root/tuned")
    machines[1].run(f"mkdir -p /etc/tuned/ours; printf '{profile}' > /etc/tuned/ours/tuned.conf")
    machines[1].run("systemctl start tuned && tuned-adm profile ours")
    try:
        refused = tune(playbook)
        assert refused.code == 2
        sentence = "/etc/tuned/ours/tuned.conf line 4 sets /sys/kernel/mm/transparent_hugepage/enabled to always"
        assert sentence in " ".join(refused.output.split())

        merged = tune(playbook, tuning_tuned="merge")
        assert merged.code == 0, merged.output
        assert "stethos" in machines[1].run("tuned-adm active").stdout
        machines[1].run("systemctl restart tuned; sleep 5")
        assert "[never]" in machines[1].run("cat /sys/kernel/mm/transparent_hugepage/enabled").stdout
        assert changed(tune(playbook, tuning_tuned="merge")) == {"node1": 0, "node2": 0}
        undone = playbook("playbooks/rollback.yml", "--limit", "node2")
        assert undone.code == 0, undone.output
        assert machines[1].run("tuned-adm active").stdout.strip() == "Current active profile: ours"
    finally:
        machines[1].run("systemctl stop tuned; rm -r /etc/tuned; mv /root/tuned /etc/tuned")
        machines[1].reboot()  # a stopping TuneD puts back what it found: our value, not the kernel's own
    assert tune(playbook).code == 0


def test_a_run_killed_between_two_settings_can_be_undone(playbook, machines):
    """The record of a write is on disk before the write: here the second one never came."""
    playbook("playbooks/rollback.yml", "--limit", "node1")
    assert tune(playbook, "--limit", "node1", "--tags", "thp").code == 0
    machines[0].run(
        "python3 - <<'E'\nimport json\np='/var/lib/stethos/snapshot.json'\nd=json.load(open(p))\n"
        "d['entries'][0]['settled']=False\njson.dump(d,open(p,'w'))\nE"
    )
    machines[0].run("echo always > /sys/kernel/mm/transparent_hugepage/enabled")  # neither before nor after
    undone = playbook("playbooks/rollback.yml", "--limit", "node1")
    assert undone.code == 0, undone.output
    assert verify(playbook).recap["node1"]["failed"] == 1
    assert tune(playbook).code == 0


def test_pages_of_1_gib_wait_for_the_boot_and_are_there_after_it(playbook, machines):
    """The machines boot without GRUB, so its program is a stand-in and the words come from qemu."""
    pools = [*WISH["hugepages_pools"], {"size_kb": 1048576, "count": 1, "at_boot": True}]
    machines[0].run(
        "printf '#!/bin/sh\\ntouch /root/grub-updated\\n' > /usr/sbin/update-grub; chmod +x /usr/sbin/update-grub"
    )
    owed = tune(playbook, "--limit", "node1", hugepages_pools=pools, hugepages_shortfall="warn")
    assert owed.code == 0, owed.output
    assert "hugepages=1" in machines[0].run("cat /etc/default/grub.d/zz-stethos.cfg").stdout
    machines[0].run("test -e /root/grub-updated && rm /root/grub-updated")
    machines[0].kernel_append("hugepagesz=1G hugepages=1")
    machines[0].restart()
    pool = "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"
    assert machines[0].run(f"cat {pool}").stdout == "1\n"
    held = verify(playbook, hugepages_pools=pools)
    assert held.recap["node1"]["failed"] == 0, held.output
    machines[0].kernel_append("")
    playbook("playbooks/rollback.yml", "--limit", "node1")
    machines[0].run("test -e /root/grub-updated && rm /root/grub-updated /usr/sbin/update-grub")
    machines[0].restart()
    assert tune(playbook).code == 0


def test_a_rollback_leaves_the_machines_as_they_were_and_a_reboot_does_not_change_that(playbook, machines, before):
    planned = playbook("playbooks/rollback.yml", "--check", "--diff")
    assert planned.code == 0
    assert "nr_hugepages = 0" in planned.output
    undone = playbook("playbooks/rollback.yml")
    assert undone.code == 0, undone.output
    assert differences(machines, before) == {}
    assert changed(playbook("playbooks/rollback.yml")) == {"node1": 0, "node2": 0}
    for machine in machines:
        machine.reboot()
    assert differences(machines, before) == {}
