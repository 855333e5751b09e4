"""A streamed answer is read right however its bytes are cut, and what a row says of it is plain arithmetic."""

import pytest

from probe_agent.engines.stream import Stream, refusal, times

HEAD = (
    b'data: {"id":"cmpl-aa50898fbbe28f36","object":"text_completion","created":1795238479,"model":"probe","choices":['
)
TAIL = b',"stop_reason":null,"prompt_token_ids":null,"token_ids":null}]}\n\n'
# As vLLM 0.32 sent it, but for the second text, empty as it is for half a character, and the last one.
RECORDED = (
    HEAD + b'{"index":0,"text":"aimx","logprobs":null,"finish_reason":null' + TAIL +
    HEAD + b'{"index":0,"text":"","logprobs":null,"finish_reason":null' + TAIL +
    HEAD + b'{"index":0,"text":"\xc3\xa9","logprobs":null,"finish_reason":"length"' + TAIL +
    HEAD + b'],"usage":{"prompt_tokens":24,"total_tokens":27,"completion_tokens":3},"system_fingerprint":"vllm"}\n\n'
    b"data: [DONE]\n\n"
)  # fmt: skip
# What it answers, with status 200, to a token id that it does not know.
REFUSED = (
    b'data: {"error": {"message": "Token id 16384 is out of vocabulary", "type": "BadRequestError", "param": null, '
    b'"code": 400}}\n\ndata: [DONE]\n\n'
)


def fed(*parts: bytes) -> Stream:
    """Return a stream to which the parts came at 1 s, 2 s, 3 s …"""
    stream = Stream()
    for at, part in enumerate(parts, start=1):
        stream.feed(part, float(at))
    return stream


def test_times_are_those_of_the_first_and_the_last_token():
    events = [event + b"\n\n" for event in RECORDED.split(b"\n\n")[:-1]]
    stream = fed(*events)
    assert stream.ended(asked=3) == ""
    assert times(stream, posted_at=0.5) == {
        "ttft_s": 0.5,
        "e2e_s": 2.5,  # usage at 4 s and the end at 5 s are no tokens
        "tpot_s": 1.0,
        "itl_max_s": 1.0,
        "output_tokens": 3,
        "chunks": 3,
    }


@pytest.mark.parametrize("size", [1, 7, 50, 333, 10_000])
def test_where_the_bytes_are_cut_does_not_matter(size):
    stream = fed(*(RECORDED[at : at + size] for at in range(0, len(RECORDED), size)))
    assert (stream.chunks, stream.usage["completion_tokens"], stream.ended(3)) == (3, 3, "")


def test_a_token_counts_when_its_line_is_complete():
    line, rest = RECORDED.split(b"\n", 1)
    stream = fed(line[:60], line[60:], b"\n" + rest)
    assert stream.first_at == 3.0


def test_a_chunk_without_a_choice_is_no_first_token():
    opening = b': ping\n\ndata: {"id":"cmpl-9b","choices":[]}\n\n'
    stream = fed(opening, RECORDED)
    assert (stream.first_at, stream.chunks) == (2.0, 3)


def test_json_written_with_spaces_and_crlf_is_read_too():
    stream = fed(
        b'data: {"choices": [{"index": 0, "text": "a"}]}\r\n\r\n',
        b'data: {"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 1}}\r\n\r\n',
    )
    assert (stream.chunks, stream.first_at, stream.ended(1)) == (1, 1.0, "")


def test_what_a_text_quotes_is_no_token():
    stream = fed(b'data: {"error":{"message":"you sent \\"choices\\":[{ to me"}}\n\n')
    assert stream.chunks == 0
    assert stream.ended(1) == 'the server gave up: you sent "choices":[{ to me'


def test_one_token_has_no_time_per_token():
    stream = fed(b'data: {"choices":[{"text":"a"}]}\n\n', b'data: {"choices":[],"usage":{"completion_tokens":1}}\n\n')
    found = times(stream, 0.0)
    assert (found["ttft_s"], found["e2e_s"], found["tpot_s"], found["itl_max_s"]) == (1.0, 1.0, None, None)


def test_several_tokens_in_one_chunk_are_counted_by_the_server():
    stream = fed(
        b'data: {"choices":[{"text":"a"}]}\n\n',
        b'data: {"choices":[{"text":"bcd"}]}\n\n',
        b'data: {"choices":[],"usage":{"completion_tokens":5}}\n\n',
    )
    found = times(stream, 0.0)
    assert (found["chunks"], found["output_tokens"]) == (2, 5)
    assert found["tpot_s"] is None  # one token may have come first, or four


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        (b"", "the answer broke off (chunks until then: 0)"),
        (RECORDED[:300], "the answer broke off (chunks until then: 1)"),
        (RECORDED, "the server sent 3 of 4 tokens"),
        (b"data: <html>\n\n", "the server sent what is no JSON object: <html>"),
        (b"data: [1]\n\n", "the server sent what is no JSON object: [1]"),
        (REFUSED, "the server gave up: Token id 16384 is out of vocabulary"),
        (b'data: {"error": "engine dead"}\n\n', "the server gave up: engine dead"),
    ],
)
def test_an_answer_that_did_not_end_as_asked_says_so(sent, sentence):
    stream = fed(sent)
    assert stream.ended(asked=4) == sentence
    if not stream.chunks:
        assert times(stream, 0.0)["ttft_s"] is None


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{"error":{"message":"the prompt\\nis too long"}}', "the server answered 400: the prompt is too long"),
        (b'{"detail": "no"}', "the server answered 400: {'detail': 'no'}"),
        (b"Bad Request", "the server answered 400: Bad Request"),
        (b"", "the server answered 400"),
        (b"x" * 5000, "the server answered 400: " + "x" * 300 + "…"),
    ],
)
def test_a_refusal_is_one_short_sentence(body, sentence):
    assert refusal(400, body) == sentence
