"""Services and their levers: what is written, what is refused, what a running process still owes."""

import os

import pytest

from probe_agent.host import services, snapshot, units
from probe_agent.host.services import Wish, wishes
from probe_agent.host.units import State

JEMALLOC = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"
LIBRARIES = {"jemalloc": JEMALLOC}
FOLDER = "etc/systemd/system/vllm.service.d"
UNIT = {"etc/systemd/system/vllm.service": "[Service]\nExecStart=/bin/vllm\nEnvironment=HOME=/srv\n"}
LOADED = State("loaded", names=("vllm.service",))


def service(name="vllm", levers=("jemalloc",), **environment):
    return {"name": name, "levers": list(levers), "environment": environment}


def wish(*levers, **environment):
    return wishes([service(levers=levers, **environment)], LIBRARIES)[0]


def planned(root, *wanted, state=LOADED):
    units = {*(one.unit for one in wanted), *services.present(root)}
    return services.plan(list(wanted), dict.fromkeys(units, state), root)


def carried_out(root, *wanted, state=LOADED):
    plan = planned(root, *wanted, state=state)
    for change in plan.changes.values():
        services.write(change, root)
    return plan


def process_in(root, pid=812, started_s=100, **environment):
    folder = root / f"proc/{pid}"
    folder.mkdir(parents=True)
    (folder / "environ").write_bytes(
        b"".join(f"{name}={value}".encode() + b"\0" for name, value in environment.items())
    )
    ticks = started_s * os.sysconf("SC_CLK_TCK")
    (folder / "stat").write_text(f"{pid} (a (b) c) S 1 {' '.join(['0'] * 17)} {ticks} 0\n")
    (root / "proc/stat").write_text("cpu 1\nbtime 1000\n")
    return State("loaded", pid, ("vllm.service",))


# What may be wished for.


def test_levers_and_further_variables_become_one_environment():
    assert wish("jemalloc-thp", "jemalloc", "torch-thp", MALLOC_ARENA_MAX=4) == Wish(
        variable="jemalloc_services[0]",
        unit="vllm.service",
        levers=("jemalloc-thp", "jemalloc", "torch-thp"),
        environment={
            "LD_PRELOAD": JEMALLOC,
            "MALLOC_CONF": "thp:always,metadata_thp:auto",
            "THP_MEM_ALLOC_ENABLE": "1",
            "MALLOC_ARENA_MAX": "4",
        },
    )


def test_the_dropin_is_marked_and_says_each_variable():
    assert wish("jemalloc", NOTE='50% of "it"').file.text == (
        "# Managed by stethos: change the inventory, not this file\n"
        "[Service]\n"
        f'Environment="LD_PRELOAD={JEMALLOC}"\n'
        'Environment="NOTE=50%% of \\"it\\""\n'
    )


@pytest.mark.parametrize("name", ["vllm", "vllm.service", "vllm@0", r"dev-a\x2db", "v.llm:1"])
def test_takes_the_name_of_a_service(name):
    assert wishes([service(name)], LIBRARIES)[0].unit.endswith(".service")


