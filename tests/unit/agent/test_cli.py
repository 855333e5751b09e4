"""The agent by hand: every field of a spec has an option, and nonsense ends with a sentence and status 2."""

import sys
from dataclasses import fields

import pytest

from probe_agent import __main__ as cli
from probe_agent.spec import Spec


@pytest.fixture
def agent(monkeypatch, tmp_path):
    """Return a function that runs the command and returns its status and the spec it would measure."""
    measured = []

    def run(*arguments):
        monkeypatch.setattr(cli, "run", lambda spec, _out: measured.append(spec) or 0)
        monkeypatch.setattr(sys, "argv", ["probe_agent", "run", "--out", str(tmp_path / "result.json"), *arguments])
        return cli.main(), measured[-1] if measured else None

    return run


def test_without_options_the_defaults_are_measured(agent):
    assert agent() == (0, Spec())


def test_options_of_every_kind(agent):
    code, spec = agent(
        "--probe=load", "--probe=serving", "--resume", "--server-mode", "compiled", "--gpu-memory-utilization", "0.5",
        "--max-model-len", "2048", "--kv-lengths", "512", "1024", "--server-flag=--enable-sleep-mode",
    )  # fmt: skip
    assert code == 0
    assert spec == Spec(
        probes=("load", "serving"),
        resume=True,
        server_mode="compiled",
        gpu_memory_utilization=0.5,
        max_model_len=2048,
        kv_lengths=(512, 1024),
        server_flags=("--enable-sleep-mode",),
    )


def test_options_win_over_the_file(agent, tmp_path):
    (tmp_path / "spec.json").write_text('{"profile": "quick", "seed": 7}')
    _, spec = agent("--spec", str(tmp_path / "spec.json"), "--seed", "8")
    assert (spec.profile, spec.seed) == ("quick", 8)


def test_help_names_every_field(agent, capsys):
    with pytest.raises(SystemExit):
        agent("--help")
    shown = capsys.readouterr().out
    for field in fields(Spec):
        assert f"--{field.name.replace('_', '-')[:-1]}" in shown


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--max-model-len", "3"], "probe_max_model_len is 3, and must be between 64 and 16777216"),
        (["--concurrencies", "0"], "probe_concurrencies has 0, and must hold whole numbers between 1 and 4096"),
        (["--spec", "/nowhere/spec.json"], "No such file"),
    ],
)
def test_nonsense_is_refused_in_a_sentence(agent, capsys, arguments, sentence):
    assert agent(*arguments) == (2, None)
    assert sentence in capsys.readouterr().err
