"""A completion server without a model: it answers at once, or misbehaves as told. `stub_server.py BEHAVIOUR [AFTER]`.

Written on bare sockets, so that under load the client is the slower of the two. BEHAVIOUR comes into force after AFTER
completions: `answer` never changes, `refuse` answers 400, `die` ends the process in the middle of an answer, `stall`
keeps the connection open and silent, `short` sends half of the tokens. It prints its port; GET /seen returns the bodies
of all completions that were asked for, one to a line.
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
import sys

LENGTH = re.compile(rb"(?i)content-length: *(\d+)")
MAX_TOKENS = re.compile(rb'"max_tokens": *(\d+)')
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
TOKEN = b'data: {"id":"cmpl-0","object":"text_completion","created":1,"choices":[{"index":0,"text":" a"}]}'
USAGE = b'data: {"id":"cmpl-0","object":"text_completion","created":1,"choices":[],"usage":%b}'
REFUSAL = b'{"error":{"message":"the prompt is too long","type":"BadRequestError","code":400}}'


def plain(status: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def event(line: bytes) -> bytes:
    """Return a server-sent event as one chunk of the answer."""
    return b"%x\r\n%b\n\n\r\n" % (len(line) + 2, line)


@functools.lru_cache
def pieces(tokens: int) -> tuple[bytes, ...]:
    """Return what a server writes one after another: the head, each token, and the end."""
    usage = b'{"prompt_tokens":8,"completion_tokens":%d,"total_tokens":%d}' % (tokens, tokens + 8)
    return (STREAM, *[event(TOKEN)] * tokens, event(USAGE % usage), event(b"data: [DONE]"), b"0\r\n\r\n")


class Stub(asyncio.Protocol):
    behaviour, after = "answer", 0
    seen: list[bytes] = []  # noqa: RUF012 - all connections share it

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport, self.rest = transport, b""

    def data_received(self, data: bytes) -> None:
        self.rest += data
        while (end := self.rest.find(b"\r\n\r\n")) >= 0:
            head = self.rest[:end]
            length = LENGTH.search(head)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self.rest) < whole:
                return
            body, self.rest = self.rest[end + 4 : whole], self.rest[whole:]
            self.answer(head, body)

    def answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET /seen"):
            self.transport.write(plain(b"200 OK", b"\n".join(Stub.seen)))
        elif head.startswith(b"GET /health"):
            self.transport.write(plain(b"200 OK", b""))
        elif head.startswith(b"POST /v1/completions"):
            Stub.seen.append(body)
            self.complete(int(MAX_TOKENS.search(body)[1]), len(Stub.seen) > Stub.after)
        else:
            self.transport.write(plain(b"404 Not Found", b"{}"))

    def complete(self, tokens: int, misbehave: bool) -> None:
        if not misbehave or Stub.behaviour == "answer":
            for piece in pieces(tokens):
                self.transport.write(piece)
        elif Stub.behaviour == "refuse":
            self.transport.write(plain(b"400 Bad Request", REFUSAL))
        elif Stub.behaviour == "short":
            self.transport.write(b"".join(pieces(tokens // 2)))
        else:
            self.transport.write(STREAM + event(TOKEN))
            if Stub.behaviour == "die":
                os._exit(1)


async def main() -> None:
    Stub.behaviour, Stub.after = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
