"""The hub's token is there for the download, and gone before anything is measured."""

import os
import time

import pytest

from probe_agent import run
from probe_agent.engines.fresh import ProcessFailed
from probe_agent.spec import Spec


@pytest.fixture
def token(tmp_path, monkeypatch):
    file = tmp_path / "hub_token"
    file.write_text("hf_secret")
    monkeypatch.setenv("HF_TOKEN_PATH", str(file))
    return file


def test_it_is_gone_when_the_model_is_there(token, tmp_path):
    assert run._prepare(Spec(model=str(tmp_path)), time.monotonic() + 60) == tmp_path
    assert not token.exists()
    assert "HF_TOKEN_PATH" not in os.environ


def test_it_is_gone_when_there_is_no_model(token, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ProcessFailed) as why:
        run._prepare(Spec(model="owner/name", model_revision="0" * 40), time.monotonic() + 60)
    assert "hf_secret" not in str(why.value)
    assert not token.exists()
