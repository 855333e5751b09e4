"""A result comes home whole or not at all, whatever the node sends."""

import base64
import gzip
import subprocess

import pytest
from action_plugins import fetch_result

from probe_agent import foreign


def sent(content):
    return base64.b64encode(gzip.compress(content)).decode()


def test_what_the_command_prints_is_the_file(tmp_path):
    file = tmp_path / "it's a result.json"
    file.write_bytes(b'{"finished": null}\n' * 1000)
    done = subprocess.run(["sh", "-c", fetch_result.command(str(file))], capture_output=True, text=True, check=True)
    assert fetch_result.unpack(done.stdout) == file.read_bytes()


def test_an_absent_file_is_told_from_a_broken_one(tmp_path):
    done = subprocess.run(["sh", "-c", fetch_result.command(str(tmp_path / "no"))], capture_output=True, check=False)
    assert done.returncode == fetch_result.ABSENT


def test_a_sparse_giant_is_not_brought_home(tmp_path):
    with (tmp_path / "result.json").open("wb") as file:
        file.truncate(100 << 20)
    command = fetch_result.command(str(tmp_path / "result.json"))
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert len(done.stdout) < foreign.LIMIT_BYTES // 100
    with pytest.raises(ValueError, match="it is larger than 16 MiB"):
        fetch_result.unpack(done.stdout)


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
        fetch_result.unpack(text)
