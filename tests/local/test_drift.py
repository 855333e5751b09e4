"""Drift on this machine: each thing that somebody changes is found and named, and nothing else is."""

import json
import os
import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from slowed import READ_COLD, expect_disk, loosen, reading_at_most
from support import machine_state

from probe_agent.host import allocators, files, hugepages, knobs, thp
from reports.__main__ import main

PAGES = 8
DISTURBED = ("the node was busy", "the hypervisor took")
COMPUTED = "glibc_gen_warm_latency_s"
FOREIGN = Path("/etc/sysctl.d/98-stethos-test-foreign.conf")
DROPIN = Path("/etc/systemd/system/stethos-test-drift.service.d/stethos.conf")


@contextmanager
def file_of(path, text):
    """Put a file there, instead of the one that is, for the length of a block."""
    kept = path.read_bytes() if path.exists() else None
    path.write_text(text)
    try:
        yield
    finally:
        if kept is None:
            path.unlink()
        else:
            path.write_bytes(kept)


@contextmanager
def value_of(path, value):
    """Have another process write to the kernel."""
    before = knobs.read(path).value
    subprocess.run(["sh", "-c", f"echo {value} > /{path}"], check=True)
    try:
        yield
    finally:
        Path("/", path).write_text(before)


@contextmanager
def mounted(folder):
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "hugetlbfs", "-o", "pagesize=2M", "none", folder], check=True)
    try:
        yield
    finally:
        if os.path.ismount(folder):
            subprocess.run(["umount", folder], check=True)


