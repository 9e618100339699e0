"""The parser of requests: how much of a chunked body it reads, whatever is around the content."""

from typing import Any

import pytest

from akidb.api.errors import HeadTooLarge
from akidb.api.limits import LIMITS
from akidb.api.parsing import CHUNKED_PIECE_BYTES, RequestParser
from akidb.domain.errors import InvalidArgument

HEAD = b"POST /v1/tenants HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


class Collected:
    """The body of a request."""

    def __init__(self) -> None:
        self.body = b""
        self.ended = 0

    def on_head(
        self, scope: dict[str, Any], *, length: int | None, keep_alive: bool, continue_wanted: bool
    ) -> None: ...

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_end(self) -> None:
        self.ended += 1


def read_until_refused(chunk: bytes, most: int = 2**24) -> int:
    """How many bytes of a body of such chunks are parsed before it is refused."""
    parser = RequestParser(Collected(), LIMITS, None, None)
    parser.feed(HEAD)
    flood = chunk * (most // len(chunk))
    for at in range(0, most, CHUNKED_PIECE_BYTES):
        try:
            parser.feed(flood[at : at + CHUNKED_PIECE_BYTES])
        except (InvalidArgument, HeadTooLarge):
            return at
    return most


@pytest.mark.parametrize("content", [1, 2, 100])
@pytest.mark.parametrize("extension", [1_000, 8_000, 30_000])
def test_chunk_extensions_are_bounded_for_the_whole_body(content: int, extension: int) -> None:
    """16 connections with extensions of 8,000 bytes made a neighbour's requests take a second."""
    chunk = b"%x;%s\r\n%s\r\n" % (content, b"e" * extension, b" " * content)
    assert read_until_refused(chunk) <= LIMITS.head_bytes * 2


@pytest.mark.parametrize("content", [1, 16, 64, 100_000])
def test_content_may_have_usual_framing(content: int) -> None:
    requests = Collected()
    parser = RequestParser(requests, LIMITS, None, None)
    count = 4_000 if content < 100 else 20
    body = b"%x;name=value\r\n%s\r\n" % (content, b" " * content) * count + b"0\r\n\r\n"
    parser.feed(HEAD)
    for again in range(2):  # the next request of the connection begins anew
        for at in range(0, len(body), CHUNKED_PIECE_BYTES):
            parser.feed(body[at : at + CHUNKED_PIECE_BYTES])
        assert (requests.ended, len(requests.body)) == (again + 1, (again + 1) * content * count)
        parser.feed(HEAD)
