"""What a person sees of ansible-runner's events."""

import io

import pytest

from reports import console
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


def test_what_a_node_says_cannot_move_the_cursor(shown):
    told = shown("runner_on_failed", event_data={"host": "node7", "res": {"msg": "\x1b[2Jgone"}})
    assert told.endswith("node7: failed: \\x1b[2Jgone\n")


def test_a_failure_that_is_ignored_is_none(shown):
    assert shown("runner_on_failed", event_data={"host": "n", "ignore_errors": True, "res": {"msg": "no"}}) == ""


def test_what_a_rollback_put_back_is_said(shown):
    result = {"changed": True, "restored": ["/sys/kernel/mm/transparent_hugepage/enabled is madvise again"]}
    told = shown("runner_on_ok", event_data={"host": "local", "task": "As it was", "res": result})
    assert told.splitlines()[-1].endswith("local: /sys/kernel/mm/transparent_hugepage/enabled is madvise again")


def test_only_a_terminal_that_can_redraw_gets_a_table(monkeypatch):
    assert not console.interactive()  # pytest's output is no terminal
    monkeypatch.setattr(console.sys, "stdout", Terminal())
    for word, interactive in (("xterm-256color", True), ("dumb", False), ("unknown", False)):
        monkeypatch.setenv("TERM", word)
        assert console.interactive() is interactive


class Terminal(io.StringIO):
    def isatty(self):
        return True