@contextmanager
def unmounted(folder):
    subprocess.run(["umount", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-t", "hugetlbfs", "-o", "pagesize=2M", "none", folder], check=True)


@contextmanager
def other_library(path):
    """Replace a library by one that works as well, but is another file."""
    kept = path.with_name(f".{path.name}.kept")
    shutil.copy2(path, kept)
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(path.read_bytes() + b"\0")
    fresh.chmod(0o644)
    fresh.replace(path)
    try:
        yield
    finally:
        kept.replace(path)


@pytest.fixture(scope="module")
def pool():
    return next(each.path for each in hugepages.read() if each.size_kb == 2048 and each.numa_node is None)


@pytest.fixture(scope="module")
def folder(node_python, playbook, pool, tmp_path_factory):
    """A folder with the runs of this machine, certified with a pool, a mount and a service's drop-in."""
    if os.geteuid() != 0:
        pytest.skip("changes this machine's memory settings, which needs root")
    before, scratch = machine_state(), tmp_path_factory.mktemp("drift")
    with ExitStack() as changes:
        changes.callback(lambda: shutil.rmtree(DROPIN.parent))
        DROPIN.parent.mkdir(parents=True)
        changes.enter_context(file_of(DROPIN, f"{files.MARK}\n[Service]\nEnvironment=A=1\n"))
        changes.enter_context(value_of(pool, PAGES))
        changes.enter_context(mounted(scratch / "huge"))
        done = playbook("playbooks/drift.yml", reports_dir=str(scratch / "runs"), probe_state=str(scratch / "state"))
        assert done.code == 1, done.output
        assert "nothing was certified of this node" in done.output
        assert main(["certify", str((scratch / "runs/latest").resolve())]) == 0
        loosen(scratch / "runs/certified/local.json")
        yield scratch
    assert machine_state() == before


@pytest.fixture
def drift(playbook, folder):
    """Return a function that runs drift.yml and returns its exit status, the verdict on this machine and the output."""

    def run(**variables):
        at = {"reports_dir": str(folder / "runs"), "probe_state": str(folder / "state")}
        done = playbook("playbooks/drift.yml", **{**at, **variables})
        judged = json.loads((folder / "runs/latest/drift.json").read_text())["hosts"]["local"]
        return done.code, judged, done.output

    return run


def drifted(judged):
    return {each["what"]: each for each in judged["findings"] if each["word"] == "drifted"}


def test_an_unchanged_node_did_not_drift_and_is_left_as_it_is(drift, folder):
    before = machine_state()
    code, judged, output = drift()
    assert (code, judged["findings"]) == (0, []), output
    assert READ_COLD in judged["figures"]
    assert machine_state() == before
    assert "nothing drifted" in (folder / "runs/latest/hosts/local/index.html").read_text()
    assert {path.name for path in (folder / "state").iterdir()} <= {"agent.lock", "probe", "server-caches"}


def test_each_change_is_named_with_who_made_it_and_nothing_else_is(drift, folder, pool, tmp_path):
    """All at once, and with nothing measured, for the probe is not installed where this run looks for it."""
    knob = thp.read().general["enabled"]
    other = next(value for value in knob.choices if value not in (knob.value, "never"))
    library = Path(allocators.find()["jemalloc"])
    changes = {
        "THP enabled": value_of(knob.path, other),
        "Pool of 2 MiB pages": value_of(pool, PAGES // 2),
        "Pool of 2 MiB pages, overcommit": file_of(FOREIGN, "# somebody's\nvm.nr_overcommit_hugepages = 4\n"),
        f"hugetlbfs at {folder / 'huge'}": unmounted(folder / "huge"),
        "jemalloc library": other_library(library),
        f"drop-in {DROPIN}, content": file_of(DROPIN, f"{files.MARK}\n[Service]\nEnvironment=A=2\n"),
    }
    with ExitStack() as injected:
        for change in changes.values():
            injected.enter_context(change)
        code, judged, output = drift(probe_home=str(tmp_path / "nothing"))
    found = drifted(judged)
    assert (code, set(found)) == (2, set(changes)), output
    assert f"the agent is not in {tmp_path}" in output
    assert judged["measured"] is None  # an earlier run's result still lay on the node
    assert (found["THP enabled"]["certified"], found["THP enabled"]["now"]) == (knob.value, other)
    assert "the kernel's file was last written" in found["THP enabled"]["sentence"]
    (setter,) = found["Pool of 2 MiB pages, overcommit"]["set_by"]
    assert (setter["file"], setter["line"], setter["package"]) == (str(FOREIGN), 2, "")
    assert setter["modified"]
    (setter,) = found["jemalloc library"]["set_by"]
    assert (setter["file"], setter["package"].startswith("libjemalloc2")) == (str(library), True)
    assert all(each["since"] and each["until"] for each in found.values())


def test_what_the_inventory_wants_and_the_node_has_not(drift, tmp_path):
    knob = thp.read().general["enabled"]
    wanted = next(value for value in knob.choices if value not in (knob.value, "never"))
    code, judged, output = drift(
        probe_home=str(tmp_path), tuning_keep=True, tuning_persist=False, thp_enabled=wanted, thp_defrag="madvise",
        hugepages_pools=[], hugetlbfs_mounts=[],
    )  # fmt: skip
    found = drifted(judged)
    assert (code, set(found)) == (2, {"THP enabled"}), output
    assert (found["THP enabled"]["wanted"], found["THP enabled"]["now"]) == (wanted, knob.value)


@pytest.mark.parametrize(
    ("part", "value", "sentence"),
    [("host", "other", "it is of other, another node"), ("schema_version", 7, "its schema version is 7")],
)
def test_a_certificate_that_is_not_this_nodes_is_refused(drift, folder, tmp_path, part, value, sentence):
    path = folder / "runs/certified/local.json"
    document = json.loads(path.read_text())
    with file_of(path, json.dumps({**document, part: value})):
        code, judged, output = drift(probe_home=str(tmp_path))
    assert code == 1
    assert sentence in output
    assert not drifted(judged)


def test_a_slowed_disk_and_a_cpu_slower_than_the_certified_are_found(drift, folder):
    """Each by its own figure; not as drift where others slow this machine meanwhile, for then the node may be well.

    The disk is throttled. This machine's own speed varies by half, so it is the certificate that has a faster CPU.
    """
    path = folder / "runs/certified/local.json"
    document = json.loads(path.read_text())
    earlier = [json.loads(run.read_text())["hosts"]["local"] for run in (folder / "runs").glob("2*/drift.json")]
    values = [judged["figures"][COMPUTED]["value"] for judged in earlier if COMPUTED in judged["figures"]]
    document["limits"][COMPUTED]["limit"] = min(values) / 2
    slow = expect_disk(document)
    with file_of(path, json.dumps(document)), reading_at_most(slow):
        code, judged, output = drift()
    said = {each["what"]: each["sentence"] for each in judged["findings"]}
    assert {READ_COLD, COMPUTED} <= set(said), output
    assert all(what == COMPUTED or "cold" in what for what in said), output
    assert {each["kind"] for each in judged["findings"]} == {"performance"}, output
    disturbed = {what for what, sentence in said.items() if any(why in sentence for why in DISTURBED)}
    assert set(drifted(judged)) == set(said) - disturbed, output
    assert code == (2 if drifted(judged) else 1), output


@pytest.mark.usefixtures("machine")
def test_a_rerun_that_tunes_shows_what_drifted_and_puts_it_right(playbook, folder):
    """The last one here: it certifies the node anew."""
    knob = thp.read().general["enabled"]
    other = next(value for value in knob.choices if value not in (knob.value, "never"))
    with value_of(knob.path, other):
        done = playbook(
            "tune_and_probe.yml",
            reports_dir=str(folder / "runs"),
            probe_state=str(folder / "state"),
            probe_profile="quick",
            probe_probes=["load"],
            tuning_keep=True,
            tuning_persist=False,
            thp_enabled=knob.value,
            hugepages_pools=[],
            hugetlbfs_mounts=[],
            jemalloc_install=False,
        )
        assert thp.read().general["enabled"].value == knob.value
    assert done.code == 0, done.output
    judged = json.loads((folder / "runs/latest/drift.json").read_text())["hosts"]["local"]
    found = drifted(judged)
    assert (judged["code"], judged["measured"], set(found)) == (2, "baseline.json", {"THP enabled"}), done.output
    assert (found["THP enabled"]["now"], found["THP enabled"]["after"]) == (other, knob.value)
    assert "after tuning: " + knob.value in (folder / "runs/latest/index.html").read_text()
