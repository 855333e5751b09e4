"""Prompts that no prefix cache knows, made of ids that every server takes."""

import json
import time

import pytest

from probe_agent.engines import client


@pytest.fixture
def model(tmp_path):
    """Return a function that writes a model's descriptions into a folder."""

    def write(**files: object):
        for name, content in files.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
        return tmp_path

    return write


def bpe(size: int, added: list[int]) -> dict:
    vocabulary = {f"t{number}": number for number in range(size)}
    return {"model": {"vocab": vocabulary}, "added_tokens": [{"id": number} for number in added]}


@pytest.mark.parametrize(
    ("files", "ids"),
    [
        # special tokens at the end, as synthetic models have them, and in front, as Llama's
        ({"config": {"vocab_size": 100}, "tokenizer": bpe(100, [97, 98, 99])}, range(97)),
        ({"config": {"vocab_size": 100}, "tokenizer": bpe(100, [0, 1, 2])}, range(3, 100)),
        ({"config": {"vocab_size": 100}, "tokenizer": bpe(100, [0, 40])}, range(41, 100)),
        # Qwen: the model's rows are padded beyond what its tokenizer knows, and added tokens come after the vocabulary
        ({"config": {"vocab_size": 152}, "tokenizer": bpe(120, [120, 121])}, range(120)),
        ({"config": {"text_config": {"vocab_size": 100}}, "tokenizer": bpe(100, [])}, range(100)),
        ({"config": {}, "tokenizer": {"model": {"vocab": [["a", -1.0], ["b", -2.0]]}}}, range(2)),
        (
            {"config": {"vocab_size": 50}, "tokenizer_config": {"added_tokens_decoder": {"0": {}, "49": {}}}},
            range(1, 49),
        ),
    ],
)
def test_the_vocabulary_leaves_out_what_means_something(model, files, ids):
    assert client.vocabulary(model(**files)) == ids


def test_a_model_that_does_not_say_its_vocabulary_is_refused(model):
    with pytest.raises(ValueError, match=r"neither config\.json nor tokenizer\.json of .* says"):
        client.vocabulary(model(config={}))


def test_prompts_are_unique_exact_and_the_same_for_the_same_seed():
    ids, lengths = range(3, 50), [24] * 200 + [1, 300]
    requests = client.prompts(ids, lengths, 32, seed=7)
    assert [len(request.prompt) for request in requests] == lengths
    assert [request.number for request in requests] == list(range(202))
    assert len({request.prompt for request in requests}) == 202
    assert all(token in ids for request in requests for token in request.prompt)
    assert {request.output_tokens for request in requests} == {32}
    assert client.prompts(ids, lengths, 32, seed=7) == requests
    other = client.prompts(ids, lengths, 32, seed=8)
    assert not {request.prompt[:16] for request in other} & {request.prompt[:16] for request in requests[:200]}


def test_all_prompts_that_exist_can_be_drawn_but_no_more():
    assert len(client.prompts(range(5), [1] * 5, 2, seed=1)) == 5
    with pytest.raises(ValueError, match="5 token ids make fewer than 6 prompts of 1 tokens"):
        client.prompts(range(5), [1] * 6, 2, seed=1)


def test_concurrency_0_is_refused():
    with pytest.raises(ValueError, match="concurrency is 0, and must be at least 1"):
        client.send("http://127.0.0.1:1", "probe", [], 0, time.monotonic() + 1, lambda: None)
