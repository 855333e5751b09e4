"""What a person sees of ansible-runner's events."""

import pytest

from reports.console import Console


@pytest.fixture
def shown(capsys):
    """Return a function that gives the console an event and returns what it printed."""

    def show(kind, **event):
        Console().event({"event": kind, **event})
        return capsys.readouterr().out

    return show


def test_a_nodes_progress_is_shown(shown):
    line = "node7: serving 2/3, cold start 1 of 1, about 40 s left"
    assert shown("verbose", stdout=line).endswith(f"  {line}\n")


@pytest.mark.parametrize("text", ["", "PLAY [Measure the nodes] ****", "[WARNING]: something else"])
def test_what_ansible_prints_of_its_own_is_not(shown, text):
    assert shown("verbose", stdout=text) == ""


def test_a_failure_is_said_in_one_line(shown):
    told = shown("runner_on_failed", event_data={"host": "node7", "res": {"msg": "no\nroom"}})
    assert told.endswith("node7: failed: no room\n")