@pytest.mark.parametrize(
    "name", ["", "../vllm", "a/b", "..", ".hidden", "/etc", "vllm;", "a b", "a\nb", "a@b@c", "x" * 250]
)
def test_refuses_a_name_that_leads_elsewhere(name):
    with pytest.raises(ValueError, match=r"jemalloc_services\[0\] has name .*, and must have the name of a service"):
        wishes([service(name)], LIBRARIES)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            [service(levers=["jemaloc"])],
            "has lever jemaloc, and must have levers of jemalloc, jemalloc-thp, tcmalloc, ",
        ),
        ([service(levers=["glibc"])], "has lever glibc, and must have levers of"),
        ([service(levers=["tcmalloc"])], "this node has no tcmalloc library: install its package first"),
        (
            [service(levers=["glibc-thp", "glibc-hugetlb"])],
            "lever glibc-thp, which sets GLIBC_TUNABLES to glibc.malloc.hugetlb=1, and lever glibc-hugetlb, "
            "which sets it to glibc.malloc.hugetlb=2; choose one",
        ),
        ([service(levers=["jemalloc-thp"], MALLOC_CONF="thp:never")], "and environment, which sets it to thp:never"),
        (
            [service(levers=["jemalloc", "glibc-thp"])],
            r"libjemalloc.so.2 in LD_PRELOAD, which makes glibc.malloc.hugetlb=1 in GLIBC_TUNABLES inert; choose one",
        ),
        ([service(levers=["glibc-thp"], LD_PRELOAD="libtcmalloc.so.4")], "libtcmalloc.so.4 in LD_PRELOAD, which makes"),
        (
            [service("vllm"), service("vllm.service")],
            r"\[1\] names vllm.service, which jemalloc_services\[0\] has named",
        ),
        ([service("vllm@")], "a template, and must name what runs of it, such as vllm@0"),
        ([service(levers=[])], "has neither levers nor environment"),
        ([service(A="two\nlines")], "has A in its environment with a newline"),
        ([service(A=True)], "has A=True in its environment, and must have a text in quotes"),
        ([{"name": "vllm", "levers": [], "environment": {"a b": 1}}], "has 'a b' in its environment, which is no name"),
    ],
)
def test_refuses_in_a_sentence(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        wishes(wrong, LIBRARIES)


def test_a_lever_without_its_library_is_refused_and_the_variable_that_brings_it_is_named():
    with pytest.raises(
        ValueError, match="has lever jemalloc, and this node has no jemalloc library: jemalloc_install: true"
    ):
        wishes([service()], {})


# What stands in the way on the node.


@pytest.mark.parametrize(
    ("load", "sentence"),
    [
        ("not-found", "there is no such unit"),
        ("masked", "that unit is masked"),
        ("bad-setting", "systemd says bad-setting"),
    ],
)
def test_refuses_a_unit_that_cannot_be_started(tmp_path, load, sentence):
    with pytest.raises(ValueError, match=rf"jemalloc_services\[0\] names vllm.service: {sentence}"):
        planned(tmp_path, wish("jemalloc"), state=State(load))


@pytest.mark.parametrize(
    ("path", "text", "sentence"),
    [
        (
            f"{FOLDER}/10-site.conf",
            "[Service]\n\nEnvironment=LD_PRELOAD=/site.so\n",
            f"gives vllm.service LD_PRELOAD={JEMALLOC}, but /{FOLDER}/10-site.conf line 3 sets LD_PRELOAD to /site.so "
            r"\(of a unit's drop-ins the last file name wins, here stethos.conf\): change that, or the inventory",
        ),
        (f"{FOLDER}/zz.conf", "[Service]\nEnvironment=LD_PRELOAD=\n", "sets LD_PRELOAD to  .*here zz.conf"),
        (f"{FOLDER}/zz.conf", "[Service]\nEnvironment=\n", "zz.conf line 2 takes every variable away .*here zz.conf"),
        (
            f"{FOLDER}/a.conf",
            "[Service]\nUnsetEnvironment=LD_PRELOAD\n",
            "a.conf line 2 takes LD_PRELOAD away .UnsetEnvironment wins",
        ),
        (
            "usr/lib/systemd/system/vllm.service.d/a.conf",
            "[Service]\nEnvironmentFile=/etc/vllm\n",
            "/etc/vllm line 1 sets LD_PRELOAD to /other.so .an EnvironmentFile wins over every Environment",
        ),
    ],
)
def test_refuses_to_fight_with_another_file(fake_root, path, text, sentence):
    root = fake_root({**UNIT, path: text, "etc/vllm": "LD_PRELOAD=/other.so\n"})
    with pytest.raises(ValueError, match=sentence):
        planned(root, wish("jemalloc"))


def test_another_file_that_says_the_same_or_speaks_of_other_variables_is_no_conflict(fake_root):
    root = fake_root({**UNIT, f"{FOLDER}/zz.conf": f"[Service]\nEnvironment=LD_PRELOAD={JEMALLOC} LANG=C\n"})
    assert planned(root, wish("jemalloc")).changes


def test_a_tunable_is_refused_where_another_file_preloads_an_allocator(fake_root):
    root = fake_root({**UNIT, f"{FOLDER}/a.conf": f"[Service]\nEnvironment=LD_PRELOAD={JEMALLOC}\n"})
    with pytest.raises(
        ValueError, match=rf"inert, as /{FOLDER}/a.conf line 2 sets LD_PRELOAD to {JEMALLOC}: change that"
    ):
        planned(root, wish("glibc-thp"))


def test_two_names_of_one_unit_are_refused(fake_root):
    both = wishes([service("ssh"), service("sshd")], LIBRARIES)
    state = State("loaded", names=("ssh.service", "sshd.service"))
    with pytest.raises(
        ValueError, match=r"\[1\] names sshd.service, which is ssh.service of jemalloc_services\[0\] by ano"
    ):
        planned(fake_root(UNIT), *both, state=state)


def test_a_file_of_our_name_that_is_not_ours_is_refused_and_never_removed(fake_root):
    root = fake_root({**UNIT, f"{FOLDER}/stethos.conf": "[Service]\n"})
    with pytest.raises(ValueError, match=f"/{FOLDER}/stethos.conf is there and was not written by this tool"):
        planned(root, wish("jemalloc"))
    assert planned(root).changes == {}


# What is written and removed.


def test_a_second_plan_owes_nothing(fake_root):
    root = fake_root(UNIT)
    plan = carried_out(root, wish("jemalloc"))
    assert list(plan.changes) == ["vllm.service"]
    assert plan.reload
    known = State("loaded", 0, (), {"LD_PRELOAD": JEMALLOC}, (f"/{FOLDER}/stethos.conf",))
    assert planned(root, wish("jemalloc"), state=known) == services.Plan(
        {}, False, {}, {"vllm.service": {"LD_PRELOAD": JEMALLOC}}
    )


def test_a_dropin_that_systemd_has_not_read_yet_is_owed_a_reload(fake_root):
    root = fake_root(UNIT)
    carried_out(root, wish("jemalloc"))
    plan = planned(root, wish("jemalloc"))
    assert (plan.changes, plan.reload) == ({}, True)
    assert services.unknown(wish("jemalloc"), LOADED) == f"systemd does not read /{FOLDER}/stethos.conf"


def test_a_service_that_is_no_longer_named_loses_its_dropin_and_the_empty_folder(fake_root):
    root = fake_root(UNIT)
    carried_out(root, wish("jemalloc"))
    assert [(entry.kind, entry.path) for entry in snapshot.read(root)] == [("file", f"{FOLDER}/stethos.conf")]
    plan = carried_out(root)
    assert plan.changes["vllm.service"].after is None
    assert not (root / FOLDER).exists()
    assert snapshot.read(root) == []


def test_a_folder_that_others_use_stays(fake_root):
    root = fake_root({**UNIT, f"{FOLDER}/10-site.conf": "[Service]\n"})
    carried_out(root, wish("jemalloc"))
    carried_out(root)
    assert [file.name for file in (root / FOLDER).iterdir()] == ["10-site.conf"]
    assert snapshot.read(root) == []


# What the running process shows.


def test_a_process_without_the_variables_owes_a_restart(fake_root):
    root = fake_root(UNIT)
    state = process_in(root, LD_PRELOAD=JEMALLOC)
    assert planned(root, wish("jemalloc", A="1", B="2"), state=state).restarts == {
        "vllm.service": "vllm.service runs as process 812 without A, B: a restart is owed"
    }
    assert planned(root, wish("jemalloc"), state=state).restarts == {}


def test_a_service_that_does_not_run_owes_nothing(fake_root):
    assert planned(fake_root(UNIT), wish("jemalloc")).restarts == {}
    assert planned(fake_root(UNIT), wish("jemalloc"), state=State("loaded", 999)).restarts == {}


def test_what_was_taken_away_is_owed_until_the_process_is_younger_than_the_dropin(fake_root):
    root = fake_root(UNIT)
    carried_out(root, wish("jemalloc-thp", A="1"))
    old = process_in(root, LD_PRELOAD=JEMALLOC, MALLOC_CONF="thp:always,metadata_thp:auto", A="1", LANG="C")
    owed = "vllm.service runs as process 812 still with A, MALLOC_CONF: a restart is owed"
    (root / JEMALLOC.lstrip("/")).parent.mkdir(parents=True)
    assert carried_out(root, wish("jemalloc"), state=old).restarts == {"vllm.service": owed}
    again = planned(root, wish("jemalloc"), state=old).restarts
    assert again == {"vllm.service": "vllm.service runs as process 812 still with MALLOC_CONF: a restart is owed"}
    os.utime(root / FOLDER / "stethos.conf", (1050, 1050))  # the process started at 1100
    assert planned(root, wish("jemalloc"), state=old).restarts == {}


def test_a_service_whose_dropin_goes_is_owed_a_restart(fake_root):
    root = fake_root(UNIT)
    carried_out(root, wish("jemalloc"))
    assert planned(root, state=process_in(root, LD_PRELOAD=JEMALLOC)).restarts == {
        "vllm.service": "vllm.service runs as process 812 still with LD_PRELOAD: a restart is owed"
    }


def test_a_restarted_process_proves_its_variables_and_its_library(fake_root):
    root = fake_root({})
    environment = {"LD_PRELOAD": "/lib/libjemalloc.so.2", "A": "1"}
    assert "does not run after its restart" in services.unproven("vllm.service", environment, 0, root)
    process_in(root, 1, LD_PRELOAD="/lib/libjemalloc.so.2")
    assert "runs as process 1 without A" in services.unproven("vllm.service", environment, 1, root)
    process_in(root, 2, **environment)
    (root / "proc/2/maps").write_text("7f00-7f01 r-xp 0 fe:00 1 /lib/libc.so.6\n")
    assert "did not load /lib/libjemalloc.so.2" in services.unproven("vllm.service", environment, 2, root)
    real = root.resolve() / "lib/libjemalloc.so.2"
    (root / "proc/2/maps").write_text(f"7f00-7f01 r-xp 0 fe:00 1 {real}\n")
    assert services.unproven("vllm.service", environment, 2, root) == ""


def test_a_lever_without_effect_is_named_unless_the_process_shows_its_use(fake_root):
    root = fake_root({"proc/meminfo": "HugePages_Free: 0\n"})
    pool = wish("glibc-hugetlb")
    assert services.idle(pool, 0, root) == [
        "vllm.service gets nothing from lever glibc-hugetlb: no free page in the pool of the default hugepage size"
    ]
    amounts = "".join(f"{name}: 0 kB\n" for name in ("VmRSS", "VmHWM", "VmSize", "Pss", "AnonHugePages"))
    process_in(root)
    for name in ("status", "smaps_rollup"):
        (root / f"proc/812/{name}").write_text(f"{amounts}Private_Hugetlb: 4096 kB\n")
    for name in ("maps", "smaps"):
        (root / f"proc/812/{name}").write_text("")
    assert services.idle(pool, 812, root) == []


def test_without_systemd_the_reason_is_said(fake_root):
    assert (
        services.missing(fake_root({}))
        == "systemd does not run on this node, so no service can be given an environment"
    )
    assert services.missing(fake_root({"run/systemd/system/x": ""})) == ""
    assert units.given("vllm.service", services.path("vllm.service"), (), fake_root({})) == []
