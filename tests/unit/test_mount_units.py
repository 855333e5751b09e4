"""A mount unit is enabled because it is not, whatever became of the run that wrote it."""

import importlib.util
import sys
import types

import pytest
from support import ROOT

import probe_agent

MOUNTED = "30 22 0:26 / /mnt/huge rw - hugetlbfs none rw,pagesize=2M\n"
UNIT = "mnt-huge.mount"


class Done(Exception):
    """The module has answered."""


class Module:
    """What the module sees of Ansible, on a node whose systemctl keeps its links in `units`."""

    def __init__(self, units, check_mode):
        self.params = {"mounts": [{"path": "/mnt/huge"}], "persist": True}
        self.units, self.check_mode, self.calls = units, check_mode, []

    def run_command(self, command):
        if command[0] == "systemd-escape":
            return 0, f"{UNIT}\n", ""
        self.calls.append(command[1])
        if command[1] == "enable":
            (self.units / "local-fs.target.wants").mkdir()
            (self.units / "local-fs.target.wants" / command[-1]).symlink_to(self.units / command[-1])
        return 0, "", ""

    def exit_json(self, **result):
        raise Done(result)

    def fail_json(self, msg, **result):
        raise AssertionError(msg)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Return a function that runs the module where the mount and its unit are there: its answer, and what it did."""
    package = types.ModuleType("ansible.module_utils.probe_agent")
    package.__path__ = probe_agent.__path__
    monkeypatch.setitem(sys.modules, package.__name__, package)
    spec = importlib.util.spec_from_file_location("library_hugetlbfs", ROOT / "library/hugetlbfs.py")
    library = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(library)
    hugetlbfs = library.hugetlbfs
    monkeypatch.setattr(hugetlbfs, "UNITS", str(tmp_path))
    monkeypatch.setattr(library.lock, "to_tune", lambda: None)
    monkeypatch.setattr(library.persist, "missing", lambda: "")
    monkeypatch.setattr(library.meminfo, "default_page_kb", lambda: 2048)
    monkeypatch.setattr(library.mounts, "read", lambda: library.mounts.parse(MOUNTED))
    monkeypatch.setattr(library.snapshot, "record", lambda *entry: None)
    (tmp_path / UNIT).write_text(hugetlbfs.unit_file(hugetlbfs.MountWish("/mnt/huge"), UNIT, 2048).text)

    def answer(check_mode=False):
        module = Module(tmp_path, check_mode)
        monkeypatch.setattr(library, "AnsibleModule", lambda **_: module)
        with pytest.raises(Done) as done:
            library.main()
        return done.value.args[0], module.calls

    return answer


def test_a_unit_that_is_not_enabled_is_owed_and_lasts_no_reboot(run):
    result, calls = run(check_mode=True)
    assert result["changed"]
    assert not result["settings"][0]["persisted"]
    assert result["diff"]["after"] == f"{UNIT} enabled\n"
    assert calls == []


def test_it_is_enabled_once(run):
    result, calls = run()
    assert result["changed"]
    assert result["settings"][0]["persisted"]
    assert calls == ["daemon-reload", "enable"]
    result, calls = run()
    assert not result["changed"]
    assert calls == []
