"""What one streamed completion says: when its tokens came, how many the server counted, and what went wrong."""

from __future__ import annotations

import json
from typing import Any

# As vLLM writes it; inside a text the quotes would be escaped. A chunk written otherwise is parsed, which costs more.
TOKEN = b'"choices":[{'
LONGEST_WORDS = 300  # characters of what a server says about an error


class Stream:
    """Feed it the bytes of the answer as they come. Times are what the caller's clock said when they came.

    A chunk with a choice in it carries a token, also where its text is empty (half a character). Several tokens may
    come in one chunk when the reader is slow, so how many there were is only known from the server's `usage`.
    """

    def __init__(self) -> None:
        self.first_at: float | None = None
        self.last_at: float | None = None
        self.gap_max_s: float | None = None
        self.chunks = 0
        self.usage: dict[str, Any] = {}
        self.error = ""
        self._rest = b""

    def feed(self, data: bytes, at: float) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                if TOKEN in line:
                    self._token(at)
                else:
                    self._event(line[len(b"data:") :].strip(), at)

    def ended(self, asked: int) -> str:
        """Say what is wrong with the answer now that it has ended, or nothing. `asked` is in tokens."""
        if self.error:
            return self.error
        if not self.usage:
            return f"the answer broke off (chunks until then: {self.chunks})"
        sent = self.usage.get("completion_tokens")
        return "" if sent == asked else f"the server sent {sent} of {asked} tokens"

    def _token(self, at: float) -> None:
        self.chunks += 1
        if self.first_at is None:
            self.first_at = at
        else:
            self.gap_max_s = max(self.gap_max_s or 0.0, at - self.last_at)
        self.last_at = at

    def _event(self, text: bytes, at: float) -> None:
        if text == b"[DONE]":
            return
        try:
            event = json.loads(text)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            self.error = self.error or f"the server sent what is no JSON object: {shown(text)}"
            return
        if "error" in event:
            self.error = self.error or f"the server gave up: {said(event)}"
        if event.get("choices"):
            self._token(at)
        self.usage = event.get("usage") or self.usage


def said(answer: Any) -> str:
    """Return the message of an error as servers of this kind wrap it, or the whole of it."""
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    message = error.get("message", error) if isinstance(error, dict) else error
    return shown(str(message).encode())


def refusal(status: int, body: bytes) -> str:
    """Say why a request was not taken."""
    try:
        words = said(json.loads(body))
    except ValueError:
        words = shown(body)
    return f"the server answered {status}" + (f": {words}" if words else "")


def shown(text: bytes) -> str:
    """Return the text as the end of a one-line sentence."""
    words = " ".join(text.decode(errors="replace").split())
    return words if len(words) <= LONGEST_WORDS else words[:LONGEST_WORDS] + "…"


def times(stream: Stream, posted_at: float) -> dict[str, Any]:
    """Return the columns of a request's row that follow from its stream.

    `ttft_s` ends with the first chunk that carries a token, `e2e_s` with the last one that does: what follows it
    (usage, end of stream) is no longer the model's work. `tpot_s` is None where a chunk carried several tokens: how
    many came first, and so how many came after it, is not known.
    """
    tokens = stream.usage.get("completion_tokens", 0)
    known = stream.first_at is not None
    ttft_s, e2e_s = (stream.first_at - posted_at, stream.last_at - posted_at) if known else (None, None)
    return {
        "ttft_s": ttft_s,
        "e2e_s": e2e_s,
        "tpot_s": (e2e_s - ttft_s) / (tokens - 1) if known and tokens == stream.chunks > 1 else None,
        "itl_max_s": stream.gap_max_s,
        "output_tokens": tokens,
        "chunks": stream.chunks,
    }
