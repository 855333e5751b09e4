"""A node's progress as lines on the controller: only what is new, only of this run, and never in the way."""

import json
import threading

import pytest
from action_plugins.slm_probe import Watch


def state(message, **other):
    known = {"phases": ["model", "load"], "phase": "load", "phase_number": 2, "phase_left_s": None, "left_s": None}
    return json.dumps({**known, "message": message, "finished": False, **other})


@pytest.fixture
def watch():
    """Return a function that shows a watch one text after the other and returns the lines it gave."""

    def follow(*texts):
        given, shown, all_seen = iter(texts), [], threading.Event()

        def look():
            for text in given:
                if isinstance(text, Exception):
                    raise text
                return text
            all_seen.set()
            return ""

        with Watch("node7", 0.001, look, shown.append):
            assert all_seen.wait(30)
        return shown

    return follow


def test_a_line_for_each_change(watch):
    assert watch("", state("one"), state("one"), state("two")) == ["node7: load 2/2, one", "node7: load 2/2, two"]


def test_what_an_earlier_run_left_is_not_shown(watch):
    assert watch(state("old"), state("old"), state("new")) == ["node7: load 2/2, new"]
    assert watch(state("old", finished=True), state("new")) == ["node7: load 2/2, new"]


def test_the_end_of_a_run_is_said_by_its_result(watch):
    assert watch("", state("one"), state("one", finished=True)) == ["node7: load 2/2, one"]


def test_a_node_that_cannot_be_read_or_talks_nonsense_is_passed_over(watch):
    nonsense = ("{", "[]", "null", '"load"', "{}", "[" * 100_000, state("x", phase="a\nb"), OSError("no route to host"))
    assert watch("", *nonsense, state("one")) == ["node7: load 2/2, one"]


def test_the_measurement_does_not_wait_for_a_look_that_hangs(monkeypatch):
    monkeypatch.setattr("action_plugins.slm_probe.WAIT_S", 0.01)
    hangs = threading.Event()
    with Watch("node7", 0.001, lambda: hangs.wait(60) or "", print):
        measured = True
    assert measured
    hangs.set()


def test_a_measurement_that_fails_is_not_held_back():
    with pytest.raises(RuntimeError), Watch("node7", 0.001, lambda: "", print):
        raise RuntimeError("the connection broke")
