"""What systemd's files give a service: its syntax, and which lines apply to which unit."""

import pytest
from hypothesis import given as anything
from hypothesis import strategies as st

from probe_agent.host import units
from probe_agent.host.units import State

SHOW = r"""Names=vllm.service
LoadState=loaded
MainPID=812
Environment="A=two words" B=\"x\"
DropInPaths=/etc/systemd/system/vllm.service.d/stethos.conf /run/systemd/system/vllm.service.d/x.conf

Names=gone.service
LoadState=not-found
MainPID=0
Environment=
DropInPaths=
"""
OURS = "etc/systemd/system/vllm.service.d/stethos.conf"


def lines_of(root, unit="vllm.service", names=()):
    ours = f"etc/systemd/system/{unit}.d/stethos.conf"
    return [(line.name, line.value, line.file, line.line) for line in units.given(unit, ours, names, root)]


def test_reads_a_block_for_each_unit():
    found = units.parse_show(SHOW, ["vllm.service", "gone.service"])
    assert found["vllm.service"].environment == {"A": "two words", "B": '"x"'}
    assert found["vllm.service"].pid == 812
    assert found["vllm.service"].dropins[0] == f"/{OURS}"
    assert found["gone.service"] == State(names=("gone.service",))


def test_an_answer_about_fewer_units_is_not_guessed_at():
    with pytest.raises(ValueError, match=r"tells of 2 units, and was asked for a.service, b.service, c.service"):
        units.parse_show(SHOW, ["a.service", "b.service", "c.service"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A=1  B=2", ["A=1", "B=2"]),
        ('"A=1 2" \'B=3 "4"\'', ["A=1 2", 'B=3 "4"']),
        (r'A=\x41\t"\\"', ["A=A\t\\"]),
        ('A="" ""', ["A=", ""]),
        ("A=1\\", ["A=1"]),
    ],
)
def test_splits_words_as_systemd_does(text, words):
    assert units.words(text) == words


@anything(
    st.text(st.characters(exclude_categories=("Cc", "Cs"))) | st.sampled_from(['a"b', "100%", "%h", "tab\t", "x\\"])
)
def test_a_line_says_exactly_the_value(value):
    assert units.assigned(units.line("NAME", value)) == {"NAME": value}


def test_percent_signs_are_doubled_and_quotes_escaped():
    assert units.line("FORMAT", 'a "b" 5%\\') == 'Environment="FORMAT=a \\"b\\" 5%%\\\\"\n'


def test_unit_file_and_dropins_of_every_kind_are_read_but_ours_is_not(fake_root):
    root = fake_root(
        {
            "usr/lib/systemd/system/vllm-big@.service": "[Service]\nEnvironment=A=1\n",
            "etc/systemd/system/vllm-big@0.service.d/stethos.conf": "[Service]\nEnvironment=OURS=1\n",
            "etc/systemd/system/vllm-big@0.service.d/10-a.conf": "# ours to keep\n[Service]\nEnvironment=B=1 C=1\n",
            "run/systemd/system/vllm-big@.service.d/20-b.conf": "[Service]\nEnvironment=D=1\n",
            "etc/systemd/system/vllm-.service.d/30-c.conf": "[Service]\nEnvironment=E=1\n",
            "usr/lib/systemd/system/service.d/40-d.conf": "[Service]\nEnvironment=F=1\n",
            "etc/systemd/system/vllm.service.d/50-e.conf": "[Service]\nEnvironment=G=1\n",
        }
    )
    assert [name for name, *_ in lines_of(root, "vllm-big@0.service")] == ["A", "B", "C", "D", "E", "F"]
    assert lines_of(root, "vllm-big@0.service")[1] == (
        *("B", "1", "/etc/systemd/system/vllm-big@0.service.d/10-a.conf"),
        3,
    )


def test_dropins_of_an_alias_apply_too(fake_root):
    root = fake_root({"etc/systemd/system/llm.service.d/a.conf": "[Service]\nEnvironment=A=1\n"})
    assert [name for name, *_ in lines_of(root, names=("vllm.service", "llm.service"))] == ["A"]


def test_an_empty_environment_takes_away_what_came_before(fake_root):
    folder = "etc/systemd/system/vllm.service.d"
    root = fake_root(
        {
            f"{folder}/10-a.conf": "[Service]\nEnvironment=A=1\n",
            f"{folder}/20-b.conf": "[Service]\nEnvironment=\nEnvironment=B=100%%\n",
        }
    )
    assert lines_of(root) == [("B", "100%", f"/{folder}/20-b.conf", 3)]
    (root / folder / "zz.conf").write_text("[Service]\nEnvironment=\n")
    assert lines_of(root) == [("", None, f"/{folder}/zz.conf", 2)]


def test_environment_files_and_unset_variables_are_found(fake_root):
    root = fake_root(
        {
            "etc/systemd/system/vllm@.service": (
                "[Service]\nEnvironmentFile=-/etc/vllm/%i.env\nEnvironmentFile=-/etc/none\nUnsetEnvironment=C D=1\n"
            ),
            "etc/vllm/0.env": "# site\nA='1 2'\n\nB = plain words\nnot a line\n",
        }
    )
    assert lines_of(root, "vllm@0.service") == [
        ("A", "1 2", "/etc/vllm/0.env", 2),
        ("B", "plain words", "/etc/vllm/0.env", 4),
        ("C", None, "/etc/systemd/system/vllm@.service", 4),
        ("D", None, "/etc/systemd/system/vllm@.service", 4),
    ]
