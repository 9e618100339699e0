"""The connections of a server, accepted up to a number that leaves file descriptors for the stores.

They are checked at every tick. When all places are taken, the one that deserves its place least is closed in
favour of the next one.
"""

import asyncio
import errno
import socket
from collections import deque
from collections.abc import Coroutine
from heapq import nsmallest
from typing import Any, Protocol

from akidb.api.connection import Connection
from akidb.api.exchange import Exchange
from akidb.api.limits import Limits
from akidb.api.sockets import BACKLOG
from akidb.observe.logs import logger

SCARCE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
ACCEPTED_AT_ONCE = 8
"""So that requests on open connections are served between them."""
SPARE = ACCEPTED_AT_ONCE
"""Connections beyond the limit, each until the one that is closed for it has given its descriptor back."""
STARTED_AT_ONCE = 8
"""Of the requests that are cut off or gone before their bodies were complete, for the same reason."""
_LOOKED_AT = 64
"""How many of those that deserve their places least are looked for at a time."""
_LOOK_SECONDS = 0.05
"""How often: it takes a millisecond per thousand connections."""

_logger = logger("akidb.api")


class ServerState(Protocol):
    """uvicorn's record of its connections and tasks, which a shutdown waits for."""

    total_requests: int
    connections: set[Any]
    tasks: set["asyncio.Task[None]"]
    default_headers: list[tuple[bytes, bytes]]


class Counts(Protocol):
    """Counts the clients that were cut off."""

    def count_cut(self, reason: str) -> None:
        """Count one."""


