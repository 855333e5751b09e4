"""What sets huge pages at boot, on trees as Debian 12, Ubuntu 24.04 and RHEL 9 ship them, and on hostile ones."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probe_agent.host import cmdline, dropins, shell, source, sources, startup, tuned
from probe_agent.host.sources import for_setting, pool_setting, read, unread

THP = "sys/kernel/mm/transparent_hugepage"
POOL = "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
GIANT = "sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"
NR = "proc/sys/vm/nr_hugepages"
KEYS = frozenset(source.sysctl_path(key) for key in sources.SYSCTLS)

KERNEL = {
    "proc/cmdline": "BOOT_IMAGE=/vmlinuz root=/dev/vda1 ro quiet\n",
    "proc/meminfo": "MemTotal: 16384000 kB\nHugepagesize:       2048 kB\n",
    f"{THP}/enabled": "always [madvise] never\n",
    f"{THP}/defrag": "always defer defer+madvise [madvise] never\n",
    POOL: "0\n",
    GIANT: "0\n",
}
HUGETLBFS_MOUNT = (
    "[Unit]\nDescription=Huge Pages File System\n\n[Mount]\nWhat=hugetlbfs\nWhere=/dev/hugepages\nType=hugetlbfs\n"
)
SHIPPED_MOUNT = "/usr/lib/systemd/system/dev-hugepages.mount line 6 mounts hugetlbfs on /dev/hugepages with defaults"
DEBIAN = KERNEL | {
    "etc/sysctl.conf": "#\n# /etc/sysctl.conf - Configuration file\n#\n#kernel.domainname = example.com\n",
    "usr/lib/sysctl.d/50-pid-max.conf": "# Bump the numeric PID range\nkernel.pid_max = 4194304\n",
    "usr/lib/sysctl.d/99-protect-links.conf": "fs.protected_fifos = 1\nfs.protected_hardlinks = 1\n",
    "usr/lib/tmpfiles.d/systemd.conf": "d /run/user 0755 root root -\nF! /run/utmp 0664 root utmp -\n",
    "usr/lib/systemd/system/dev-hugepages.mount": HUGETLBFS_MOUNT,
    "usr/lib/systemd/system/rc-local.service": "[Service]\nType=forking\nExecStart=/etc/rc.local start\n",
    "etc/default/grub": "GRUB_DEFAULT=0\nGRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo Debian`\n"
    'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\nGRUB_CMDLINE_LINUX=""\n',
    "etc/fstab": "# <file system> <mount point> <type> <options>\nUUID=1-2 / ext4 errors=remount-ro 0 1\n",
}
UBUNTU = DEBIAN | {
    "etc/sysctl.d/10-map-count.conf": "# vm.max_map_count\nvm.max_map_count=1048576\n",
    "etc/default/grub": 'GRUB_CMDLINE_LINUX_DEFAULT="quiet splash"\nGRUB_CMDLINE_LINUX=""\n',
    "etc/default/grub.d/50-cloudimg-settings.cfg": "# Cloud Image specific Grub settings\nGRUB_TIMEOUT=0\n"
    'GRUB_CMDLINE_LINUX_DEFAULT="console=tty1 console=ttyS0"\n',
}
RHEL = KERNEL | {
    "etc/sysctl.conf": "# sysctl settings are defined through files in\n# /usr/lib/sysctl.d/ and the like.\n",
    "usr/lib/sysctl.d/50-default.conf": "kernel.sysrq = 16\n-net.ipv4.conf.all.rp_filter\n",
    "usr/lib/systemd/system/dev-hugepages.mount": HUGETLBFS_MOUNT,
    "usr/lib/systemd/system/tuned.service": "[Service]\nType=dbus\nExecStart=/usr/sbin/tuned -l -P\n",
    "etc/rc.d/rc.local": "#!/bin/bash\n# THIS FILE IS ADDED FOR COMPATIBILITY\n\ntouch /var/lock/subsys/local\n",
    "etc/default/grub": 'GRUB_CMDLINE_LINUX="crashkernel=1G-4G:192M rd.lvm.lv=rhel/root"\nGRUB_ENABLE_BLSCFG=true\n',
    "boot/loader/entries/ab12-5.14.0.conf": "title Red Hat Enterprise Linux (5.14.0) 9.4\n"
    "linux /vmlinuz-5.14.0\noptions root=/dev/mapper/rhel-root ro crashkernel=1G-4G:192M $tuned_params\n",
    "etc/tuned/active_profile": "virtual-guest\n",
    "etc/tuned/tuned-main.conf": "daemon = 1\nreapply_sysctl = 1\n",
    "usr/lib/tuned/virtual-guest/tuned.conf": "[main]\nsummary=Optimize for a guest\ninclude=throughput-performance\n"
    "\n[sysctl]\nvm.dirty_ratio = 30\nvm.swappiness = 30\n",
    "usr/lib/tuned/throughput-performance/tuned.conf": "[variables]\nthunderx=CPU part\\s+:\\s+(0x0?516)\\b\n\n"
    "[vm.thunderx]\ntype=vm\nuname_regex=aarch64\ncpuinfo_regex=${thunderx}\ntransparent_hugepages=never\n",
    "proc/cpuinfo": "vendor_id : GenuineIntel\n",
    "proc/1/comm": "systemd\n",
    "proc/812/comm": "tuned\n",
    "run/tuned/tuned.pid": "812\n",
}
X86 = "Linux node 5.14.0 #1 SMP x86_64"


def link(root: Path, path: str, target: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    if not (root / path).is_symlink():
        (root / path).symlink_to(target)


@pytest.fixture
def node(fake_root):
    """Return a function that makes a tree with what systemd links everywhere, and returns its root."""

    def make(files: dict[str, str], sysctl_conf: bool = True) -> Path:
        root = fake_root(files)
        link(root, "usr/lib/systemd/system/sysinit.target.wants/dev-hugepages.mount", "../dev-hugepages.mount")
        if sysctl_conf and "etc/sysctl.conf" in files:
            link(root, "etc/sysctl.d/99-sysctl.conf", "../sysctl.conf")
        if "usr/lib/systemd/system/tuned.service" in files:
            want = "etc/systemd/system/multi-user.target.wants/tuned.service"
            link(root, want, "/usr/lib/systemd/system/tuned.service")
        if "etc/rc.d/rc.local" in files:
            link(root, "etc/rc.local", "rc.d/rc.local")
        return root

    return make


def sentences(found, setting=None, effective=None):
    chosen = for_setting(found, setting, 2048) if setting else found
    return [row.sentence for row in chosen if effective is None or row.effective is effective]


@pytest.mark.parametrize("tree", [DEBIAN, UBUNTU], ids=["Debian 12", "Ubuntu 24.04"])
def test_a_fresh_node_sets_nothing_but_its_own_mount(node, tree):
    assert sentences(read(node(tree))) == [SHIPPED_MOUNT]


def test_a_fresh_rhel_has_a_profile_that_sets_thp_on_other_machines_only(node):
    assert sentences(read(node(RHEL), uname=X86)) == [
        SHIPPED_MOUNT,
        "/usr/lib/tuned/throughput-performance/tuned.conf line 8 sets /sys/kernel/mm/transparent_hugepage/enabled to "
        "never (its uname_regex does not match this machine)",
    ]
    arm = node({"proc/cpuinfo": "CPU part\t: 0x516\n"})
    assert sentences(read(arm, uname="Linux node 5.14.0 aarch64"), f"{THP}/enabled", effective=True)


# sysctl.d


def test_the_sentence_names_file_line_setting_and_value(node):
    root = node(DEBIAN | {"etc/sysctl.d/30-db.conf": "# for the database\n\nvm.nr_hugepages = 2048\n"})
    assert sentences(read(root), NR) == ["/etc/sysctl.d/30-db.conf line 3 sets vm.nr_hugepages to 2048"]


def test_the_latest_file_name_wins_over_all_folders(node):
    root = node(
        DEBIAN
        | {
            "etc/sysctl.d/10-a.conf": "vm.nr_hugepages=1\n",
            "usr/lib/sysctl.d/60-b.conf": "vm/nr_hugepages=2\n",
            "run/sysctl.d/50-c.conf": "vm.nr_hugepages=3\nvm.nr_hugepages=4\n",
        }
    )
    assert sentences(read(root), NR) == [
        "/etc/sysctl.d/10-a.conf line 1 sets vm.nr_hugepages to 1 (overruled by /usr/lib/sysctl.d/60-b.conf line 1)",
        "/run/sysctl.d/50-c.conf line 1 sets vm.nr_hugepages to 3 (overruled by /usr/lib/sysctl.d/60-b.conf line 1)",
        "/run/sysctl.d/50-c.conf line 2 sets vm.nr_hugepages to 4 (overruled by /usr/lib/sysctl.d/60-b.conf line 1)",
        "/usr/lib/sysctl.d/60-b.conf line 1 sets vm.nr_hugepages to 2",
    ]


def test_sysctl_conf_is_read_as_its_link_and_sorts_by_the_link(node):
    files = {"etc/sysctl.conf": "vm.nr_hugepages=9\n", "etc/sysctl.d/99-stethos.conf": "vm.nr_hugepages=1\n"}
    assert sentences(read(node(DEBIAN | files)), NR, effective=True) == [
        "/etc/sysctl.conf line 1 sets vm.nr_hugepages to 9 (read as /etc/sysctl.d/99-sysctl.conf)"
    ]


def test_a_sysctl_conf_without_a_link_is_named_but_not_effective(node):
    root = node(DEBIAN | {"etc/sysctl.conf": "vm.nr_hugepages=9\n"}, sysctl_conf=False)
    (found,) = for_setting(read(root), NR)
    assert not found.effective
    assert "only `sysctl -p`" in found.note


@pytest.mark.parametrize("mask", ["/dev/null", "/gone"])
def test_a_link_masks_its_namesake(node, mask):
    root = node(DEBIAN | {"usr/lib/sysctl.d/60-db.conf": "vm.nr_hugepages=2\n"})
    link(root, "etc/sysctl.d/60-db.conf", mask)
    assert for_setting(read(root), NR) == []


def test_an_empty_file_and_a_namesake_mask_too(node):
    root = node(
        DEBIAN
        | {
            "etc/sysctl.d/60-a.conf": "",
            "usr/lib/sysctl.d/60-a.conf": "vm.nr_hugepages=2\n",
            "run/sysctl.d/61-b.conf": "vm.nr_overcommit_hugepages=3\n",
            "lib/sysctl.d/61-b.conf": "vm.nr_hugepages=4\n",
        }
    )
    assert [row.value for row in for_setting(read(root), NR)] == []
    assert [row.value for row in for_setting(read(root), "vm.nr_overcommit_hugepages")] == ["3"]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("-vm.nr_hugepages = 5", [(1, NR, "5")]),
        ("  vm.nr_hugepages=5  \r", [(1, NR, "5")]),
        ("# vm.nr_hugepages=5\n;vm.nr_hugepages=6\n\nvm.nr_hugepages 7", []),
        ("vm.nr_hugepages = 5 # five", [(1, NR, "5 # five")]),
        ("net.ipv4.conf.eth0/100.forwarding=1", [(1, "proc/sys/net/ipv4/conf/eth0.100/forwarding", "1")]),
        ("/vm/nr_hugepages=5", [(1, NR, "5")]),
        ("-vm.nr_hugepages", [(1, NR, None)]),
    ],
)
def test_reads_every_form_of_a_sysctl_line(text, rows):
    assert list(dropins.parse_sysctl(source.File("/x", tuple(text.split("\n"))))) == rows


def test_a_pattern_sets_what_no_line_sets_by_name(node):
    root = node(
        DEBIAN
        | {
            "etc/sysctl.d/10.conf": "vm.nr_hugepages=1\n",
            "etc/sysctl.d/20.conf": "vm.nr_*hugepages=7\n-vm.nr_hugepages_mempolicy\nvm.nr_hugepages_*=8\n",
        }
    )
    assert [(row.setting, row.value) for row in read(root) if row.kind == "sysctl.d" and row.effective] == [
        (NR, "1"),
        ("proc/sys/vm/nr_overcommit_hugepages", "7"),
    ]


def test_other_sysctls_are_found_when_asked_for(node):
    found = read(node(UBUNTU), sysctls={"vm.max_map_count"})
    assert sentences(found, "vm.max_map_count") == [
        "/etc/sysctl.d/10-map-count.conf line 2 sets vm.max_map_count to 1048576"
    ]


def test_our_own_file_says_so(node):
    root = node(DEBIAN | {"etc/sysctl.d/90-stethos.conf": "# Managed by stethos: do not edit\nvm.nr_hugepages=1\n"})
    assert [row.ours for row in for_setting(read(root), NR)] == [True]


# tmpfiles.d

WHERE = f"/{THP}/defrag"
WRITES = {  # lines of 10-a.conf, lines of 20-b.conf, and what the file holds in the end
    "the first of two": (f"w {WHERE} - - - - never", f"w {WHERE} - - - - defer", "never"),
    "two of w+": (f"w+ {WHERE} - - - - never", f"w+ {WHERE} - - - - defer", "defer"),
    "w then w+": (f"w {WHERE} - - - - never", f"w+ {WHERE} - - - - defer", "never"),
    "w+ then w": (f"w+ {WHERE} - - - - never", f"w {WHERE} - - - - defer", "never"),
    "w+ w w+": (f"w+ {WHERE} - - - - never\nw {WHERE} - - - - defer", f"w+ {WHERE} - - - - final", "final"),
    "a pattern after the name": (f"w {WHERE} - - - - never", f"w /{THP}/d* - - - - defer", "defer"),
    "the name after a pattern": ("w /sys/kernel/mm/*/defrag - - - - never", f"w {WHERE} - - - - defer", "defer"),
    "braces": (f"w /{THP}/{{enabled,defrag}} - - - - never", "", "never"),
    "another spelling": (f"w //{THP}/./defrag - - - - never", f"w {WHERE} - - - - defer", "never"),
    "f": (f"f {WHERE} - - - - never", "", "."),
    "f+ then F": (f"f+ {WHERE} - - - - never", f"F {WHERE} - - - - defer", "never"),
    "w then F": (f"w {WHERE} - - - - never", f"F {WHERE} - - - - defer", "never"),
    "boot only": (f"w! {WHERE} - - - - never", "", "never"),
    "quotes": (f'"w" "{WHERE}" - - - - never\\n', "", "never"),
    "no argument": (f"w {WHERE}\nw {WHERE} - - - - -", f"w {WHERE} - - - - never", "never"),
    "lines that write nothing": (f"# w {WHERE} - - - - x\nz {WHERE} 0644 - - -", "d /run/x 0755 - - -", "."),
}


@pytest.fixture
def lines_of(fake_root):
    """Return a function that makes a tree with one case's lines."""

    def make(case: str) -> Path:
        first, second, _ = WRITES[case]
        files = {"etc/tmpfiles.d/20-b.conf": f"{second}\n", "usr/lib/tmpfiles.d/10-a.conf": f"{first}\n"}
        return fake_root(KERNEL | files | {f"{THP}/defrag": "."})

    return make


