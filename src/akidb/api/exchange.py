"""One request on a connection and its response: the `receive` and `send` of ASGI.

A response is passed on in pieces, each after the client took most of the ones before it.
"""

import asyncio
import http
from math import inf
from typing import Any, Protocol

from akidb.api import errors
from akidb.api.headers import request_id
from akidb.domain.errors import AkiDBError
from akidb.observe.logs import logger

PIECE_BYTES = 64 * 1024
MAX_UNREAD_BYTES = 64 * 1024
"""Reading pauses while the application has not taken this much of a body."""

_KEY = "akidb.exchange"
_WITHOUT_BODY = frozenset({204, 304})
_INTERNAL = b'{"type":"urn:akidb:error:internal","title":"Internal error","status":500,"code":"internal"}'
_logger = logger("akidb.api")


def status_line(status: int) -> bytes:
    """Return the first line of a response."""
    return _STATUS_LINES[status]


_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus
}


def refusal(error: AkiDBError) -> bytes:
    """Return a complete response to what is not a request; the connection ends after it."""
    media_type, body = errors.body_of(error, request_id({}), "")
    head = (
        f"content-type: {media_type}\r\ncontent-length: {len(body)}\r\n"
        "cache-control: no-store\r\nconnection: close\r\n\r\n"
    )
    return status_line(errors.status_of(error)) + head.encode() + body


class Carrier(Protocol):
    """The connection of an exchange."""

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """Headers of all responses."""

    def now(self) -> float:
        """Return the time of the event loop, in seconds."""

    def resume_reading(self) -> None:
        """Read on."""

    def begin_answer(self) -> None:
        """Begin to measure a response."""

    def write(self, data: bytes) -> None:
        """Send bytes; see `drained`."""

    async def drained(self) -> None:
        """Wait until the client has taken most of what was written, or is gone."""

    def begin(self, exchange: "Exchange") -> None:
        """Call the application if it is the turn of this request and that was not done."""

    def finish(self, exchange: "Exchange") -> None:
        """Go on after a complete response."""

    def answer_rate(self) -> float:
        """Bytes per second of the response, while the client was waited for."""

    def body_rate(self, exchange: "Exchange") -> float:
        """Bytes per second of the body, while the client was waited for."""

    def cut(self, error: AkiDBError) -> None:
        """End the connection of a client that holds too much for too long."""

    def abort(self) -> None:
        """Close at once."""


