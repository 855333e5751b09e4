"""A real service on a node with systemd: its drop-in, the restart that is owed, its process, and the way back."""

import pytest

UNIT = "stethos-test.service"
FOLDER = f"/etc/systemd/system/{UNIT}.d"
NOTE = """5% of "it", isn't it? \\n $HOME"""
LEVERS = {"name": "stethos-test", "levers": ["jemalloc-thp", "torch-thp"], "environment": {"NOTE": NOTE}}
FILE = """\
[Unit]
Description=Stands in for a model server
[Service]
ExecStart=/bin/sleep infinity
Environment=KEPT=1
"""


@pytest.fixture(scope="module")
def node(machines):
    machine = machines[0]
    machine.run(f"printf '%s' '{FILE}' >/etc/systemd/system/{UNIT}; systemctl daemon-reload; systemctl start {UNIT}")
    yield machine
    machine.run(f"systemctl stop {UNIT}; rm -rf /etc/systemd/system/{UNIT} {FOLDER}; systemctl daemon-reload")
    machine.run("rm -rf /var/lib/stethos")


@pytest.fixture(scope="module")
def tune(playbook, tmp_path_factory):
    """Run the jemalloc role and its preflight on a node. Returns exit code, changed tasks and the output on a line."""
    reports = str(tmp_path_factory.mktemp("reports"))

    def run(services, *arguments, host="node1", **variables):
        words = ("--limit", host, "--tags", "preflight,jemalloc", *arguments)
        variables = {"reports_dir": reports, "jemalloc_install": True, "jemalloc_services": services, **variables}
        done = playbook("playbooks/tune.yml", *words, **variables)
        return done.code, done.recap[host]["changed"], " ".join(done.output.split())

    return run


def pid_of(node):
    return int(node.run(f"systemctl show -P MainPID {UNIT}").stdout)


def environ_of(node):
    text = node.run(f"tr '\\0' '\\n' </proc/{pid_of(node)}/environ").stdout
    return dict(line.split("=", 1) for line in text.splitlines())


def test_check_mode_shows_the_dropin_on_a_node_that_has_no_library_yet(node, tune):
    code, changed, output = tune([LEVERS], "--check", "--diff")
    assert code == 0, output
    assert changed >= 1
    assert 'Environment="MALLOC_CONF=thp:always,metadata_thp:auto"' in output
    assert node.run(f"ls {FOLDER}", check=False).returncode != 0


def test_the_dropin_is_there_and_the_restart_is_owed_not_made(node, tune):
    before = pid_of(node)
    code, changed, output = tune([LEVERS])
    assert (code, changed > 0) == (0, True), output
    owed = f"{UNIT} runs as process {before} without LD_PRELOAD, MALLOC_CONF, THP_MEM_ALLOC_ENABLE, NOTE"
    assert f"{owed}: a restart is owed" in output
    assert pid_of(node) == before
    assert "LD_PRELOAD" not in environ_of(node)
    assert node.run(f"head -1 {FOLDER}/stethos.conf").stdout.startswith("# Managed by stethos")


def test_an_allowed_restart_gives_the_process_its_levers(node, tune):
    code, changed, output = tune([LEVERS], tuning_restart_allowed=True)
    assert (code, changed) == (0, 1), output
    assert "a restart is owed" not in output
    assert "libjemalloc.so.2" in node.run(f"cat /proc/{pid_of(node)}/maps").stdout
    found = environ_of(node)
    wanted = {"MALLOC_CONF": "thp:always,metadata_thp:auto", "THP_MEM_ALLOC_ENABLE": "1", "NOTE": NOTE, "KEPT": "1"}
    assert {name: found[name] for name in wanted} == wanted


def test_a_second_run_changes_and_restarts_nothing(node, tune):
    before = pid_of(node)
    code, changed, output = tune([LEVERS], tuning_restart_allowed=True)
    assert (code, changed) == (0, 0), output
    assert pid_of(node) == before


def test_somebody_elses_dropin_is_named_and_nothing_changes(node, tune):
    node.run(f"printf '[Service]\\nEnvironment=MALLOC_CONF=narenas:2\\n' >{FOLDER}/zz-site.conf")
    try:
        code, changed, output = tune([LEVERS])
        assert (code, changed) == (2, 0), output
        assert f"but {FOLDER}/zz-site.conf line 2 sets MALLOC_CONF to narenas:2" in output
        assert "here zz-site.conf): change that, or the inventory" in output
    finally:
        node.run(f"rm {FOLDER}/zz-site.conf; systemctl daemon-reload")


def test_a_unit_that_does_not_exist_is_refused(tune):
    code, changed, output = tune([{"name": "no-such"}])
    assert (code, changed) == (2, 0), output
    assert "jemalloc_services[0] names no-such.service: there is no such unit on this node" in output


def test_a_service_that_is_no_longer_named_loses_its_dropin_and_its_process_what_came_of_it(node, tune):
    before = pid_of(node)
    code, changed, output = tune([])
    assert (code, changed) == (0, 1), output
    assert f"{UNIT} runs as process {before} still with LD_PRELOAD, MALLOC_CONF, NOTE, THP_MEM_ALLOC_ENABLE" in output
    assert node.run(f"ls {FOLDER}", check=False).returncode != 0
    assert node.run(f"systemctl show -P Environment {UNIT}").stdout == "KEPT=1\n"

    tune([LEVERS])
    assert tune([], tuning_restart_allowed=True)[:2] == (0, 1)
    assert pid_of(node) != before
    assert "LD_PRELOAD" not in environ_of(node)


def test_a_package_that_cannot_be_had_is_refused_in_a_sentence(machines, tune):
    node = machines[1]
    node.run("mkdir /root/apt; mv /etc/apt/sources.list* /root/apt")
    try:
        code, changed, output = tune([], host="node2")
        assert (code, changed) == (2, 0), output
        assert "jemalloc_install is true, and libjemalloc2 cannot be installed (" in output
        assert "on the RHEL family the package jemalloc comes from EPEL, which must be enabled" in output
    finally:
        node.run("mv /root/apt/* /etc/apt; rmdir /root/apt")