@pytest.mark.parametrize("case", WRITES)
def test_one_line_of_tmpfiles_has_the_last_word(lines_of, case):
    winners = [
        row.value for row in dropins.tmpfiles(lines_of(case)) if row.effective and row.setting.endswith("defrag")
    ]
    assert (winners or ["."]) == [WRITES[case][-1]]


@pytest.mark.skipif(not shutil.which("systemd-tmpfiles") or os.geteuid() != 0, reason="asks systemd-tmpfiles itself")
@pytest.mark.parametrize("case", WRITES)
def test_systemd_agrees_about_tmpfiles(lines_of, case):
    root = lines_of(case)
    subprocess.run(["systemd-tmpfiles", f"--root={root}", "--boot", "--create"], check=False, capture_output=True)
    assert (root / THP / "defrag").read_text().strip().endswith(WRITES[case][-1])


def test_the_loser_of_tmpfiles_names_the_winner(fake_root):
    lines = {
        "usr/lib/tmpfiles.d/10-vendor.conf": f"w /{THP}/enabled - - - - never",
        "etc/tmpfiles.d/20-us.conf": f"w /{THP}/enabled - - - - always",
    }
    assert sentences(dropins.tmpfiles(fake_root(KERNEL | lines))) == [
        "/usr/lib/tmpfiles.d/10-vendor.conf line 1 sets /sys/kernel/mm/transparent_hugepage/enabled to never",
        "/etc/tmpfiles.d/20-us.conf line 1 sets /sys/kernel/mm/transparent_hugepage/enabled to always "
        "(overruled by /usr/lib/tmpfiles.d/10-vendor.conf line 1)",
    ]