class Exchange:
    """A request and its response. Used on the event loop only."""

    __slots__ = (
        "_arrived",
        "_body",
        "_chunked",
        "_connection",
        "_continue_wanted",
        "_fault",
        "_head",
        "_left",
        "_sends_body",
        "_told_end",
        "arrived_at",
        "awaits_body",
        "begun",
        "body_complete",
        "disconnected",
        "finished",
        "is_late",
        "is_stream",
        "keep_alive",
        "received_bytes",
        "scope",
        "started",
    )

    def __init__(
        self,
        connection: Carrier,
        scope: dict[str, Any],
        *,
        keep_alive: bool,
        continue_wanted: bool,
        awaits_body: bool,
        is_late: bool,
    ) -> None:
        scope[_KEY] = self
        self.scope = scope
        self.keep_alive = keep_alive
        self.is_stream = False
        """Whether its body or its response is an archive."""
        self.arrived_at = connection.now()
        self.received_bytes = 0
        self.body_complete = False
        self.disconnected = False
        self.awaits_body = awaits_body
        """Whether it begins when its body is complete, which it is not."""
        self.is_late = is_late
        """Whether its head arrived after the shutdown had begun."""
        self.begun = False
        """Whether its application was called, or will be soon."""
        self.started = False
        """Whether its response has begun."""
        self.finished = False
        self._connection = connection
        self._continue_wanted = continue_wanted
        self._arrived = asyncio.Event()
        self._body = bytearray()
        self._told_end = False
        self._fault: AkiDBError | None = None
        self._head = b""
        self._sends_body = True
        self._chunked = False
        self._left: int | None = None
        """Bytes still to be sent according to Content-Length."""

    # What the connection reports

    def add(self, body: bytes) -> bool:
        """Append to the body. Return whether the application has enough to do."""
        if self.finished or self._fault is not None:
            return False
        self.received_bytes += len(body)
        self._body += body
        self._arrived.set()
        return len(self._body) > MAX_UNREAD_BYTES

    def complete(self) -> None:
        """Note the end of the body."""
        self.body_complete = True
        self.awaits_body = False
        self._arrived.set()

    def disconnect(self) -> None:
        """Note the end of the connection."""
        self.disconnected = True
        self._arrived.set()

    # What the server decides

    @property
    def age_seconds(self) -> float:
        """The time since the end of the head."""
        return self._connection.now() - self.arrived_at

    @property
    def body_rate(self) -> float:
        """Bytes per second of the body; infinite while the server is the slower side."""
        return inf if self.body_complete else self._connection.body_rate(self)

    @property
    def answer_rate(self) -> float:
        """Bytes per second of the response; infinite while the server is the slower side."""
        return self._connection.answer_rate()

    @property
    def is_cut(self) -> bool:
        """Whether its application is to refuse the rest of the body."""
        return self._fault is not None

    def cut(self, error: AkiDBError) -> None:
        """Refuse the rest of the body with this error, or end the connection if the response has begun."""
        if self.started or self.body_complete:
            self._connection.cut(error)
        elif self._fault is None:
            self._fault = error
            self._body.clear()
            self._arrived.set()
            self._connection.begin(self)  # its application answers

    # ASGI

    async def run(self, app: Any) -> None:
        """Call the application. An error that it does not handle is logged, not exposed."""
        try:
            await app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            self._connection.abort()
            raise
        except BaseException:
            _logger.exception("request failed")
            if not self.started and not self.disconnected:
                await self._send_internal_error()
        if not self.finished and not self.disconnected:
            self._connection.abort()

    async def receive(self) -> Any:
        """Return the next part of the body, or the end of the connection. Raises the error of `cut`."""
        connection = self._connection
        if self._continue_wanted and not self.started:
            connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._continue_wanted = False
        while True:
            if self.disconnected or self.finished:
                return {"type": "http.disconnect"}
            if self._fault is not None:
                raise self._fault
            if self._body or (self.body_complete and not self._told_end):
                body = bytes(self._body)
                self._body = bytearray()
                self._told_end = self.body_complete
                return {"type": "http.request", "body": body, "more_body": not self.body_complete}
            self._arrived.clear()
            connection.resume_reading()
            await self._arrived.wait()

    async def send(self, message: Any) -> None:
        """Send the head or a part of the response, and wait until the client has taken most of it."""
        if self.disconnected:
            return
        if not self.started:
            self._start(message["status"], message.get("headers", ()))
            return
        if self.finished:
            raise RuntimeError("the response is complete")
        await self._send_body(message.get("body", b""), more=message.get("more_body", False))

    def _start(self, status: int, headers: Any) -> None:
        connection = self._connection
        self.started = True
        self._continue_wanted = False
        if not self.body_complete:
            self.keep_alive = False  # the rest of the body must not be read as a request
        connection.begin_answer()
        method = self.scope["method"]
        self._sends_body = method != "HEAD" and status not in _WITHOUT_BODY
        parts = [status_line(status)]
        announced = closes = False
        for name, value in (*connection.default_headers, *headers):
            if name == b"content-length":
                announced = True
                self._left = int(value)
            elif name == b"connection":
                closes = closes or value.lower() == b"close"
            parts += (name, b": ", value, b"\r\n")
        self.keep_alive = self.keep_alive and not closes
        if not announced and self._sends_body:
            if self.scope["http_version"] == "1.1":
                self._chunked = True
                parts.append(b"transfer-encoding: chunked\r\n")
            else:
                self.keep_alive = False  # the end of the connection is the end of the body
        if not self.keep_alive and not closes:
            parts.append(b"connection: close\r\n")
        parts.append(b"\r\n")
        self._head = b"".join(parts)

    async def _send_body(self, body: bytes, *, more: bool) -> None:
        connection = self._connection
        if not self._sends_body:
            body = b""
            self._left = None
        if self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("the response differs from its Content-Length")
        at = 0
        while True:
            piece = body if len(body) <= PIECE_BYTES else body[at : at + PIECE_BYTES]
            at += PIECE_BYTES
            is_last = at >= len(body)
            connection.write(self._framed(piece, ends=is_last and not more))
            if is_last:
                break
            await connection.drained()
            if self.disconnected:
                return
        if more:
            await connection.drained()
        else:
            self.finished = True
            self._arrived.set()
            connection.finish(self)

    def _framed(self, piece: bytes, *, ends: bool) -> bytes:
        head, self._head = self._head, b""
        if not self._chunked:
            return head + piece if head else piece
        end = b"0\r\n\r\n" if ends else b""
        return b"%b%x\r\n%b\r\n%b" % (head, len(piece), piece, end) if piece else head + end

    async def _send_internal_error(self) -> None:
        length = str(len(_INTERNAL)).encode()
        headers = [(b"content-type", b"application/problem+json"), (b"content-length", length)]
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body", "body": _INTERNAL})


def exchange_of(scope: Any) -> Exchange:
    """Return the exchange of the request with this scope."""
    exchange: Exchange = scope[_KEY]
    return exchange
