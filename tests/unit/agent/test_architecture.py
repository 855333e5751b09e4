"""What config.json says of the KV cache."""

import json

import pytest

from probe_agent.models import architecture, shapes


@pytest.mark.parametrize(
    ("shape", "kib"),
    [("qwen2.5-1.5b", 28), ("phi-3-mini", 384), ("tiny", 10)],
)
def test_bytes_per_token_are_those_of_keys_and_values(shape, kib, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(shapes.SHAPES[shape]))
    found = architecture.read(tmp_path)
    assert found.kv_bytes_per_token() == kib * 1024
    assert found.kv_bytes_per_token("float32") == 2 * kib * 1024
    assert found.kv_bytes_per_token("int3") is None


def test_an_explicit_head_size_wins_over_the_quotient():
    config = {
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "hidden_size": 512,
        "head_dim": 128,
    }
    assert architecture.kv_values_per_token(config) == 2 * 2 * 2 * 128


@pytest.mark.parametrize("change", [{"kv_lora_rank": 512}, {"num_hidden_layers": None}])
def test_what_keeps_no_keys_per_head_is_not_guessed(change):
    assert architecture.kv_values_per_token({**shapes.SHAPES["tiny"], **change}) is None


def test_a_model_within_a_model_is_read_by_its_text_part(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"text_config": shapes.SHAPES["tiny"]}))
    assert architecture.read(tmp_path).context_tokens == 32768


def test_a_model_without_a_length_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="has no max_position_embeddings, so no server can be sized"):
        architecture.read(tmp_path)
