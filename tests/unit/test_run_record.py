"""What the callback writes of a host that a run, by its tags, was not to measure."""

from types import SimpleNamespace

import pytest
from ansible import context
from ansible.inventory.manager import InventoryManager
from ansible.module_utils.common.collections import ImmutableDict
from ansible.parsing.dataloader import DataLoader
from ansible.playbook import Playbook
from ansible.plugins.loader import init_plugin_loader
from ansible.vars.manager import VariableManager
from callback_plugins import run_record
from support import ROOT


@pytest.fixture(scope="module")
def plugins():
    init_plugin_loader()


@pytest.fixture
def plays(monkeypatch, plugins):
    """Return a function that reads a playbook's plays under some tags."""
    loader = DataLoader()
    variables = VariableManager(loader, InventoryManager(loader, sources=["localhost,"]))

    def read(name, tags, skip_tags=()):
        monkeypatch.setattr(context, "CLIARGS", ImmutableDict(tags=tags, skip_tags=skip_tags))
        return Playbook.load(str(ROOT / "playbooks" / name), variables, loader).get_plays()

    return read


@pytest.mark.parametrize(
    ("name", "tags", "skip_tags", "measures"),
    [
        ("tune_and_probe.yml", ("all",), (), True),
        ("tune_and_probe.yml", ("all",), ("baseline", "tune"), True),
        ("tune_and_probe.yml", ("probe",), (), True),
        ("tune_and_probe.yml", ("environment",), (), False),
        ("tune_and_probe.yml", ("tune",), (), False),
        ("tune_and_probe.yml", ("baseline",), (), False),
        ("tune_and_probe.yml", ("all",), ("probe",), False),
        ("preflight.yml", ("all",), (), True),
        ("tune.yml", ("all",), (), False),
    ],
)
def test_a_run_knows_by_its_tags_whether_it_measures(plays, name, tags, skip_tags, measures):
    assert any(map(run_record.measures, plays(name, tags, skip_tags))) is measures


def test_a_host_that_was_not_to_be_measured_is_skipped_and_what_was_done_is_said(monkeypatch):
    monkeypatch.setattr(context, "CLIARGS", ImmutableDict(tags=("environment",), skip_tags=("tune",)))
    record = run_record.CallbackModule()
    record.done = {"input": None, "environment": None}
    found, lost = run_record.Row("ok", "environment"), run_record.Row("failed", "input", "no room")
    assert record.told(found) == found
    record.measuring = False
    said = "nothing was to be measured (tags: environment, not tune); this run did: input, environment"
    assert record.told(found) == run_record.Row("skipped", "environment", said)
    assert record.told(lost) == lost


@pytest.mark.parametrize(("action", "changed"), [("rollback", True), ("rollback", False), ("thp", True)])
def test_a_node_whose_settings_went_back_is_told_from_one_that_kept_them(action, changed):
    record = run_record.CallbackModule()
    record.rows = {"n": run_record.Row("ok")}
    host, task = SimpleNamespace(get_name=lambda: "n"), SimpleNamespace(action=action)
    record.v2_runner_on_ok(SimpleNamespace(_result={"changed": changed}, _host=host, _task=task))
    assert record.rows["n"].put_back is (action == "rollback" and changed)
