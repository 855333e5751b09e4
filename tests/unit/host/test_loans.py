"""Settings that are lent are given back, and what somebody else set meanwhile stays."""

import pytest

from probe_agent.host import loans, snapshot
from probe_agent.host.knobs import Change

KNOB = "sys/knob"


@pytest.fixture
def lent(fake_root):
    """A node whose knob was 1 and is lent as 2."""
    root = fake_root({KNOB: "1"})
    snapshot.apply([Change(KNOB, "1", "2")], root, file=loans.FILE)
    assert (root / KNOB).read_text() == "2"
    return root


def test_a_setting_comes_back_and_the_journal_is_gone(lent):
    assert loans.give_back(root=lent) == []
    assert (lent / KNOB).read_text() == "1"
    assert not (lent / loans.FILE).exists()
    assert loans.give_back(root=lent) == []


def test_somebody_elses_later_change_stays_and_is_said(lent):
    (lent / KNOB).write_text("3")
    assert loans.give_back(root=lent) == [f"/{KNOB} is 3: somebody changed it after we wrote 2"]
    assert (lent / KNOB).read_text() == "3"
    assert snapshot.read(lent, loans.FILE) == []


def test_an_agent_killed_between_journal_and_write_changed_nothing(fake_root):
    root = fake_root({KNOB: "1"})
    snapshot.record("knob", KNOB, "1", "2", root, file=loans.FILE)
    assert loans.give_back(root=root) == []
    assert (root / KNOB).read_text() == "1"


def test_a_loan_is_no_part_of_the_tuning_that_a_rollback_undoes(lent):
    assert snapshot.read(lent) == []


def test_a_kernel_that_refuses_keeps_the_journal(lent, monkeypatch):
    def refuse(*_):
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(loans.knobs, "write", refuse)
    with pytest.raises(OSError, match="busy"):
        loans.give_back(root=lent)
    assert snapshot.read(lent, loans.FILE)


def test_a_value_that_does_not_take_is_said(lent, monkeypatch):
    monkeypatch.setattr(loans.knobs, "write", lambda *_: "2")
    assert loans.give_back(root=lent) == [f"/{KNOB} was to become 1 again, and is 2"]


def test_a_journal_that_is_none_is_named(fake_root):
    root = fake_root({loans.FILE: "half a"})
    with pytest.raises(ValueError, match=f"{loans.FILE} cannot be read as a snapshot"):
        loans.give_back(root=root)