def test_a_pattern_stands_for_every_pool_of_the_node(fake_root):
    line = {"etc/tmpfiles.d/huge.conf": "w /sys/kernel/mm/hugepages/hugepages-*/nr_hugepages - - - - 0\n"}
    assert [row.setting for row in dropins.tmpfiles(fake_root(KERNEL | line))] == [GIANT, POOL]


def test_a_pattern_that_meets_nothing_yet_is_still_found(fake_root):
    line = {"etc/tmpfiles.d/huge.conf": "w /sys/kernel/mm/hugepages/hugepages-*/nr_hugepages - - - - 0\n"}
    assert len(for_setting(read(fake_root(line)), POOL)) == 1


# kernel command line


def given_by(text, default_kb=2048):
    file = source.File("/proc/cmdline", (text,))
    words = [cmdline.Word(word, file, 1) for word in cmdline.split(text)]
    return [(row.setting, row.value) for row in cmdline.read(words, "command line", default_kb) if row.effective]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("transparent_hugepage=never transparent_hugepage=always", [(f"{THP}/enabled", "always")]),
        ("transparent_hugepage_shmem=advise", [(f"{THP}/shmem_enabled", "advise")]),
        ("transparent-hugepage=never", [(f"{THP}/enabled", "never")]),
        ("hugepages=512", [(POOL, "512")]),
        ("hugepagesz=1G hugepages=4 hugepagesz=2M hugepages=512", [(GIANT, "4"), (POOL, "512")]),
        ("hugepages=256 hugepagesz=2M hugepages=512", [(POOL, "256")]),  # the kernel's own example of one ignored
        ("hugepagesz=1G hugepages=4 hugepages=5", [(GIANT, "4")]),
        ("hugepagesz=huge hugepages=4", []),
        ("default_hugepagesz=1G hugepages=2", [("default_hugepagesz", "1G"), (GIANT, "2")]),
        ("hugepages=2 default_hugepagesz=1G", [(GIANT, "2"), ("default_hugepagesz", "1G")]),
        (
            "hugepagesz=2M hugepages=0:1,1:2",
            [(f"sys/devices/system/node/node{n}/hugepages/hugepages-2048kB/nr_hugepages", str(n + 1)) for n in (0, 1)],
        ),
        (
            'thp_anon="16K-64K:always;2M:never"',
            [(f"{THP}/hugepages-{kb}kB/enabled", "always") for kb in (16, 32, 64)]
            + [(f"{THP}/hugepages-2048kB/enabled", "never")],
        ),
        ("sysctl.vm.nr_hugepages=3", [(NR, "3")]),
        ("quiet -- transparent_hugepage=never", []),
        ("thp_anon=0-64K:always hugepages=many", []),
    ],
)
def test_reads_the_kernel_command_line(text, rows):
    assert given_by(text) == rows


