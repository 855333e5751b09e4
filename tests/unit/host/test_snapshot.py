"""The way back: recorded before the write, the first value kept, foreign changes left."""

import pytest

from probe_agent.host import files, snapshot
from probe_agent.host.knobs import Change

KNOB = "sys/knob"


@pytest.fixture
def root(fake_root):
    return fake_root({KNOB: "old\n"})


def undo_of(root):
    return snapshot.plan_rollback(snapshot.read(root), set(), root)[0]


def test_a_change_can_be_undone(root):
    assert snapshot.apply([Change(KNOB, "old", "new")], root) == {KNOB: "new"}
    assert undo_of(root).change == Change(KNOB, "new", "old")


def test_the_first_value_is_the_one_to_go_back_to(root):
    snapshot.apply([Change(KNOB, "old", "new")], root)
    snapshot.apply([Change(KNOB, "new", "newer")], root)
    assert undo_of(root).change == Change(KNOB, "newer", "old")


def test_what_somebody_else_changed_is_left_and_named(root):
    snapshot.apply([Change(KNOB, "old", "new")], root)
    (root / KNOB).write_text("theirs")
    assert undo_of(root).change is None
    assert undo_of(root).foreign == "/sys/knob is theirs: somebody changed it after we wrote new"


def test_a_write_that_was_cut_short_is_undone_whatever_it_left(root):
    snapshot.record("knob", KNOB, "old", "new", root)
    (root / KNOB).write_text("half")
    assert undo_of(root).change == Change(KNOB, "half", "old")


def test_the_record_is_on_disk_before_the_write(root):
    def killed(change, where):
        assert snapshot.read(where)[0].before == "old"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        snapshot.apply([Change(KNOB, "old", "new")], root, write=killed)
    assert undo_of(root).change is None  # nothing was written, so nothing is owed


def test_what_is_done_is_forgotten_and_the_file_goes_with_the_last(root):
    snapshot.apply([Change(KNOB, "old", "new")], root)
    snapshot.forget(snapshot.read(root), root)
    assert snapshot.read(root) == []
    assert not (root / snapshot.FILE).exists()


def test_a_refused_write_names_file_and_value(root):
    def refuse(change, where):
        raise OSError(22, "Invalid argument")

    with pytest.raises(ValueError, match="/sys/knob does not take new: Invalid argument"):
        snapshot.apply([Change(KNOB, "old", "new")], root, write=refuse)


def test_a_broken_snapshot_is_not_guessed_at(root):
    (root / snapshot.FILE).parent.mkdir(parents=True)
    (root / snapshot.FILE).write_text("{half")
    with pytest.raises(ValueError, match="cannot be read as a snapshot"):
        snapshot.read(root)


def test_a_refused_write_leaves_nothing_to_undo(root):
    def refuse(change, where):
        raise OSError(30, "Read-only file system")

    with pytest.raises(snapshot.RefusedError) as refused:
        snapshot.apply([Change(KNOB, "old", "new")], root, write=refuse)
    assert refused.value.errno == 30
    assert snapshot.read(root) == []


def test_our_file_is_taken_away_unless_somebody_edited_it(root):
    change = files.plan("etc/ours.conf", files.OwnedFile("etc/ours.conf", "x = 1\n"), root)
    files.write(change, root)
    assert undo_of(root).gone
    (root / "etc/ours.conf").write_text("# Managed by stethos\nx = 2\n")
    assert "was edited after we wrote it" in undo_of(root).foreign


def test_a_file_of_somebody_elses_is_never_overwritten(root):
    (root / "etc").mkdir()
    (root / "etc/theirs.conf").write_text("x = 1\n")
    with pytest.raises(ValueError, match="was not written by this tool"):
        files.plan("etc/theirs.conf", files.OwnedFile("etc/theirs.conf", ""), root)
