"""A bounded number of open connections, the one used last first.

SQLAlchemy's own pool makes a new `Connection` around the driver's for every use, with a dozen of events:
25 us of a read that takes 40 us on the driver. Here the `Connection` itself is kept.
"""

import threading
import time
from collections.abc import Callable

import sqlalchemy as sa

from akidb.domain.errors import Unavailable
from akidb.observe.telemetry import StoreKind
from akidb.sql.gate import FairGate


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
        kind: StoreKind = "tenant",
    ) -> None:
        """One that was idle for longer than `trusted_seconds` is asked before it is given out.

        Who waits gets the next one in the order of arrival: at a semaphore, whose releaser takes it again
        before who was waiting wakes up, one of 32 threads made 1 commit while another made 474.
        """
        self._connect = connect
        self._works = works
        self._trusted_seconds = trusted_seconds
        self._gate = FairGate("connection", timeout_seconds, kind=kind, places=size, queue="pool")
        self._lock = threading.Lock()
        self._idle: list[tuple[sa.Connection, float]] = []
        self._in_use = 0
        self._closed = False

    def take(self) -> sa.Connection:
        """A connection, which `give` brings back.

        Raises Overloaded when none came free in time, and what opening one raises.
        """
        self._gate.enter()
        try:
            connection = self._find_idle() or self._connect()
        except BaseException:
            self._gate.leave()
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
        self._gate.leave()
        for each in surplus:
            _discard(each)

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        return self._gate.waiting

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
    """Close a connection that may be lost, which SQLAlchemy would roll back first."""
    connection.invalidate()
    connection.close()
