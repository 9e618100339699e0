"""A bounded number of open connections, the one used last first.

SQLAlchemy's own pool makes a new `Connection` around the driver's for every use, with a dozen of events:
25 us of a read that takes 40 us on the driver. Here the `Connection` itself is kept.
"""

import threading
import time
from collections.abc import Callable

import sqlalchemy as sa

from akidb.domain.errors import Unavailable


class Exhausted(Exception):
    """No connection came free in time."""


class ConnectionPool:
    """Connections that `connect` opens; `works` tells whether an old one still answers."""

    def __init__(
        self,
        connect: Callable[[], sa.Connection],
        works: Callable[[sa.Connection], bool],
        *,
        size: int,
        timeout_seconds: float,
        trusted_seconds: float,
    ) -> None:
        """One that was idle for longer than `trusted_seconds` is asked before it is given out."""
        self._connect = connect
        self._works = works
        self._size = size
        self._timeout_seconds = timeout_seconds
        self._trusted_seconds = trusted_seconds
        self._free = threading.Semaphore(size)
        self._lock = threading.Lock()
        self._idle: list[tuple[sa.Connection, float]] = []
        self._in_use = 0
        self._closed = False

    def take(self) -> sa.Connection:
        """A connection, which `give` brings back. Raises Exhausted, and what opening one raises."""
        if not self._free.acquire(timeout=self._timeout_seconds):
            raise Exhausted
        try:
            connection = self._find_idle() or self._connect()
        except BaseException:
            self._free.release()
            raise
        with self._lock:
            self._in_use += 1
        return connection

    def give(self, connection: sa.Connection, *, broken: bool = False) -> None:
        """Take a connection back. With a broken one all that are idle are closed: they may be as bad."""
        surplus: list[sa.Connection] = []
        with self._lock:
            self._in_use -= 1
            if broken or self._closed:
                surplus = [connection, *(idle for idle, _ in self._idle)]
                self._idle = []
            else:
                self._idle.append((connection, time.monotonic()))
        self._free.release()
        for each in surplus:
            each.close()

    def counts(self) -> tuple[int, int]:
        """How many are in use, and how many idle."""
        with self._lock:
            return self._in_use, len(self._idle)

    def close(self) -> None:
        """Close the idle ones now, those in use when they come back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()

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
            connection.close()
