"""When a file was written and whose it is, by the words of dpkg and rpm."""

import os
from datetime import UTC, datetime

from probe_agent.host import allocators, origins, services, state
from probe_agent.host.files import MARK
from probe_agent.settings import name_of, values

DPKG = """diversion by dash from: /usr/bin/sh
libjemalloc2:amd64: /usr/lib/x86_64-linux-gnu/libjemalloc.so.2
base-files, procps: /etc/sysctl.d
procps: /etc/sysctl.conf
"""


def tool(answers):
    return lambda command: next((said for words, said in answers.items() if words in " ".join(command)), "")


def test_dpkg_names_package_and_version():
    run = tool({"--search": DPKG, "--show": "libjemalloc2:amd64 5.3.0-1\nbase-files 12\nprocps 2:4.0.2-3\n"})
    assert origins.owners(["/etc/sysctl.conf", "/etc/x.conf"], run) == {
        "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2": "libjemalloc2:amd64 5.3.0-1",
        "/etc/sysctl.d": "base-files 12",
        "/etc/sysctl.conf": "procps 2:4.0.2-3",
    }


def test_rpm_names_package_and_version_and_says_what_nobody_owns():
    run = tool({"/etc/sysctl.conf": "procps-ng 3.3.17-14.el9\n", "/x": "file /x is not owned by any package\n"})
    assert origins.owners(["/etc/sysctl.conf", "/x", "/y"], run) == {"/etc/sysctl.conf": "procps-ng 3.3.17-14.el9"}


def test_files_that_are_not_there_are_left_out(fake_root):
    root = fake_root({"etc/sysctl.d/a.conf": "x"})
    os.utime(root / "etc/sysctl.d/a.conf", (0, 0))
    found = origins.read(["/etc/sysctl.d/a.conf", "/etc/gone", "/etc/sysctl.d/a.conf", "/\0"], root, tool({}))
    assert found == {"/etc/sysctl.d/a.conf": origins.Origin(datetime.fromtimestamp(0, UTC).isoformat())}
    assert origins.read([], root, lambda command: 1 / 0) == {}


def test_without_a_package_tool_nobody_owns_anything(monkeypatch, tmp_path):
    (tmp_path / "a").write_text("")
    monkeypatch.setattr(origins.subprocess, "run", lambda *_, **__: (_ for _ in ()).throw(FileNotFoundError()))
    assert origins.read(["/a"], tmp_path)["/a"].package == ""


def test_every_setting_has_the_name_of_its_file(fake_root):
    thp, pools = "sys/kernel/mm/transparent_hugepage", "hugepages/hugepages-2048kB"
    root = fake_root(
        {
            f"{thp}/enabled": "always [madvise] never\n",
            f"{thp}/khugepaged/defrag": "1\n",
            f"{thp}/hugepages-64kB/enabled": "[never] always\n",
            f"sys/kernel/mm/{pools}/nr_hugepages": "9\n",
            f"sys/kernel/mm/{pools}/free_hugepages": "0\n",
            f"sys/kernel/mm/{pools}/surplus_hugepages": "2\n",
            f"sys/kernel/mm/{pools}/nr_overcommit_hugepages": "4\n",
            f"sys/devices/system/node/node1/{pools}/nr_hugepages": "7\n",
            f"sys/devices/system/node/node1/{pools}/free_hugepages": "0\n",
            f"sys/devices/system/node/node1/{pools}/surplus_hugepages": "0\n",
            "proc/meminfo": "MemTotal: 8 kB\nMemAvailable: 8 kB\nHugepagesize: 2048 kB\n",
            "proc/self/mountinfo": "30 1 0:9 / /mnt/huge rw - hugetlbfs none rw,pagesize=2M\n",
            "proc/sys/vm/min_free_kbytes": "67584\n",
            "etc/sysctl.d/30-db.conf": "vm.nr_hugepages = 9\n",
        }
    )
    read = state.read(root)
    files = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    named = {name_of(path) for path in [*files, "mnt/huge"]}
    settings = values(read)
    assert set(settings) - named == {"default huge page (kB)"}
    assert settings["Pool of 2 MiB pages"] == "7 pages"  # two are a process's
    assert settings["Pool of 2 MiB pages, overcommit"] == "4 pages"
    assert [found["file"] for found in read["sources"]] == ["/etc/sysctl.d/30-db.conf"]


def test_contents_of_libraries_and_of_the_drop_ins_beside_ours(fake_root):
    own, system = "etc/systemd/system", "usr/lib/systemd/system"
    root = fake_root(
        {
            "usr/lib64/libjemalloc.so.2": "elf",
            f"{own}/vllm.service.d/stethos.conf": f"{MARK}\n",
            f"{own}/vllm.service.d/README": "no unit file",
            f"{system}/vllm.service.d/10-vendor.conf": "[Service]\nEnvironment=TOKEN=secret\n",
            f"{own}/db.service.d/other.conf": "[Service]\n",
        }
    )
    found = allocators.find(root, "x86_64")
    hashes = allocators.contents({**found, "gone": "/usr/lib/gone.so"}, root)
    assert list(hashes) == ["jemalloc"]
    dropins = services.contents(root)
    assert set(dropins) == {f"/{own}/vllm.service.d/stethos.conf", f"/{system}/vllm.service.d/10-vendor.conf"}
    assert "secret" not in str(dropins)
    (root / "usr/lib64/libjemalloc.so.2").write_text("elf2")
    assert allocators.contents(found, root) != hashes