def test_a_pool_of_unknown_page_size_is_the_default_one():
    assert given_by("hugepages=5", default_kb=None) == [(NR, "5")]


def test_a_cloud_image_forgets_what_etc_default_grub_says(node):
    grub = {"etc/default/grub": 'GRUB_CMDLINE_LINUX_DEFAULT="quiet transparent_hugepage=never"\n'}
    assert sentences(read(node(UBUNTU | grub)), f"{THP}/enabled") == [
        "/etc/default/grub line 1 sets /sys/kernel/mm/transparent_hugepage/enabled to never at the next boot "
        "(replaced by /etc/default/grub.d/50-cloudimg-settings.cfg line 3)"
    ]


def test_a_grub_drop_in_adds_to_what_is_there(node):
    grub = {
        "etc/default/grub": 'GRUB_CMDLINE_LINUX="hugepagesz=1G hugepages=2"\n',
        "etc/default/grub.d/90-ours.cfg": "# Managed by stethos\n"
        'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX hugepagesz=1G hugepages=4"\n',
        "etc/default/grub.d/95-thp.cfg": "GRUB_CMDLINE_LINUX+=' transparent_hugepage=madvise'\n",
    }
    found = read(node(DEBIAN | grub))
    assert [(row.value, row.effective, row.ours) for row in for_setting(found, GIANT)] == [
        ("2", True, False),
        ("4", False, True),
    ]
    assert [row.file for row in for_setting(found, f"{THP}/enabled")] == ["/etc/default/grub.d/95-thp.cfg"]


