"""The kernel command line of the next boots: by a GRUB drop-in or by grubby, and back."""

import pytest

from probe_agent.host import boot, snapshot
from probe_agent.host.files import FileChange

WORDS = "hugepagesz=1048576K hugepages=2"


class Grubby:
    """Keeps arguments as grubby does, and what it was called with."""

    def __init__(self, arguments="ro quiet", code=0):
        self.arguments, self.code, self.calls = arguments, code, []

    def __call__(self, command):
        self.calls.append(command)
        if command[1] == "--info=DEFAULT":
            return self.code, f'index=0\nkernel="/boot/vmlinuz"\nargs="{self.arguments}"\n', ""
        return self.code, "", "no permission"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "usr/sbin").mkdir(parents=True)
    (tmp_path / "usr/sbin/grubby").touch()
    return tmp_path


def test_words_are_owed_until_grubby_has_them(root):
    assert boot.owed(WORDS, Grubby(), root)
    assert not boot.owed(WORDS, Grubby(f"ro {WORDS} quiet"), root)
    assert not boot.owed("", Grubby(), root)


def test_without_grubby_nothing_is_owed_of_it(tmp_path):
    assert not boot.owed(WORDS, Grubby(), tmp_path)


def test_words_are_added_and_recorded_for_rollback(root):
    grubby = Grubby()
    boot.add(WORDS, grubby, root)
    assert grubby.calls == [["/usr/sbin/grubby", "--update-kernel=ALL", f"--args={WORDS}"]]
    [entry] = snapshot.read(root)
    assert (entry.kind, entry.wrote) == ("boot words", WORDS)
    assert snapshot.plan_rollback([entry], set(), root)[0].gone
    assert boot.removal(entry.wrote) == ["/usr/sbin/grubby", "--update-kernel=ALL", f"--remove-args={WORDS}"]


def test_a_failing_grubby_is_said(root):
    with pytest.raises(ValueError, match="grubby failed: no permission"):
        boot.add(WORDS, Grubby(code=1), root)


def test_the_configuration_is_renewed_only_for_our_file(monkeypatch):
    calls = []

    def run(command):
        calls.append(command)
        return 0, "", ""

    monkeypatch.setattr(boot, "COMMANDS", (["/bin/true"],))
    boot.renew([FileChange("etc/other", None, "")], run)
    assert calls == []
    boot.renew([FileChange(boot.GRUB_FILE, None, "")], run)
    assert calls == [["/bin/true"]]
    monkeypatch.setattr(boot, "COMMANDS", (["/nowhere/update-grub"],))
    with pytest.raises(ValueError, match="add its words to the kernel command line by hand"):
        boot.renew([FileChange(boot.GRUB_FILE, None, "")], run)
