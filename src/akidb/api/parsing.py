"""Parses the requests of a connection with httptools, with bounds on heads, trailers and chunk framing.

httptools limits none of them.
"""

from typing import Any, Protocol
from urllib.parse import unquote

import httptools

from akidb.api.errors import HeadTooLarge, TargetTooLong
from akidb.api.limits import Limits
from akidb.domain.errors import AkiDBError, InvalidArgument

HEAD_PIECE_BYTES = 1024
CHUNKED_PIECE_BYTES = 16 * 1024
BODY_PIECE_BYTES = 256 * 1024

FREE_CHUNKS = 4096
"""So many chunks may be of any size."""
LEAST_CHUNK_BYTES = 64
"""Average size of the chunks of a body with more of them: each takes time, however small it is."""

_INVALID = InvalidArgument("request", "is not HTTP/1.1")


class Requests(Protocol):
    """What becomes of the parts of requests."""

    def on_head(
        self, scope: dict[str, Any], *, length: int | None, keep_alive: bool, continue_wanted: bool
    ) -> None:
        """Begin a request. `length` is that of its body in bytes, None if it is chunked."""

    def on_body(self, body: bytes) -> None:
        """Add to its body."""

    def on_end(self) -> None:
        """End it."""


class RequestParser:
    """The parser of one connection."""

    def __init__(self, requests: Requests, limits: Limits, server: Any, client: Any) -> None:
        """Take the addresses of the server and the client, as ASGI has them."""
        self.in_message = False
        """Whether a request is incomplete."""
        self.in_body = False
        """Whether its head is complete."""
        self.has_begun = False
        """Whether a byte of a request has arrived; line breaks before it count."""
        self._requests = requests
        self._limits = limits
        self._server, self._client = server, client
        self._parser: Any = httptools.HttpRequestParser(self)
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._scope: dict[str, Any] = {}
        self._headers: list[tuple[bytes, bytes]] = []
        self._url = b""
        self._continue_wanted = False
        self._head_bytes = self._header_count = 0
        self._framed_bytes = 0
        """Bytes since the last byte of a chunked body: chunk sizes, extensions, trailers."""
        self._chunks = self._chunked_bytes = 0
        self._parsed_bytes = 0
        """Bytes of a chunked body with its framing."""
        self._length: int | None = None
        """Bytes of the body that have not arrived, or None for a chunked body."""

    @property
    def appetite(self) -> int:
        """How many bytes to parse at a time, so that little is parsed beyond a limit or a request."""
        if not self.in_body:
            return HEAD_PIECE_BYTES
        return min(self._length or CHUNKED_PIECE_BYTES, BODY_PIECE_BYTES)

    def feed(self, piece: bytes) -> bool:
        """Parse a piece. Return False if it is the last one, since the client asks for another protocol.

        Raises HeadTooLarge, TargetTooLong, and InvalidArgument if it is not HTTP.
        """
        limit = self._limits.head_bytes
        self.has_begun = True
        if not self.in_body:
            self._head_bytes += len(piece)
            if self._head_bytes > limit + HEAD_PIECE_BYTES:  # the last piece may contain a part of the body
                raise HeadTooLarge(limit)
        elif self._length is None:
            self._framed_bytes += len(piece)
            if self._framed_bytes > limit + CHUNKED_PIECE_BYTES:
                raise HeadTooLarge(limit)
            self._parsed_bytes += len(piece)
            if self._parsed_bytes - 2 * self._chunked_bytes > limit + CHUNKED_PIECE_BYTES:
                raise InvalidArgument(
                    "body", f"must not have over {limit} bytes of chunk framing beyond its length"
                )
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            return False
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            raise (cause if isinstance(cause, AkiDBError) else _INVALID) from None
        except httptools.HttpParserError:
            raise _INVALID from None
        return True

    def on_message_begin(self) -> None:
        """Begin a head."""
        self.in_message = self.has_begun = True
        self._continue_wanted = False
        self._header_count = self._framed_bytes = 0
        self._chunks = self._chunked_bytes = self._parsed_bytes = 0
        self._url = b""
        self._headers = []
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self._server,
            "client": self._client,
            "scheme": "http",
            "root_path": "",
            "headers": self._headers,
            "state": {},
        }

    def on_url(self, url: bytes) -> None:
        """Append to the request target. httptools cannot split one of 64 KiB."""
        self._url += url
        if len(self._url) > self._limits.target_bytes:
            raise TargetTooLong(self._limits.target_bytes)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header field; a trailer is only counted."""
        self._header_count += 1
        if self._header_count > self._limits.headers:
            raise HeadTooLarge(self._limits.head_bytes)
        if self.in_body:
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self._continue_wanted = True
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Pass on the head."""
        scope, parser = self._scope, self._parser
        version = parser.get_http_version()
        if version != "1.1":
            scope["http_version"] = version
        scope["method"] = parser.get_method().decode("ascii")
        if b"#" in self._url:
            raise InvalidArgument("path", "must not have a fragment")
        url = httptools.parse_url(self._url)
        if (
            b"://" in self._url.partition(b"?")[0]
            and (b"host", self._url.split(b"/")[2]) not in self._headers
        ):
            raise InvalidArgument("Host", "must be that of the request target")
        raw_path = url.path or b"/"
        path = raw_path.decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = raw_path
        scope["query_string"] = url.query or b""
        self._length = _announced(self._headers)
        self.in_body = True
        keep_alive = version == "1.1" and parser.should_keep_alive()
        self._requests.on_head(
            scope, length=self._length, keep_alive=keep_alive, continue_wanted=self._continue_wanted
        )

    def on_body(self, body: bytes) -> None:
        """Pass on a part of the body."""
        if self._length is None:
            self._framed_bytes = 0
            self._chunks += 1
            self._chunked_bytes += len(body)
            if self._chunks > FREE_CHUNKS and self._chunked_bytes < self._chunks * LEAST_CHUNK_BYTES:
                raise InvalidArgument("body", f"must have chunks of {LEAST_CHUNK_BYTES} bytes on average")
        else:
            self._length -= len(body)
        self._requests.on_body(body)

    def on_message_complete(self) -> None:
        """Pass on the end."""
        self.in_message = self.in_body = self.has_begun = False
        self._head_bytes = self._framed_bytes = 0
        self._requests.on_end()


def _announced(headers: list[tuple[bytes, bytes]]) -> int | None:
    """Return the length of the body, or None if it is chunked."""
    length = 0
    for name, value in headers:
        if name == b"transfer-encoding":
            return None
        if name == b"content-length":
            length = int(value)  # valid: the parser has read it
    return length