class Served(Protocol):
    """The ASGI application."""

    @property
    def refusing(self) -> bool:
        """Whether it is shutting down."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""


class Clients:
    """All connections of one server. Used on its event loop only."""

    def __init__(self, app: Served, state: ServerState, limits: Limits, counts: Counts) -> None:
        self.limits = limits
        self.state = state
        self.loop = asyncio.get_running_loop()
        self._app = app
        self._counts = counts
        self._remote: set[Connection] = set()
        self._local: set[Connection] = set()
        self._taken = {True: 0, False: 0}
        """Accepted connections, those over the Unix socket and the others."""
        self._silent: dict[bool, dict[Connection, float]] = {True: {}, False: {}}
        """Connections that have never sent a request, since when, the oldest first."""
        self._candidates: dict[bool, list[Connection]] = {True: [], False: []}
        """Others that may be closed, the next one last."""
        self._looked_at = {True: -_LOOK_SECONDS, False: -_LOOK_SECONDS}
        self._listeners: list[Listener] = []
        self._soon: deque[Exchange] = deque()
        """Requests to start a few at a time."""
        self._checked_at = self.now()
        self._timer = self.loop.call_later(limits.tick_seconds, self._check)

    def listen(self, listening: socket.socket) -> "Listener":
        """Accept connections on a bound socket."""
        listener = Listener(self, listening)
        self._listeners.append(listener)
        return listener

    def close(self) -> None:
        """Stop the checks."""
        self._timer.cancel()

    def now(self) -> float:
        """Return the time of the event loop, in seconds."""
        return self.loop.time()

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """Headers of all responses."""
        return self.state.default_headers

    @property
    def refusing(self) -> bool:
        """Whether the server is shutting down."""
        return self._app.refusing

    def start(self, exchange: Exchange) -> None:
        """Serve a request in a task."""
        self._run(exchange.run(self._app))

    def start_soon(self, exchange: Exchange) -> None:
        """Serve a request whose body is incomplete; if there are many, a few at a time."""
        self._soon.append(exchange)
        if len(self._soon) == 1:
            self._run(self._start_some())

    async def _start_some(self) -> None:
        while self._soon:
            for _ in range(min(len(self._soon), STARTED_AT_ONCE)):
                self.start(self._soon.popleft())
            await asyncio.sleep(0)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self.state.tasks.add(task)
        task.add_done_callback(self.state.tasks.discard)

    def count_request(self) -> None:
        """Count a complete response."""
        self.state.total_requests += 1

    def count_cut(self, reason: str) -> None:
        """Count a client that was cut off."""
        self._counts.count_cut(reason)

    def add(self, connection: Connection) -> None:
        """Add an open connection."""
        self.state.connections.add(connection)
        (self._local if connection.is_local else self._remote).add(connection)
        self._silent[connection.is_local][connection] = self.now()

    def note_request(self, connection: Connection) -> None:
        """Note that a connection has sent the head of its first request."""
        self._silent[connection.is_local].pop(connection, None)

    def discard(self, connection: Connection) -> None:
        """Remove a closed connection."""
        self.state.connections.discard(connection)
        (self._local if connection.is_local else self._remote).discard(connection)
        self._silent[connection.is_local].pop(connection, None)
        self.leave(is_local=connection.is_local)

    def forget(self, listener: "Listener") -> None:
        """Remove a listener that was closed."""
        self._listeners.remove(listener)

    def enter(self, *, is_local: bool) -> None:
        """Count an accepted connection; beyond the limit, close another one for it."""
        self._taken[is_local] += 1
        if self._taken[is_local] > self._most(is_local=is_local):
            self.reclaim(is_local=is_local)

    def leave(self, *, is_local: bool) -> None:
        """Note that a connection was closed."""
        self._taken[is_local] -= 1
        for listener in self._listeners:
            listener.resume()

    def has_place(self, *, is_local: bool) -> bool:
        """Return whether one more connection may be accepted: there is a place, or one that can be closed."""
        taken, most = self._taken[is_local], self._most(is_local=is_local)
        return taken < most or (taken < most + SPARE and self._least(is_local=is_local) is not None)

    def reclaim(self, *, is_local: bool) -> None:
        """Close the connection that deserves its place least, if there is one."""
        least = self._least(is_local=is_local)
        if least is not None:
            self._silent[is_local].pop(least, None)
            self.count_cut("connections")
            least.abort()

    def _most(self, *, is_local: bool) -> int:
        return self.limits.local_connections if is_local else self.limits.connections

    def _least(self, *, is_local: bool) -> Connection | None:
        """Return what to close next: the oldest one without a request, else the one with the least claim.

        Not one that has just come, or whose first bytes have arrived.
        """
        now = self.now()
        latest = now - self.limits.silent_seconds
        for connection, since in self._silent[is_local].items():
            if since > latest:
                break
            if not connection.has_unread():
                return connection
        return self._of_candidates(now, is_local=is_local)

    def _of_candidates(self, now: float, *, is_local: bool) -> Connection | None:
        candidates = self._candidates[is_local]
        while True:
            while candidates:
                if candidates[-1].claim(now) is not None:
                    return candidates[-1]
                candidates.pop()
            if now - self._looked_at[is_local] < _LOOK_SECONDS:
                return None
            self._looked_at[is_local] = now
            connections = self._local if is_local else self._remote
            claims = [(claim, place) for place in connections if (claim := place.claim(now)) is not None]
            found = nsmallest(_LOOKED_AT, claims, key=lambda pair: pair[0])
            candidates += [place for _, place in reversed(found)]

    def _check(self) -> None:
        now = self.now()
        passed, self._checked_at = now - self._checked_at, now
        for connection in [*self._remote, *self._local]:
            connection.check(now, passed)
        for listener in self._listeners:
            listener.resume()
        self._timer = self.loop.call_later(self.limits.tick_seconds, self._check)


class Listener:
    """A listening socket. While no place is free, clients wait in the queue of the operating system."""

    def __init__(self, clients: Clients, listening: socket.socket) -> None:
        self._clients = clients
        self._socket = listening
        self._is_local = listening.family == socket.AF_UNIX
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepts = self._closed = False
        listening.setblocking(False)
        listening.listen(BACKLOG)
        self.resume()

    def resume(self) -> None:
        """Accept connections."""
        if not self._accepts and not self._closed:
            self._accepts = True
            self._clients.loop.add_reader(self._socket.fileno(), self._accept)

    def _pause(self) -> None:
        if self._accepts:
            self._accepts = False
            self._clients.loop.remove_reader(self._socket.fileno())

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            if not self._clients.has_place(is_local=self._is_local):
                self._pause()
                self._clients.loop.call_later(self._clients.limits.silent_seconds, self.resume)
                return
            try:
                accepted, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in SCARCE:
                    raise
                _logger.warning("cannot accept a connection: %s", error.strerror)
                self._clients.reclaim(is_local=False)
                self._pause()  # until the next check: the socket stays readable
                return
            self._clients.enter(is_local=self._is_local)
            task = self._clients.loop.create_task(self._connect(accepted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        if not self._is_local:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made = Connection(self._clients, is_local=self._is_local)
        try:
            await self._clients.loop.connect_accepted_socket(lambda: made, accepted)
        except OSError:
            accepted.close()
            self._clients.leave(is_local=self._is_local)

    def close(self) -> None:
        """Stop accepting. Open connections are kept."""
        self._pause()
        self._closed = True
        self._clients.forget(self)
        self._socket.close()

    async def wait_closed(self) -> None:
        """Return at once, as `asyncio.Server` does when it has no connections."""