def test_boot_loader_entries_and_kernel_install_are_read(node):
    root = node(
        RHEL
        | {
            "etc/kernel/cmdline": "root=/dev/vda1 default_hugepagesz=1G hugepages=8\n",
            "boot/loader/entries/ab12-5.14.0.conf": "title RHEL\noptions root=/dev/vda1 ro\n"
            "options transparent_hugepage=never\n",
        }
    )
    assert sentences(read(root, uname=X86), effective=True)[1:] == [
        "/etc/kernel/cmdline line 1 sets default_hugepagesz to 1G at the next boot",
        f"/etc/kernel/cmdline line 1 sets /{GIANT} to 8 at the next boot",
        "/boot/loader/entries/ab12-5.14.0.conf line 3 sets /sys/kernel/mm/transparent_hugepage/enabled to never "
        "at the next boot",
    ]


# TuneD

CUSTOM = {
    "etc/tuned/active_profile": "inference\n",
    "etc/tuned/inference/tuned.conf": "[main]\ninclude=hpc-compute, base\n\n"
    "[vm]\ntransparent_hugepages=madvise # ours\n"
    f"\n[sysfs]\n/{THP}/khugepaged/defrag=0\n/sys/block/*/queue/nomerges=1\n",
    "usr/lib/tuned/hpc-compute/tuned.conf": "[vm]\ntransparent_hugepages=always\n[sysctl]\nvm.nr_hugepages=>128\n",
    "usr/lib/tuned/profiles/base/tuned.conf": "[vm]\ntransparent_hugepage.defrag=defer\n"
    "[bootloader]\ncmdline_base=+hugepagesz=1G hugepages=4\ncmdline_less=-hugepages=5\n",
}


def test_a_profile_overrules_what_it_includes(node):
    found = [row for row in read(node(RHEL | CUSTOM)) if row.kind == "tuned"]
    assert sentences(found) == [
        "/usr/lib/tuned/hpc-compute/tuned.conf line 2 sets /sys/kernel/mm/transparent_hugepage/enabled to always "
        "(overruled by /etc/tuned/inference/tuned.conf line 5)",
        "/usr/lib/tuned/profiles/base/tuned.conf line 2 sets /sys/kernel/mm/transparent_hugepage/defrag to defer",
        "/etc/tuned/inference/tuned.conf line 5 sets /sys/kernel/mm/transparent_hugepage/enabled to madvise",
        "/usr/lib/tuned/hpc-compute/tuned.conf line 4 sets vm.nr_hugepages to >128",
        "/etc/tuned/inference/tuned.conf line 8 sets /sys/kernel/mm/transparent_hugepage/khugepaged/defrag to 0",
        "/usr/lib/tuned/profiles/base/tuned.conf line 4 sets "
        "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages to 4 (at the next boot)",
    ]


def test_tuned_applies_etc_sysctl_d_after_its_own(node):
    ours = {"etc/sysctl.d/90-stethos.conf": "vm.nr_hugepages=1\n"}
    root = node(RHEL | CUSTOM | ours)
    found = for_setting(read(root), NR)
    assert [(row.kind, row.effective) for row in found] == [("sysctl.d", True), ("tuned", False)]
    (root / "etc/tuned/tuned-main.conf").write_text("reapply_sysctl = 0\n")
    assert [row.effective for row in for_setting(read(root), NR)] == [True, True]


def test_tuned_leaves_thp_to_the_kernel_command_line(node):
    root = node(RHEL | CUSTOM | {"proc/cmdline": "BOOT_IMAGE=/vmlinuz transparent_hugepage=never\n"})
    found = for_setting(read(root), f"{THP}/enabled")
    assert [(row.kind, row.value) for row in found if row.effective] == [("command line", "never")]
    assert "leaves it to transparent_hugepage=" in found[-1].note


@pytest.mark.parametrize(
    ("change", "running", "state"),
    [
        ({}, None, (True, True)),
        ({"proc/812/comm": "bash\n"}, None, (False, True)),
        ({"run/tuned/tuned.pid": "\n"}, None, (True, True)),
        ({"proc/812/comm": "bash\n"}, True, (True, True)),
    ],
)
def test_says_whether_tuned_runs(node, change, running, state):
    found = tuned.state(node(RHEL | change), running)
    assert ((found.running, found.at_boot), found.active) == (state, True)


