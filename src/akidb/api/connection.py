"""One connection: HTTP/1.1 parsed by httptools, with bounds on everything that its client can hold.

Requests are served one after the other; what arrives after a complete request is kept unparsed. `check` is
called at every tick and ends the connection when a deadline or the least rate is missed.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from akidb.api.errors import HeadTooLarge, RequestTimeout
from akidb.api.exchange import Exchange, refusal
from akidb.api.pace import Pace
from akidb.api.parsing import RequestParser
from akidb.api.sockets import addresses_of, has_unread
from akidb.domain.errors import AkiDBError, InvalidArgument

if TYPE_CHECKING:
    from akidb.api.host import Host

_MAX_PIPELINED = 64
"""Requests behind the one that is served and parsed with it; others are kept unparsed."""


class Connection(asyncio.Protocol):
    """A client. Used on the event loop only."""

    def __init__(self, clients: "Host[Connection]", *, is_local: bool) -> None:
        self.is_local = is_local
        self.requests = 0
        """Completed requests."""
        self._clients = clients
        self._limits = clients.limits
        self._transport: Any = None
        self._parser: RequestParser = None  # type: ignore[assignment]  # until the connection is made
        self._arriving: Exchange | None = None
        """The request whose body arrives, or has arrived last."""
        self._serving: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._kept = b""
        """What arrived behind the request that is being served."""
        # Transfers
        self._reading_paused = False
        self._write_waiter: asyncio.Event | None = None
        self._in, self._out = Pace(self._limits), Pace(self._limits)
        self._written = 0
        self._since = self._answer_since = self.now()
        self._ending_since: float | None = None
        self._discarded_bytes = 0
        self._asked = False
        """Whether the head of a request has arrived."""
        self._deaf = False
        """Whether nothing more is parsed, because the connection ends after the request in progress."""

    # asyncio

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self._transport = transport
        self._parser = RequestParser(self, self._limits, *addresses_of(transport))
        self._clients.add(self)

    def data_received(self, data: bytes) -> None:
        """Parse the data, or keep it while a request is being served."""
        if self._deaf or self._ending_since is not None:
            self._discard(len(data))
            return
        if not self._parser.has_begun:
            self._since = self.now()
        self._feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the request in progress."""
        del exc
        self._ending_since = self._ending_since or self.now()
        self._clients.discard(self)
        for exchange in {self._serving, self._arriving, *self._waiting} - {None}:
            exchange.disconnect()  # type: ignore[union-attr]
        if self._serving is not None:
            self.begin(self._serving)  # it is counted and logged
        self._waiting.clear()
        self._kept = b""
        self.resume_writing()

    def pause_writing(self) -> None:
        """Note that the client does not keep up with the response."""
        self._write_waiter = asyncio.Event()

    def resume_writing(self) -> None:
        """Note that it has caught up."""
        if self._write_waiter is not None:
            self._write_waiter.set()
            self._write_waiter = None

    # Parsing

    def _feed(self, data: bytes) -> None:
        at = 0
        parser = self._parser
        while at < len(data) and self._ending_since is None and not self._deaf:
            if self._serving is not None and (self._waiting or not parser.in_message):
                self._kept = data[at:] if at else data
                self._pause_reading()
                return
            size = parser.appetite
            piece = data if at == 0 and len(data) <= size else data[at : at + size]
            at += size
            try:
                if not parser.feed(piece):
                    self._stop_parsing()  # it is served as HTTP/1.1
            except AkiDBError as error:
                self._refuse(error)

    def on_head(
        self, scope: dict[str, Any], *, length: int | None, keep_alive: bool, continue_wanted: bool
    ) -> None:
        """Serve a request, or put it behind the one that is being served."""
        exchange = Exchange(
            self,
            scope,
            keep_alive=keep_alive,
            continue_wanted=continue_wanted,
            awaits_body=0 < (length or 0) <= self._limits.whole_body_bytes and not continue_wanted,
            is_late=self._clients.refusing,
        )
        if not self._asked:
            self._asked = True
            self._clients.note_request(self)
        self._arriving = exchange
        self._since = self.now()
        self._in.restart(0)
        if self._serving is None:
            self._serve(exchange)
        elif len(self._waiting) >= _MAX_PIPELINED:
            raise HeadTooLarge(self._limits.head_bytes)
        else:
            self._waiting.append(exchange)

    def on_body(self, body: bytes) -> None:
        """Add to the body of the request."""
        if self._arriving is not None and self._arriving.add(body):
            self._pause_reading()

    def on_end(self) -> None:
        """End the request."""
        self._since = self.now()
        if self._arriving is not None:
            self._arriving.complete()
            self.begin(self._arriving)

    # Serving

    def _serve(self, exchange: Exchange) -> None:
        """Make it the request in progress. It is cheap until it begins, so a small body is waited for."""
        self._serving = exchange
        if not exchange.awaits_body or exchange.is_cut:
            self.begin(exchange)

    def begin(self, exchange: Exchange) -> None:
        """Call the application if it is the turn of this request and that was not done."""
        if exchange.begun or exchange is not self._serving:
            return
        exchange.begun = True
        if exchange.awaits_body:
            self._clients.start_soon(exchange)
        else:
            self._clients.start(exchange)

    def begin_answer(self) -> None:
        """Begin to measure a response."""
        self._answer_since = self.now()
        self._out.restart(self._taken())

    def write(self, data: bytes) -> None:
        """Send bytes; see `drained`."""
        if data and not self._transport.is_closing():
            self._written += len(data)
            self._transport.write(data)

    async def drained(self) -> None:
        """Wait until the client has taken most of what was written, or is gone."""
        while self._write_waiter is not None and not self._transport.is_closing():
            await self._write_waiter.wait()

    def finish(self, exchange: Exchange) -> None:
        """Go on after a complete response: with the next request, or by closing."""
        self._clients.count_request()
        self.requests += 1
        if self._ending_since is not None:
            return
        if not exchange.keep_alive:
            self._end(lingers=not exchange.body_complete)
            return
        self._serving = None
        self._since = self.now()
        if exchange is self._arriving:
            self._arriving = None
        if self._waiting:
            self._serve(self._waiting.popleft())
        if self._kept:
            self._clients.loop.call_soon(self._go_on)
        else:
            self.resume_reading()

    def _go_on(self) -> None:
        data, self._kept = self._kept, b""
        self.resume_reading()
        self.data_received(data)

    def _refuse(self, error: AkiDBError) -> None:
        """Answer what cannot be served with a problem, and close."""
        if not isinstance(error, InvalidArgument):  # else it holds nothing; it is not HTTP
            self._clients.count_cut(error.code)
        serving = self._serving
        if serving is not None:
            self._stop_parsing()
            if not serving.body_complete:
                serving.cut(error)  # the fault is in its body; its application answers
            return
        self.begin_answer()
        self.write(refusal(error))
        self._end(lingers=True)

    def _stop_parsing(self) -> None:
        """End the connection after the request in progress."""
        self._deaf = True
        self._kept = b""
        for exchange in (self._serving, self._arriving):
            if exchange is not None:
                exchange.keep_alive = False
        self._pause_reading()

    def cut(self, error: AkiDBError) -> None:
        """End the connection of a client that holds too much for too long."""
        self._clients.count_cut(error.code)
        self.abort()

    def abort(self) -> None:
        """Close at once; what was not sent is discarded."""
        self._ending_since = self._ending_since or self.now()
        self._transport.abort()

    def shutdown(self) -> None:
        """Close, after the request in progress."""
        if self._serving is None:
            self._end(lingers=False)
        else:
            self._serving.keep_alive = False
            self.begin(self._serving)  # so that the shutdown waits for it, or cancels it, like any other

    def _end(self, *, lingers: bool) -> None:
        """Close when everything is sent. Lingering: not before the client has read the response.

        Closing with unread data would reset the connection, and the response could be lost.
        """
        if self._ending_since is not None:
            return
        self._ending_since = self.now()
        self._kept = b""
        if not lingers:
            self._transport.close()
            return
        self._transport.write_eof()
        if self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()

    # Reading

    def _discard(self, size: int) -> None:
        """Drop a part of the rest of a refused request; end the connection if there is too much of it."""
        self._discarded_bytes += size
        limits = self._limits
        if self._discarded_bytes > (limits.body_bytes if self._asked else limits.head_linger_bytes):
            self._transport.abort()

    def has_unread(self) -> bool:
        """Return whether bytes of the client have arrived that were not read."""
        return has_unread(self._transport)

    def _pause_reading(self) -> None:
        if not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on, unless a complete request is still to be parsed."""
        if not self._reading_paused or self._kept or self._deaf:
            return
        if not self._transport.is_closing():
            self._reading_paused = False
            self._transport.resume_reading()

    # Deadlines

    def now(self) -> float:
        """Return the time of the event loop, in seconds."""
        return self._clients.now()

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """Headers of all responses."""
        return self._clients.default_headers

    def check(self, now: float, passed_seconds: float) -> None:
        """End the connection if its client missed a deadline or the least rate."""
        serving = self._serving
        if self._transport.get_write_buffer_size():
            self._check_answer(now, passed_seconds)
        elif self._ending_since is not None:
            if now - self._ending_since > self._limits.linger_seconds:
                self._transport.abort()
        elif serving is None:
            self._check_head(now)
        elif self._parser.in_body and not self._reading_paused:
            self._check_body(now, passed_seconds)

    def _check_answer(self, now: float, passed_seconds: float) -> None:
        limits, serving = self._limits, self._serving
        is_stream = serving is not None and serving.is_stream
        seconds = limits.stream_seconds if is_stream else limits.answer_seconds
        if self._ending_since is not None:
            self._ending_since = now  # lingering begins when everything is sent
        if not self._out.is_kept(self._taken(), passed_seconds) or now - self._answer_since > seconds:
            self.cut(RequestTimeout("the response was not read in time"))

    def _check_head(self, now: float) -> None:
        limits = self._limits
        waited = now - self._since
        if self._parser.has_begun:
            if waited > limits.head_seconds:
                self._refuse(RequestTimeout(f"the head must arrive within {limits.head_seconds:g} seconds"))
        elif waited > (limits.idle_seconds if self.requests else limits.head_seconds):
            self._clients.count_cut("idle")
            self._end(lingers=False)

    def _check_body(self, now: float, passed_seconds: float) -> None:
        limits, exchange = self._limits, self._arriving
        if exchange is None or exchange.finished or exchange.is_cut:
            return
        seconds = limits.stream_seconds if exchange.is_stream else limits.body_seconds
        if not self._in.is_kept(exchange.received_bytes, passed_seconds):
            reason = f"the body must arrive at {limits.least_rate} bytes per second or faster"
        elif now - exchange.arrived_at > seconds:
            reason = f"the body must arrive within {seconds:g} seconds"
        else:
            return
        self._clients.count_cut("request_timeout")
        exchange.cut(RequestTimeout(reason))

    def _taken(self) -> int:
        """The bytes that left for the client since the connection was made."""
        unsent: int = self._transport.get_write_buffer_size()
        return self._written - unsent

    def answer_rate(self) -> float:
        """Bytes per second of the response, while the client was waited for."""
        return self._out.rate(self._taken())

    def body_rate(self, exchange: Exchange) -> float:
        """Bytes per second of the body, while the client was waited for."""
        return self._in.rate(exchange.received_bytes)

    def claim(self, now: float) -> tuple[int, float] | None:
        """Return how little this connection deserves its place, the least first; None if it must be kept.

        Those without a complete request come before idle ones, then slow bodies and unread responses.
        """
        limits, serving = self._limits, self._serving
        # New connections wait for this long while others are opened without a request.
        age = limits.crowded_seconds / (10 if serving is None and not self.requests else 2)
        if self._ending_since is not None or now - self._since < age:
            return None
        if serving is None:
            return (0 if self._parser.has_begun or not self.requests else 1, self._since)
        if self._transport.get_write_buffer_size():
            rate = self.answer_rate()
        elif self._parser.in_body and not self._reading_paused:
            rate = self.body_rate(serving)
        else:
            return None
        return (2, rate) if rate < limits.crowded_rate else None
