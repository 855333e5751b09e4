"""Which prompt lengths are measured, and what the curves' rows come to."""

import pytest

from probe_agent.probes import curves
from probe_agent.spec import Spec


def test_lengths_beyond_the_server_are_cut_once_and_it_is_said():
    lengths, said = curves.usable((4096, 128, 8192), 2048)
    assert lengths == [128, 2032]
    assert said == [
        "a prompt of 4096, 8192 tokens and 16 more to answer are beyond the server's max-model-len of 2048: "
        "2032 was measured in place"
    ]
    assert curves.usable((2032, 128), 2048) == ([128, 2032], [])
    assert curves.usable((2032, 2033), 2048)[0] == [2032]


@pytest.mark.parametrize(
    ("known", "length", "seconds"),
    [
        ([], 4096, 0.0),
        ([(100, 0.5)], 200, 1.0),
        ([(100, 0.5), (200, 1.0)], 800, 4.0),
        ([(100, 0.5), (200, 2.0)], 400, 8.0),
        ([(100, 0.5), (200, 8.0)], 400, 32.0),  # one slow reading does not make it cubic
        ([(100, 0.5), (200, 0.4)], 400, 0.8),  # nor a fast one flat
    ],
)
def test_the_time_of_a_longer_prompt_is_expected_from_the_shorter_ones(known, length, seconds):
    assert curves.expected_s(known, length) == pytest.approx(seconds)


def length_row(length: int, ttft_s: float, repeat: int = 0) -> dict:
    return {
        "curve": "prompt_length",
        "repeat": repeat,
        "prompt_tokens": length,
        "ttft_s": ttft_s,
        "prefill_tokens_per_s": length / ttft_s,
        "decode_tokens_per_s": 50.0,
    }


def test_a_length_without_rows_was_too_slow():
    spec = Spec(prompt_lengths=(128, 1024, 4096))
    samples = [length_row(128, 0.1), length_row(1024, 4.0)]
    assert curves.left_out(spec, 8192, samples) == [
        "a prompt of 4096 tokens was left out: by the shorter ones, its first token was expected after more than 5 s"
    ]
    assert curves.left_out(spec, 8192, [*samples, length_row(4096, 9.0)]) == []


def test_the_headline_has_medians_and_the_best_rates():
    busy = {"curve": "busy_threads", "repeat": 0, "tokenize_s": 0.02, "ttft_s": 0.1, "e2e_s": 0.4}
    samples = [
        *(length_row(100, seconds, repeat) for repeat, seconds in enumerate((0.1, 0.2, 0.9))),
        length_row(1000, 0.5),
        {**busy, "threads": 0},
        {**busy, "threads": 4, "e2e_s": 0.8},
    ]
    assert curves.headline(samples) == {
        "prompt_100_ttft_s": 0.2,
        "prompt_1000_ttft_s": 0.5,
        "prefill_tokens_per_s": 2000.0,
        "decode_tokens_per_s": 50.0,
        "busy_0_tokenize_s": 0.02,
        "busy_0_ttft_s": 0.1,
        "busy_0_e2e_s": 0.4,
        "busy_4_tokenize_s": 0.02,
        "busy_4_ttft_s": 0.1,
        "busy_4_e2e_s": 0.8,
    }
    assert curves.headline([]) == {}