def test_a_tuned_that_is_off_sets_nothing(node):
    root = node(RHEL | CUSTOM | {"proc/812/comm": "bash\n"})
    link(root, "etc/systemd/system/tuned.service", "/dev/null")
    rows = [row for row in read(root) if row.kind == "tuned"]
    assert rows
    assert not any(row.effective for row in rows)
    assert rows[0].note == "TuneD is neither running nor started at boot"


def test_without_processes_nobody_can_tell_whether_tuned_runs(fake_root):
    found = tuned.state(fake_root(CUSTOM))
    assert (found.running, found.active) == (None, True)


def test_a_profile_may_build_on_its_namesake_and_on_itself(node):
    files = {
        "etc/tuned/active_profile": "site\n",
        "etc/tuned/site/tuned.conf": "[main]\ninclude=site\n[vm]\nreplace=1\n",
        "usr/lib/tuned/site/tuned.conf": "[main]\ninclude=site,-gone\n[vm]\ntransparent_hugepages=never\n",
    }
    assert sentences(read(node(RHEL | files)), f"{THP}/enabled") == [
        "/usr/lib/tuned/site/tuned.conf line 4 sets /sys/kernel/mm/transparent_hugepage/enabled to never "
        "(overruled by /etc/tuned/site/tuned.conf line 4)"
    ]


def test_what_only_tuned_can_resolve_is_said(node):
    files = {
        "etc/tuned/active_profile": "site\n",
        "etc/tuned/site/tuned.conf": "[main]\ninclude=${f:virt_check:virtual-guest:virtual-host}\n"
        "[variables]\ninclude=/etc/tuned/site-variables.conf\n[vm]\ntransparent_hugepages=${mode}\n"
        "transparent_hugepage.defrag=${f:exec:mode}\n[script]\nscript=${i:PROFILE_DIR}/go.sh\n",
        "etc/tuned/site-variables.conf": "mode=always\n",
        "etc/tuned/site/go.sh": "#!/bin/bash\nstart() {\n    sysctl -w vm.nr_hugepages=7\n}\n",
    }
    found = read(node(RHEL | files))
    assert sentences(unread(found)) == [
        "/etc/tuned/site/tuned.conf line 2 includes ${f:virt_check:virtual-guest:virtual-host}, "
        "which only TuneD can resolve"
    ]
    assert sentences(for_setting(found, f"{THP}/enabled"))[0].endswith("/enabled to always")
    assert for_setting(found, f"{THP}/defrag")[0].note == "only TuneD can resolve its variable"
    assert sentences(for_setting(found, NR)) == [
        "/etc/tuned/site/go.sh line 3 sets vm.nr_hugepages to 7 (run by profile site)"
    ]


# units, rc.local, fstab

DISABLE_THP = """\
[Unit]
Description=Disable Transparent Huge Pages (THP)
DefaultDependencies=no
After=sysinit.target local-fs.target
Before=mongod.service

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo never | tee /sys/kernel/mm/transparent_hugepage/enabled > /dev/null && \\
    echo never | tee /sys/kernel/mm/transparent_hugepage/defrag > /dev/null'

[Install]
WantedBy=basic.target
"""


def test_mongodb_s_unit_is_named_and_counts_when_it_is_enabled(node):
    root = node(DEBIAN | {"etc/systemd/system/disable-thp.service": DISABLE_THP})
    where = "/etc/systemd/system/disable-thp.service line 9 sets /sys/kernel/mm/transparent_hugepage"
    assert sentences(read(root), effective=False) == [
        f"{where}/enabled to never ({startup.NOT_STARTED})",
        f"{where}/defrag to never ({startup.NOT_STARTED})",
    ]
    link(root, "etc/systemd/system/basic.target.wants/disable-thp.service", "../disable-thp.service")
    assert sentences(read(root), effective=True)[:2] == [f"{where}/enabled to never", f"{where}/defrag to never"]


def test_a_script_that_a_unit_runs_is_looked_into(node):
    unit = "[Service]\nType=oneshot\nExecStart=-/usr/lib/systemd/hugetlb-reserve-pages.sh\n"
    script = (
        "#!/bin/sh\n\nnodes_path=/sys/devices/system/node/\nif [ ! -d $nodes_path ]; then\n    exit 1\nfi\n"
        "reserve_pages()\n{\n    echo $1 > $nodes_path/$2/hugepages/hugepages-1048576kB/nr_hugepages\n}\n"
    )
    files = {
        "usr/lib/systemd/system/hugetlb-gigantic-pages.service": unit,
        "usr/lib/systemd/hugetlb-reserve-pages.sh": script,
    }
    root = node(DEBIAN | files)
    link(root, "etc/systemd/system/sysinit.target.wants/hugetlb-gigantic-pages.service", "/gone")
    assert sentences(read(root), GIANT) == [
        "/usr/lib/systemd/hugetlb-reserve-pages.sh line 9 sets "
        "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages to what cannot be told from the line "
        "(run by hugetlb-gigantic-pages.service)"
    ]


