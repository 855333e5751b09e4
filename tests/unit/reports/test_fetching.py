"""A result comes home whole or not at all, whatever the node sends."""

import base64
import gzip
import subprocess

import pytest

from probe_agent import foreign
from reports import fetching


def sent(content):
    return base64.b64encode(gzip.compress(content)).decode()


def test_what_the_command_prints_is_the_file(tmp_path):
    file = tmp_path / "it's a result.json"
    file.write_bytes(b'{"finished": null}\n' * 1000)
    done = subprocess.run(["sh", "-c", fetching.command(str(file))], capture_output=True, text=True, check=True)
    assert fetching.unpack(done.stdout) == file.read_bytes()


def test_an_absent_file_is_told_from_a_broken_one(tmp_path):
    done = subprocess.run(["sh", "-c", fetching.command(str(tmp_path / "no"))], capture_output=True, check=False)
    assert done.returncode == fetching.ABSENT


def test_a_sparse_giant_is_not_brought_home(tmp_path):
    with (tmp_path / "result.json").open("wb") as file:
        file.truncate(100 << 20)
    command = fetching.command(str(tmp_path / "result.json"))
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert len(done.stdout) < foreign.LIMIT_BYTES // 100
    with pytest.raises(ValueError, match="it is larger than 16 MiB"):
        fetching.unpack(done.stdout)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "it came only in part"),
        (sent(b"{}" * 999)[:40], "it came only in part"),
        ("no base64 at all?", "what came is no packed file"),
        (base64.b64encode(b"plain").decode(), "what came is no packed file"),
        (sent(b"\0" * (1 << 30)), "it is larger than 16 MiB"),  # a bomb of a megabyte
    ],
)
def test_anything_else_is_refused_in_words(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        fetching.unpack(text)


@pytest.fixture
def shell():
    """Run a command as a node does, and say what became of it as Ansible does."""

    def run(command):
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
        return {"rc": done.returncode, "stdout": done.stdout, "stderr": done.stderr}

    return run


def test_a_file_is_fetched_whole_or_left_with_a_word(shell, tmp_path):
    target = tmp_path / "run/hosts/node7/result.json"
    assert fetching.fetch(shell, str(tmp_path / "none"), target) == ""
    assert not target.parent.exists()
    (tmp_path / "result.json").write_text("{}")
    assert fetching.fetch(shell, str(tmp_path / "result.json"), target) == ""
    assert [path.read_text() for path in target.parent.iterdir()] == ["{}"]
    left = fetching.fetch(lambda _: {"rc": 0, "stdout": "", "stderr": ""}, "/r.json", target)
    assert left == "/r.json was left on the node: it came only in part"
    denied = {"rc": 1, "stdout": "", "stderr": "head: permission\ndenied\n"}
    assert fetching.fetch(lambda _: denied, "/r", target) == "/r was left on the node: head: permission denied"
    assert target.read_text() == "{}"


def test_what_was_left_fails_the_measurement_beside_what_the_module_said():
    assert fetching.with_result({"changed": False}, "") == {"changed": False}
    assert fetching.with_result({"changed": False}, "it was left") == {
        "changed": False,
        "failed": True,
        "msg": "it was left",
    }
    assert fetching.with_result({"failed": True, "msg": "killed"}, "it was left")["msg"] == "killed; then: it was left"
