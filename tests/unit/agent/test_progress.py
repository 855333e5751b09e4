"""How far a run is: estimates that follow a documented rule, and a line that no node can bend."""

import json

import pytest

from probe_agent import progress
from probe_agent.progress import Progress, line

STATE = {
    "phases": ["model", "load", "serving"],
    "phase": "serving",
    "phase_number": 3,
    "message": "cold start 1 of 1",
    "phase_left_s": 40.2,
    "left_s": 40.2,
}


@pytest.fixture
def clock(monkeypatch):
    """Return a function that lets time pass."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def passes(seconds):
        now[0] += seconds

    return passes


def state_of(folder):
    return json.loads((folder / "progress.json").read_text())


def measure(folder, clock, *seconds, kind="tiny standard"):
    """Follow a run of two probes, whose first has four steps, through as many of them as `seconds` says; return it."""
    run = Progress(folder / "progress.json", ("model", "load", "serving"), kind)
    clock(2)
    run.phase("load")
    run.expect(4)
    for number, step_s in enumerate(seconds):
        run.step(f"load {number + 1} of 4")
        clock(step_s)
    run.step(f"load {len(seconds) + 1} of 4")
    return run


def test_a_first_run_knows_the_phase_and_not_yet_the_whole(tmp_path, clock):
    measure(tmp_path, clock, 10, 12)
    state = state_of(tmp_path)
    assert (state["phases"], state["phase"], state["phase_number"]) == (["model", "load", "serving"], "load", 2)
    assert (state["step"], state["steps"], state["message"]) == (3, 4, "load 3 of 4")
    assert (state["elapsed_s"], state["phase_left_s"], state["left_s"]) == (24, 22, None)
    assert state["finished"] is False


@pytest.mark.parametrize("seconds", [(), (0.1,), (0.1, 30), (0.1, 30, 30), (0, 0, 0)])
def test_steps_that_are_few_or_unlike_tell_nothing_of_those_to_come(tmp_path, clock, seconds):
    """A server's first step is over at once and its next one takes half a minute: no 0 s left meanwhile."""
    measure(tmp_path, clock, *seconds)
    state = state_of(tmp_path)
    assert (state["phase_left_s"], state["left_s"]) == (None, None)
    assert "left" not in line("node7", state)


def test_more_steps_than_were_expected_leave_no_estimate(tmp_path, clock):
    run = measure(tmp_path, clock, 10, 10, 10, 10)
    run.step("one more")
    assert state_of(tmp_path)["phase_left_s"] is None


def test_a_second_run_goes_by_what_the_first_took(tmp_path, clock):
    run = measure(tmp_path, clock, 10)
    clock(10)
    run.phase("serving")
    clock(30)
    run.finish()
    assert state_of(tmp_path)["finished"] is True
    measure(tmp_path, clock, 4)
    assert (state_of(tmp_path)["phase_left_s"], state_of(tmp_path)["left_s"]) == (20 - 4, 20 - 4 + 30)
    measure(tmp_path, clock, 4, kind="qwen standard")
    assert state_of(tmp_path)["left_s"] is None


def test_what_takes_longer_than_the_last_time_is_not_about_to_end(tmp_path, clock):
    run = measure(tmp_path, clock, 10)
    run.phase("serving")
    clock(30)
    run.finish()
    measure(tmp_path, clock, 15)
    assert (state_of(tmp_path)["phase_left_s"], state_of(tmp_path)["left_s"]) == (None, None)


def test_the_last_phase_is_the_whole_rest(tmp_path, clock):
    run = measure(tmp_path, clock, 10, 10)
    clock(10)
    run.leave_out({"serving"})
    run.step("load 4 of 4")
    assert state_of(tmp_path)["left_s"] == state_of(tmp_path)["phase_left_s"] == 10


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind": "tiny standard", "took_s": {"serving": "soon"}}', "null"])
def test_a_broken_file_of_an_earlier_run_is_nothing(tmp_path, clock, text):
    (tmp_path / "progress.json").write_text(text)
    measure(tmp_path, clock, 10, 10)
    assert state_of(tmp_path)["left_s"] is None


def test_a_line_for_a_person():
    assert line("node7", STATE) == "node7: serving 3/3, cold start 1 of 1, about 40 s left"
    assert line("node7", {**STATE, "left_s": None}).endswith(", about 40 s left of serving")
    assert line("node7", {**STATE, "left_s": 754.2}).endswith(", about 13 min left")
    first = {**STATE, "left_s": None, "phase_left_s": None, "message": "serving"}
    assert line("node7", first) == "node7: serving 3/3"
    assert all(progress.LINE.fullmatch(line("node7", state)) for state in (STATE, first))


@pytest.mark.parametrize("left_s", [-3, 0, 0.4, float("inf"), float("nan")])
def test_nothing_left_is_not_said_while_something_runs(left_s):
    assert line("node7", {**STATE, "left_s": left_s}) == "node7: serving 3/3, cold start 1 of 1"


def test_what_a_node_writes_cannot_break_the_line():
    hostile = {**STATE, "message": "\x1b[2J\nTASK [all is well]\r" + "x" * 9999}
    shown = line("node7", hostile)
    assert shown.isprintable()
    assert len(shown) < 200


@pytest.mark.parametrize(
    "broken",
    [
        {"phase": "a b"},
        {"phase": "x\ny"},
        {"phase_number": "two"},
        {"phases": None},
        {"left_s": "soon"},
        {"left_s": [1]},
    ],
)
def test_what_is_no_progress_is_refused(broken):
    with pytest.raises((KeyError, TypeError, ValueError)):
        line("node7", {**STATE, **broken})


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{", '{"finished": false}', json.dumps({**STATE, "phase_number": 1e400}), "[" * 5000]
)
def test_a_file_that_is_no_progress_reads_as_nothing(text):
    assert progress.read("node7", text) == ""


def test_a_file_is_read_as_its_line_until_its_run_is_over():
    running = json.dumps({**STATE, "finished": False})
    assert progress.read("node7", running) == line("node7", STATE)
    assert progress.read("node7", json.dumps({**STATE, "finished": True})) == ""