def test_a_drop_in_adds_takes_back_and_is_masked_with_its_unit(node):
    root = node(
        DEBIAN
        | {
            "usr/lib/systemd/system/db.service": "[Service]\nExecStart=/usr/sbin/sysctl -w vm.nr_hugepages=1\n",
            "etc/systemd/system/db.service.d/10.conf": "[Service]\nExecStart=\nExecStart=sysctl vm.nr_hugepages=2\n",
        }
    )
    link(root, "etc/systemd/system/multi-user.target.wants/db.service", "/usr/lib/systemd/system/db.service")
    assert sentences(read(root), NR) == [
        "/usr/lib/systemd/system/db.service line 2 sets vm.nr_hugepages to 1 "
        "(overruled by /etc/systemd/system/db.service.d/10.conf line 2)",
        "/etc/systemd/system/db.service.d/10.conf line 3 sets vm.nr_hugepages to 2",
    ]
    link(root, "etc/systemd/system/db.service", "/dev/null")
    assert for_setting(read(root), NR, 2048) == []


def test_an_alias_or_a_timer_starts_a_unit_too(node):
    unit = {"usr/lib/systemd/system/thp.service": "[Service]\nExecStart=sysctl vm.nr_hugepages=1\n"}
    root = node(DEBIAN | unit)
    link(root, "etc/systemd/system/huge.service", "/usr/lib/systemd/system/thp.service")
    link(root, "etc/systemd/system/timers.target.wants/huge.timer", "/gone")
    assert sentences(read(root), NR, effective=True) == [
        "/usr/lib/systemd/system/thp.service line 2 sets vm.nr_hugepages to 1"
    ]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (f"echo never > /{THP}/enabled", [(f"{THP}/enabled", "never")]),
        (f'/bin/bash -c "echo \'never\' >/{THP}/enabled;echo \\"defer\\" >> /{THP}/defrag"',
         [(f"{THP}/enabled", "never"), (f"{THP}/defrag", "defer")]),
        (f"echo never | sudo tee -a /{THP}/enabled /{THP}/defrag >/dev/null",
         [(f"{THP}/enabled", "never"), (f"{THP}/defrag", "never")]),
        ("sysctl -q -w vm/nr_hugepages = 12 vm.swappiness=1", [(NR, "12")]),
        ("sysctl -w vm.nr_hugepages=$PAGES", [(NR, "")]),
        ("mount -t hugetlbfs -o pagesize=1G,mode=1770 none /mnt/huge", [("mnt/huge", "pagesize=1G,mode=1770")]),
        (f"for f in /{THP}/{{enabled,defrag}}; do echo never > $f; done",
         [(f"{THP}/defrag", ""), (f"{THP}/enabled", "")]),
        ("echo never > $base/transparent_hugepage/enabled", [(THP, "")]),
        (f"cat /{THP}/enabled", []),
        (f"if test -f /{THP}/enabled; then", []),
        ("/usr/bin/mongod --config /etc/mongod.conf", []),
    ],
)  # fmt: skip
def test_reads_a_line_of_shell(fake_root, line, found):
    assert list(shell.settings(line, KEYS, fake_root(KERNEL))) == found


RC_LOCAL = f"""\
#!/bin/sh -e
# echo always > /{THP}/enabled
if test -f /{THP}/enabled; then
   echo never > /{THP}/enabled
fi
exit 0
echo always > /{THP}/enabled
"""


def test_rc_local_counts_only_when_it_may_run(node):
    root = node(RHEL | {"etc/rc.d/rc.local": RC_LOCAL})
    found = [row for row in read(root) if row.kind == "rc.local"]
    assert [(row.file, row.line, row.effective, row.note) for row in found] == [
        ("/etc/rc.d/rc.local", 4, False, "it is not executable, so nothing runs it")
    ]
    (root / "etc/rc.d/rc.local").chmod(0o755)
    assert [(row.value, row.effective, row.note) for row in read(root) if row.kind == "rc.local"] == [
        ("never", True, "read as /etc/rc.local")
    ]


def test_mounts_of_fstab_and_units_are_named(node):
    fstab = "hugetlbfs /mnt/huge\\0401g hugetlbfs pagesize=1G,mode=1770 0 0\nnone /hugepages hugetlbfs noauto\n"
    fstab += "nodev /mnt/huge\\0401g hugetlbfs defaults\n# x /mnt/y hugetlbfs\n/dev/sda1 / ext4 defaults 0 1\n"
    dropin = {"etc/systemd/system/dev-hugepages.mount.d/size.conf": "[Mount]\nOptions=pagesize=1G\n"}
    assert sentences(read(node(DEBIAN | dropin | {"etc/fstab": fstab}))) == [
        "/etc/fstab line 1 mounts hugetlbfs on /mnt/huge 1g with pagesize=1G,mode=1770",
        "/etc/fstab line 2 mounts hugetlbfs on /hugepages with noauto (noauto: mounted only when asked)",
        "/etc/fstab line 3 mounts hugetlbfs on /mnt/huge 1g with defaults (overruled by /etc/fstab line 1)",
        "/etc/systemd/system/dev-hugepages.mount.d/size.conf line 2 mounts hugetlbfs on /dev/hugepages "
        "with pagesize=1G",
    ]


