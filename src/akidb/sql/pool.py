"""A bounded LIFO pool of connections.

SQLAlchemy's own pool wraps the driver's connection in a new `Connection` on every checkout, with a dozen
events: 25 us of a read that takes 40 us on the driver. This pool keeps the `Connection` itself.
"""

import threading
import time
from collections.abc import Callable

import sqlalchemy as sa

from akidb.domain.errors import Unavailable
from akidb.observe.telemetry import StoreKind
from akidb.sql.gate import FairGate


class ConnectionPool:
    """Connections opened by `connect`; `works` checks whether an old one is still alive."""

    def __init__(
        self,
        connect: Callable[[], sa.Connection],
        works: Callable[[sa.Connection], bool],
        *,
        size: int,
        timeout_seconds: float,
        trusted_seconds: float,
        kind: StoreKind = "tenant",
    ) -> None:
        """Check connections that were idle for longer than `trusted_seconds` before reuse.

        Waiters are served first come, first served. A plain semaphore starves: its releaser can reacquire it
        before a waiter wakes up, and one of 32 threads made 1 commit while another made 474.
        """
        self._connect = connect
        self._works = works
        self._trusted_seconds = trusted_seconds
        self._gate = FairGate("connection", timeout_seconds, kind=kind, places=size, queue="pool")
        self._lock = threading.Lock()
        self._idle: list[tuple[sa.Connection, float]] = []
        self._in_use: dict[sa.Connection, float] = {}
        """When each connection was taken."""
        self._lost_at = float("-inf")
        """When a connection was last returned broken: those in use since before may be broken too."""
        self._closed = False

    def take(self) -> sa.Connection:
        """Return a connection; return it to the pool with `give`.

        Raises Overloaded if none is free in time, and any error of opening one.
        """
        self._gate.enter()
        try:
            connection = self._find_idle() or self._connect()
            with self._lock:
                self._in_use[connection] = time.monotonic()
        except BaseException:
            self._gate.leave()
            raise
        return connection

    def give(self, connection: sa.Connection, *, broken: bool = False) -> None:
        """Return a connection to the pool. A broken one also closes idle ones, which may be broken too."""
        surplus: list[sa.Connection] = []
        with self._lock:
            taken_at = self._in_use.pop(connection)
            now = time.monotonic()
            if broken:
                self._lost_at = now
            if broken or self._closed:
                surplus = [connection, *(idle for idle, _ in self._idle)]
                self._idle = []
            else:
                worked_at = now if taken_at > self._lost_at else float("-inf")
                self._idle.append((connection, worked_at))
        self._gate.leave()
        for each in surplus:
            _discard(each)

    @property
    def waiting(self) -> int:
        """The number of waiters."""
        return self._gate.waiting

    def counts(self) -> tuple[int, int]:
        """Return the number of connections in use and idle."""
        with self._lock:
            return len(self._in_use), len(self._idle)

    def close(self) -> None:
        """Close idle connections now, and connections in use when they are returned."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            _discard(connection)

    def _find_idle(self) -> sa.Connection | None:
        while True:
            with self._lock:
                if self._closed:
                    raise Unavailable("the connection is closed")
                if not self._idle:
                    return None
                connection, since = self._idle.pop()
            if time.monotonic() - since < self._trusted_seconds or self._works(connection):
                return connection
            _discard(connection)


def _discard(connection: sa.Connection) -> None:
    """Close a possibly lost connection without the rollback that SQLAlchemy would try first."""
    connection.invalidate()
    connection.close()
