"""The kernel command line of the next boots: by a GRUB drop-in or by grubby, and back."""

import pytest

from probe_agent.host import boot, files, hugepages, snapshot, sources, tuning
from probe_agent.host.files import FileChange
from probe_agent.host.hugepages import PoolWish

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
    assert boot.owed(WORDS, [], Grubby(), root)
    assert not boot.owed(WORDS, [], Grubby(f"ro {WORDS} quiet"), root)
    assert not boot.owed("", [], Grubby(), root)


@pytest.mark.parametrize("arguments", [f"{WORDS}0", "hugepages=2 hugepagesz=1048576K", f"x{WORDS}"])
def test_words_are_owed_where_only_others_like_them_are(root, arguments):
    assert boot.owed(WORDS, [], Grubby(arguments), root)


def test_without_grubby_nothing_is_owed_of_it(tmp_path):
    assert not boot.owed(WORDS, [], Grubby(), tmp_path)


def test_words_are_added_and_recorded_for_rollback(root):
    grubby = Grubby()
    boot.tell(WORDS, grubby, root)
    assert grubby.calls == [["/usr/sbin/grubby", "--update-kernel=ALL", f"--args={WORDS}"]]
    [entry] = snapshot.read(root)
    assert (entry.kind, entry.wrote) == ("boot words", WORDS)
    assert snapshot.plan_rollback([entry], set(), root)[0].gone
    assert boot.removal(entry.wrote) == ["/usr/sbin/grubby", "--update-kernel=ALL", f"--remove-args={WORDS}"]


def test_a_failing_grubby_is_said(root):
    with pytest.raises(ValueError, match="grubby failed: no permission"):
        boot.tell(WORDS, Grubby(code=1), root)


class Grub:
    """Makes the menu from what our drop-in says, unless it fails."""

    def __init__(self, root):
        self.menu, self.code = root / "boot/grub/grub.cfg", 0

    def __call__(self, command):
        if not self.code:
            self.menu.write_text(MENU.format(f" {WORDS}"))
        return self.code, "", "no space left"


MENU = "menuentry Debian {{\n\tlinux\t/boot/vmlinuz root=/dev/vda1 ro {} quiet\n\tinitrd /boot/initrd.img\n}}\n"


def test_the_menu_is_made_until_it_has_our_words(fake_root, monkeypatch):
    monkeypatch.setattr(boot, "COMMANDS", (["/bin/true"],))
    root = fake_root({"boot/grub/grub.cfg": MENU.format("")})
    grub = Grub(root)
    grub.code = 1
    with pytest.raises(ValueError, match="true failed: no space left"):
        boot.tell(WORDS, grub, root)
    grub.code = 0
    assert boot.owed(WORDS, [], grub, root)  # though the file is as it should be
    boot.tell(WORDS, grub, root)
    assert not boot.owed(WORDS, [], grub, root)


def test_the_menu_is_made_anew_for_our_file_alone(tmp_path):
    assert boot.owed("", [FileChange(boot.GRUB_FILE, "", None)], None, tmp_path)
    assert not boot.owed("", [FileChange("etc/other", None, "")], None, tmp_path)
    assert not boot.owed(WORDS, [], None, tmp_path)  # no menu to read


def test_a_node_without_a_program_for_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(boot, "COMMANDS", (["/nowhere/update-grub"],))
    with pytest.raises(ValueError, match="add its words to the kernel command line by hand"):
        boot.tell(WORDS, None, tmp_path)


LARGE = "sys/kernel/mm/hugepages/hugepages-1048576kB/"
COUNTS = ("nr_hugepages", "free_hugepages", "surplus_hugepages", "resv_hugepages", "nr_overcommit_hugepages")
ENTRY = "boot/loader/entries/1.conf"


@pytest.fixture
def booted(fake_root):
    """Return a function that makes a node booted with our WORDS: 2 pages of 1 GiB, as this boot's command line says."""

    def make(files):
        memory = {"proc/meminfo": "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\nHugepagesize: 2048 kB\n"}
        counts = {f"{LARGE}{name}": "0\n" for name in COUNTS} | {f"{LARGE}nr_hugepages": "2\n"}
        return fake_root({**memory, **counts, "proc/cmdline": f"ro quiet {WORDS}\n", **files})

    return make


def refuse_a_fight(root, pages):
    """As the module does it. Returns the plan."""
    plan = hugepages.plan([PoolWish(size_kb=1 << 20, count=pages, at_boot=True)], persists=True, root=root)
    tuning.refuse_a_fight(plan, boot.claim(sources.read(root, uname="Linux x86_64"), 2048, root), 2048)
    return plan


def test_the_pool_at_boot_can_be_changed_and_waits_for_the_boot_in_peace(booted):
    root = booted({boot.GRUB_FILE: f'{files.MARK}\nGRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX {WORDS}"\n'})
    for change in refuse_a_fight(root, 3).files:
        files.write(change, root)
    assert refuse_a_fight(root, 3).files == []  # though this boot's command line still says 2


def test_the_pool_at_boot_can_be_changed_where_grubby_wrote_it(booted):
    root = booted({boot.GRUBBY: "", ENTRY: f"title Linux\noptions ro {WORDS}\n"})
    boot.tell(WORDS, Grubby(), root)
    refuse_a_fight(root, 3)
    with pytest.raises(ValueError, match="grubby failed"):
        boot.tell(WORDS.replace("=2", "=3"), Grubby(code=1), root)
    refuse_a_fight(root, 3)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (ENTRY, f"options ro {WORDS}\n"),
        ("etc/default/grub", f'GRUB_CMDLINE_LINUX="{WORDS}"\n'),
        ("etc/hostname", "node1\n"),  # the words come from where we cannot look
    ],
)
def test_words_of_somebody_else_are_refused(booted, place, text):
    with pytest.raises(ValueError, match=rf"hugepages_pools\[0\] is 3, but .*/{LARGE}nr_hugepages to 2"):
        refuse_a_fight(booted({place: text}), 3)
