"""What is owed, who stands against it, and how each wish stands afterwards."""

import pytest

from probe_agent.host import persist, sources, tuned_merge, tuning
from probe_agent.host.knobs import Change
from probe_agent.host.tuning import Row, Wish

KNOB = "sys/kernel/mm/transparent_hugepage/enabled"
WISH = Wish("thp_enabled", KNOB, "never")


@pytest.fixture
def root(fake_root):
    return fake_root({KNOB: "always [madvise] never\n", "proc/meminfo": "Hugepagesize: 2048 kB\n"})


def write(change, where):
    """A kernel that takes the value and shows it among its choices."""
    (where / change.path).write_text(f"always madvise [{change.after}]\n")
    return change.after


def planned(root, persists=True):
    return tuning.plan([WISH], persist.tmpfiles("thp", [WISH]) if persists else {}, persists, root)


def test_what_is_owed_is_carried_out_and_then_nothing_is_owed(root):
    plan = tuning.carry_out(planned(root), root, write)
    [row] = tuning.rows(plan, [], 2048, root)
    assert (row.actual, row.persisted, row.deviation) == ("never", True, "")
    again = planned(root)
    assert (again.changes, again.files) == ([], [])
    assert tuning.outcome(again, tuning.rows(again, [], 2048, root))["changed"] is False


def test_before_it_is_carried_out_it_deviates(root):
    [row] = tuning.rows(planned(root), [], 2048, root)
    assert row.deviation == f"thp_enabled is to be never, and /{KNOB} is madvise"


def test_a_value_without_its_file_does_not_last(root):
    write(Change(KNOB, "madvise", "never"), root)
    [row] = tuning.rows(planned(root), [], 2048, root)
    assert row.deviation == "thp_enabled is never, and nothing keeps it so after a reboot"


def test_a_read_only_sys_is_a_skip_with_its_reason(root):
    def read_only(change, where):
        raise OSError(30, "Read-only file system")

    plan = tuning.carry_out(planned(root, persists=False), root, read_only)
    result = tuning.outcome(plan, tuning.rows(plan, [], 2048, root))
    assert result["changed"] is False
    assert result["skipped_settings"] == {"thp_enabled": f"/{KNOB} does not take never: Read-only file system"}


def test_another_refusal_is_an_error(root):
    def invalid(change, where):
        raise OSError(22, "Invalid argument")

    with pytest.raises(ValueError, match="does not take never: Invalid argument"):
        tuning.carry_out(planned(root), root, invalid)


def test_somebody_elses_line_is_refused_by_file_and_line(root, fake_root):
    fake_root({"etc/tmpfiles.d/db.conf": f"# database\nw /{KNOB} - - - - always\n"})
    found = sources.read(root, uname="Linux x86_64")
    with pytest.raises(ValueError, match=r"thp_enabled is never, but /etc/tmpfiles.d/db.conf line 2 sets .* to always"):
        tuning.refuse_a_fight(planned(root), found, 2048)
    tuning.refuse_a_fight(planned(root, persists=False), found, 2048)  # until the next boot there is no fight


def test_a_line_that_wants_the_same_is_no_adversary(root, fake_root):
    fake_root({"etc/tmpfiles.d/db.conf": f"w /{KNOB} - - - - never\n"})
    tuning.refuse_a_fight(planned(root), sources.read(root, uname="Linux x86_64"), 2048)


def test_tuned_is_an_adversary_unless_it_is_to_be_merged(root, fake_root):
    fake_root(
        {
            "etc/tuned/active_profile": "db\n",
            "etc/tuned/db/tuned.conf": "[vm]\ntransparent_hugepages=always\n",
            "etc/systemd/system/multi-user.target.wants/tuned.service": "",
        }
    )
    found = sources.read(root, tuned_running=True, uname="Linux x86_64")
    with pytest.raises(ValueError, match=r"/etc/tuned/db/tuned.conf line 2"):
        tuning.refuse_a_fight(planned(root), found, 2048)
    tuning.refuse_a_fight(planned(root), found, 2048, merges=True)


def test_our_profile_speaks_to_the_plugin_that_would_overrule_it():
    wishes = [
        WISH,
        Wish("hugepages_pools[0]", "proc/sys/vm/nr_hugepages", "32"),
        Wish("x", "sys/kernel/mm/transparent_hugepage/khugepaged/pages_to_scan", "512"),
    ]
    [file] = tuned_merge.file("thp", wishes).values()
    assert file.path == "etc/tuned/stethos-thp/tuned.conf"
    assert "[vm]\ntransparent_hugepages=never\n" in file.body
    assert "[sysctl]\nvm.nr_hugepages=32\n" in file.body
    assert "[sysfs]\n/sys/kernel/mm/transparent_hugepage/khugepaged/pages_to_scan=512\n" in file.body


def test_a_pending_reboot_and_a_skip_are_no_deviations():
    assert Row("x", "p", "4", "0", pending_reboot=True).deviation == ""
    assert Row("x", "p", "4", None, skipped="no such knob").deviation == ""


def test_without_systemd_nothing_lasts_and_that_is_said(root):
    assert "systemd does not run on this node" in persist.missing(root)
    (root / "run/systemd/system").mkdir(parents=True)
    assert persist.missing(root) == ""
