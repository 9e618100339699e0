"""Binary request and response bodies of any size, between an operation's thread and the connection.

The operation reads or writes a file-like object in a thread for streams; each chunk passes through the event
loop, which applies backpressure. Only one chunk is buffered.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from litestar import Request
from litestar.response.base import ASGIResponse

from akidb.api.bodies import ClientDisconnected
from akidb.api.errors import UnsupportedMediaType
from akidb.api.exchange import exchange_of
from akidb.api.request_record import record_of
from akidb.api.workers import Workers
from akidb.domain.errors import AkiDBError, Unavailable
from akidb.observe.logs import logger
from akidb.observe.right_of_way import give_way
from akidb.ports import wire

BYTES = "application/octet-stream"
REPORT = b"akidb-report"
"""The header with the report of an answer that is not JSON, as JSON."""
PIECE_BYTES = 2**18

T = TypeVar("T")

_logger = logger("akidb.api")


class Sent(ASGIResponse):
    """A placeholder for a response that is already being sent."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send nothing."""
        del scope, receive, send


class Stream:
    """The body streams of one request: `read` and `write` are called in the operation's thread."""

    def __init__(self, workers: Workers, request: Request[Any, Any, Any], *, status: int) -> None:
        self._workers = workers
        self._request = request
        self._exchange = exchange_of(request.scope)
        self._exchange.is_stream = True
        self._status = status
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._at_end = False
        self._written = bytearray()
        self._started = False
        self._report = b""
        self._gone = False

    def check_type(self) -> None:
        """Raise UnsupportedMediaType unless the body is declared as binary, which a form cannot do."""
        headers = record_of(self._request.scope).headers
        if headers.get(b"content-type", b"").strip().lower() != BYTES.encode():
            raise UnsupportedMediaType("Content-Type", BYTES)
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise UnsupportedMediaType("Content-Encoding", "absent")

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes of the body; none at its end."""
        give_way()
        while not self._received and not self._at_end:
            message = self._in_loop(self._receive())
            if message["type"] == "http.disconnect":
                raise ClientDisconnected
            self._received = message.get("body", b"")
            self._at_end = not message.get("more_body", False)
        piece, self._received = self._received[:size], self._received[size:]
        return piece

    def write(self, data: bytes, /) -> None:
        """Append to the response."""
        give_way()
        self._written += data
        if len(self._written) >= PIECE_BYTES:
            self._flush(more=True)

    def announce(self, report: Any) -> None:
        """Send a report in a header, if it differs from that of an unexceptional answer."""
        if report != type(report)():
            self._report = wire.encode(report)

    def rate(self) -> float:
        """Return the bytes per second that the client moves, infinite while the server is the slower side."""
        exchange = self._exchange
        return exchange.answer_rate if exchange.started else exchange.body_rate

    async def run(self, work: Callable[[], ASGIResponse], *, gives: bool) -> ASGIResponse:
        """Run `work` in a thread. An error after the start of the response closes the connection."""
        watch = asyncio.create_task(self._watch()) if gives else None
        try:
            answer = await self._workers.run_stream(lambda: self._finished(work, gives=gives))
        except (AkiDBError, ClientDisconnected, OSError) as error:
            if not self._started:
                raise
            # The client sees a truncated response: the status was already sent.
            _logger.warning("response aborted (%s)", type(error).__name__)
            return Sent()
        finally:
            if watch is not None:
                watch.cancel()
                with suppress(asyncio.CancelledError):
                    await watch
        return answer

    def _finished(self, work: Callable[[], ASGIResponse], *, gives: bool) -> ASGIResponse:
        answer = work()
        if not gives:
            return answer
        self._flush(more=False)
        return Sent()

    def _flush(self, *, more: bool) -> None:
        if self._gone:
            raise ClientDisconnected
        if self._workers.refusing:
            raise Unavailable("the server is shutting down")
        if not self._started:
            self._started = True
            headers = [(b"content-type", BYTES.encode())]
            if self._report:
                headers.append((REPORT, self._report))
            self._in_loop(
                self._send({"type": "http.response.start", "status": self._status, "headers": headers})
            )
        body = bytes(self._written)
        self._written.clear()
        self._in_loop(self._send({"type": "http.response.body", "body": body, "more_body": more}))

    async def _receive(self) -> Any:
        return await self._request.receive()

    async def _send(self, message: Any) -> None:
        await self._request.send(message)

    async def _watch(self) -> None:
        """Record a client disconnect: data sent afterwards would be silently discarded."""
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self._gone = True

    def _in_loop(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the event loop and wait. The connection ends the wait for a slow client."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