# what a setting is called, and what moves it


@pytest.mark.parametrize(
    ("setting", "default_kb", "path"),
    [
        ("vm.nr_hugepages", 2048, POOL),
        ("/proc/sys/vm/nr_hugepages", None, NR),
        ("vm.nr_hugepages_mempolicy", 1048576, GIANT),
        ("vm.nr_hugepages_mempolicy", None, NR),
        ("vm.nr_overcommit_hugepages", 2048, POOL.replace("nr_", "nr_overcommit_")),
        (f"/{THP}/enabled", 2048, f"{THP}/enabled"),
        ("default_hugepagesz", 2048, "default_hugepagesz"),
    ],
)
def test_a_setting_has_one_path(setting, default_kb, path):
    assert pool_setting(setting, default_kb) == path


def test_a_pool_is_moved_by_its_sysctl_and_its_numa_share(node):
    share = "sys/devices/system/node/node{}/hugepages/hugepages-2048kB/nr_hugepages"
    found = read(
        node(
            DEBIAN
            | {
                "etc/sysctl.d/30-db.conf": "vm.nr_hugepages=2048\n",
                "etc/tmpfiles.d/numa.conf": f"w /{share.format(0)} - - - - 64\nw /{share.format(1)} - - - - 32\n",
            }
        )
    )
    assert [row.value for row in for_setting(found, POOL, 2048)] == ["2048", "64", "32"]
    assert [row.value for row in for_setting(found, share.format(1), 2048)] == ["2048", "32"]
    assert for_setting(found, GIANT, 2048) == []


# files nobody should have written


def test_a_comment_in_latin_1_hides_nothing(node):
    root = node(DEBIAN)
    (root / "etc/sysctl.d/30-db.conf").write_bytes(b"# f\xfcr die Datenbank\x0c\nvm.nr_hugepages = 2\r\n")
    assert sentences(read(root), NR) == ["/etc/sysctl.d/30-db.conf line 2 sets vm.nr_hugepages to 2"]


def test_what_cannot_be_read_is_said(node):
    root = node(DEBIAN)
    (root / "etc/sysctl.d/10-folder.conf").mkdir()
    os.mkfifo(root / "etc/sysctl.d/20-pipe.conf")
    link(root, "etc/sysctl.d/30-loop.conf", "30-loop.conf")
    (root / "etc/sysctl.d/40-big.conf").write_bytes(b"#" * (source.LIMIT_BYTES + 1))
    found = read(root)
    assert sentences(unread(found)) == [
        "/etc/sysctl.d/10-folder.conf could not be read: it is not a regular file",
        "/etc/sysctl.d/20-pipe.conf could not be read: it is not a regular file",
        "/etc/sysctl.d/30-loop.conf could not be read: too many links",
        "/etc/sysctl.d/40-big.conf could not be read: it is larger than 4 MiB",
    ]
    assert for_setting(found, NR) == []


def test_an_empty_root_has_no_sources(tmp_path):
    assert read(tmp_path) == []


FILES = (
    "etc/sysctl.conf", "etc/sysctl.d/1.conf", "etc/tmpfiles.d/1.conf", "proc/cmdline", "etc/default/grub",
    "boot/loader/entries/1.conf", "etc/kernel/cmdline", "etc/tuned/active_profile", "etc/tuned/tuned-main.conf",
    "etc/tuned/p/tuned.conf", "etc/systemd/system/x.service", "etc/systemd/system/x.mount", "etc/rc.local",
    "etc/fstab", "proc/meminfo", "run/tuned/tuned.pid", "opt/x.sh",
)  # fmt: skip
WORDS = (
    *FILES, f"/{THP}/enabled", f"/{THP}/e[z-a]", "/sys/**/{a,b}*", "vm.nr_hugepages", "-vm.*", "=", ":", ";", "\\", '"',
    "'", "$", "${", "}", "[", "]", "[main]", "include=", "p", "[vm]", "uname_regex=(", "[script]", "script=",
    "hugepages=", "hugepagesz=", "9" * 20, "16K-64K", "thp_anon=", "w", "w+", "f+", "- - - -", "GRUB_CMDLINE_LINUX",
    "$GRUB_CMDLINE_LINUX", "ExecStart=", "/opt/x.sh", "#!sh", "[Mount]", "Where=", "Type=hugetlbfs", "hugetlbfs",
    "mount", "tee", ">", "echo", "options", "\n", "\n ", "\r", "\0", "\x0c", "\u2028", "²", " ",
)  # fmt: skip
TEXTS = st.one_of(
    st.binary(max_size=60), st.lists(st.sampled_from(WORDS), max_size=30).map(lambda w: "".join(w).encode())
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TEXTS, min_size=len(FILES), max_size=len(FILES)))
def test_no_text_makes_a_parser_raise(tmp_path, texts):
    for name, text in zip(FILES, texts, strict=True):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(text)
    (tmp_path / "etc/tuned/active_profile").write_bytes(b"p " + texts[7])
    for found in read(tmp_path):
        assert found.sentence.encode()
        assert found.line >= 0
        assert for_setting([found], found.setting, 2048) == ([found] if found.setting else [])
