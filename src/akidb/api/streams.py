"""Bodies and answers of any size, in bytes: between an operation in its thread and the connection.

The operation reads or writes as if it had a file; each piece goes through the event loop, so that neither
side runs ahead of the other. Nothing is kept here but one piece.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from litestar import Request
from litestar.response.base import ASGIResponse

from akidb.api.bodies import STALL_SECONDS, ClientDisconnected
from akidb.api.errors import RequestTimeout, UnsupportedMediaType
from akidb.api.request_record import record_of
from akidb.api.workers import Workers
from akidb.domain.errors import AkiDBError, Unavailable
from akidb.observe.logs import logger

BYTES = "application/octet-stream"
PIECE_BYTES = 2**18

T = TypeVar("T")

_logger = logger("akidb.api")


class _Sent(ASGIResponse):
    """Stands for an answer that is on its way already."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        del scope, receive, send


class Stream:
    """Both ends of one exchange: `read` and `write` are called in the operation's thread."""

    def __init__(self, workers: Workers, request: Request[Any, Any, Any], *, status: int) -> None:
        self._workers = workers
        self._request = request
        self._status = status
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._at_end = False
        self._written = bytearray()
        self._started = False
        self._gone = False

    def check_type(self) -> None:
        """Raise UnsupportedMediaType for a body that does not say it is bytes, as no foreign form can."""
        headers = record_of(self._request.scope).headers
        if headers.get(b"content-type", b"").strip().lower() != BYTES.encode():
            raise UnsupportedMediaType("Content-Type", BYTES)
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise UnsupportedMediaType("Content-Encoding", "absent")

    def read(self, size: int, /) -> bytes:
        """Up to so many bytes of the body; none at its end."""
        while not self._received and not self._at_end:
            message = self._in_loop(self._receive())
            if message["type"] == "http.disconnect":
                raise ClientDisconnected
            self._received = message.get("body", b"")
            self._at_end = not message.get("more_body", False)
        piece, self._received = self._received[:size], self._received[size:]
        return piece

    def write(self, data: bytes, /) -> None:
        """Add to the answer."""
        self._written += data
        if len(self._written) >= PIECE_BYTES:
            self._flush(more=True)

    async def run(self, work: Callable[[], ASGIResponse], *, gives: bool) -> ASGIResponse:
        """Carry `work` out in a thread. What it raises after its answer began breaks the connection off."""
        watch = asyncio.create_task(self._watch()) if gives else None
        try:
            answer = await self._workers.run_slow(lambda: self._finished(work, gives=gives), "")
        except (AkiDBError, ClientDisconnected, OSError) as error:
            if not self._started:
                raise
            # The client sees that the end is missing: there is no other way to tell it now.
            _logger.warning("an answer was broken off (%s)", type(error).__name__)
            return _Sent()
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
        return _Sent()

    def _flush(self, *, more: bool) -> None:
        if self._gone:
            raise ClientDisconnected
        if self._workers.refusing:
            raise Unavailable("the server is shutting down")
        if not self._started:
            self._started = True
            headers = [(b"content-type", BYTES.encode())]
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
        """Note when the client leaves: what is sent then would be thrown away without a word."""
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self._gone = True

    def _in_loop(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Have the event loop do something, and wait for it. Raises RequestTimeout when nothing moves."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(STALL_SECONDS)
        except TimeoutError:
            future.cancel()
            raise RequestTimeout(STALL_SECONDS) from None
