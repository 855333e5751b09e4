"""The table of a running playbook: who is listed, who is summed up, and what an estimate becomes with time."""

import io

import pytest
import rich.console

from reports import console_view
from reports.console_view import Fleet, HostNow, State, left, shown

LINE = "node7: serving 2/3, cold start 1 of 1, about 40 s left"


def drawn(fleet, now_s=0.0, height=24, width=100):
    terminal = rich.console.Console(file=io.StringIO(), width=width, height=height, force_terminal=False)
    terminal.print(console_view.picture(fleet, now_s, height))
    return terminal.file.getvalue()


@pytest.fixture
def fleet():
    """Two hundred hosts: one failed, three still at work, the rest done with the task."""
    found = Fleet()
    found.play = "Measure the nodes"
    for number in range(200):
        found.begin(f"n{number}", "Measure", number / 100)
    for number in range(4, 200):
        found.end(f"n{number}", "Measure", 10.0, changed=True)
    found.lose("n3", State.FAILED, "no room on the disk", 11.0)
    return found


def test_two_hundred_hosts_fit_a_terminal_the_failed_and_unfinished_first(fleet):
    lines = drawn(fleet, 20.0).splitlines()
    assert len(lines) < 24
    assert lines[0] == "  0:20  Measure the nodes: 1 failed, 3 working, 196 waiting; 196 changes"
    assert [line.split()[0] for line in lines[2:6]] == ["n3", "n0", "n1", "n2"]
    assert "no room on the disk" in lines[2]
    assert lines[-1] == "180 more hosts: 180 waiting"


@pytest.mark.parametrize(("height", "width"), [(1, 20), (4, 40), (6, 300)])
def test_a_tiny_terminal_gets_what_fits(fleet, height, width):
    lines = drawn(fleet, 20.0, height, width).splitlines()
    assert len(lines) <= max(3, height)
    assert all(len(line) <= width for line in lines)


def test_no_host_yet():
    assert "starting: no host yet; 0 changes" in drawn(Fleet())


def test_a_probes_line_fills_the_row_and_its_estimate_runs_down():
    fleet = Fleet()
    fleet.begin("node7", "Measure", 0.0)
    fleet.progress(LINE, 5.0)
    host = fleet.hosts["node7"]
    assert (host.state, host.step, host.message, host.ends_s) == (State.WORKING, "serving 2/3", "cold start 1 of 1", 45)
    assert [left(host, now_s) for now_s in (5.0, 30.0, 44.5, 60.0)] == ["~40 s", "~15 s", "", ""]


@pytest.mark.parametrize(
    ("line", "message", "estimate"),
    [
        ("node7: serving 2/3", "", ""),
        ("node7: serving 2/3, cold start 1 of 1", "cold start 1 of 1", ""),
        ("node7: serving 2/3, about 13 min left", "", "~13 min"),
        ("node7: serving 2/3, 64 requests, 4 at a time, about 9 s left of serving", "64 requests, 4 at a time", "~9 s"),
    ],
)
def test_every_kind_of_line(line, message, estimate):
    fleet = Fleet()
    fleet.begin("node7", "Measure", 0.0)
    fleet.progress(line, 0.0)
    assert (fleet.hosts["node7"].message, left(fleet.hosts["node7"], 0.0)) == (message, estimate)


def test_a_line_of_no_host_or_of_one_that_is_done_changes_nothing():
    fleet = Fleet()
    fleet.progress(LINE, 1.0)
    assert fleet.hosts == {}
    fleet.begin("node7", "Measure", 1.0)
    fleet.end("node7", "Measure", 2.0)
    fleet.progress(LINE, 3.0)
    assert fleet.hosts["node7"] == HostNow("node7", State.WAITING, 2.0, message="Measure")


def test_a_lost_host_stays_lost_while_it_is_cleaned_up():
    fleet = Fleet()
    fleet.begin("a", "Measure", 0.0)
    fleet.lose("a", State.UNREACHABLE, "no route", 1.0)
    fleet.begin("a", "The node is as it was", 2.0)
    fleet.end("a", "The node is as it was", 3.0)
    assert fleet.hosts["a"] == HostNow("a", State.UNREACHABLE, 1.0, message="no route")


def test_what_works_longest_comes_first():
    hosts = [HostNow(name, State.WORKING, since_s) for name, since_s in (("new", 9.0), ("old", 1.0), ("middle", 5.0))]
    listed, rest = shown(hosts, 2)
    assert [host.name for host in listed] == ["old", "middle"]
    assert rest == "1 more host: 1 working"


def test_hostile_names_and_messages_are_text():
    fleet = Fleet()
    fleet.play = "\x1b[2Jplay"
    fleet.begin("[red]n\x1b[31m", "[bold]task\nnext", 0.0)
    shown_text = drawn(fleet, width=200)
    assert "\x1b" not in shown_text
    assert "[red]n\\x1b[31m" in shown_text
    assert "[bold]task" in shown_text
