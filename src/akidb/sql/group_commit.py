"""Group commit: writers that were waiting for each other's turn share one commit, and so one fsync.

A writer that finds another in the queue behind it leaves its transaction open for that one, which goes on in
it after a savepoint. The last one, for whom nobody waits, commits for all; only then does any of them return.
So a lone writer commits at once, and of 64 none waits longer than for the work of the others. A writer that
fails undoes its own work alone. Whatever a writer does in its transaction, it must not wait for what another
writer of the same store may hold.
"""

import threading
import time
from typing import Any

import sqlalchemy as sa

from akidb.domain.errors import Unavailable
from akidb.sql.database import driver_of
from akidb.sql.errors import translation

MAX_WRITERS = 64
"""That share a commit."""
MAX_SECONDS = 0.005
"""After which a transaction is committed whoever waits, so that nobody waits for many bulk loads."""
WAIT_SECONDS = 120.0
"""After which a writer gives up waiting for the commit of others."""


class SharedTransaction:
    """A transaction of SQLite, used by one writer after the other and then committed once."""

    __slots__ = ("_began_at", "_driver", "_error", "_latch", "_name", "_working", "_writers", "connection")

    def __init__(self, name: str, connection: sa.Connection) -> None:
        """Begin it. `name` is what errors call the store."""
        self.connection = connection
        self._name = name
        self._driver: Any = driver_of(connection)
        self._driver.execute("BEGIN IMMEDIATE")
        self._writers = 1
        self._working = True
        self._began_at = time.monotonic()
        self._error: BaseException | None = None
        self._latch = threading.Lock()
        self._latch.acquire()

    def join(self) -> None:
        """Go on where the writer before ended."""
        self._driver.execute("SAVEPOINT writer")
        self._writers += 1
        self._working = True

    def keep(self) -> None:
        """End a writer's work, which stands if the commit does."""
        if self._writers > 1:
            self._driver.execute("RELEASE writer")
        self._working = False

    def undo(self, error: BaseException) -> bool:
        """Undo a writer's work because of its error; tells whether anything is left to be committed.

        SQLite has rolled back all of it by itself after some errors: then nobody's work stands.
        """
        if not self._driver.in_transaction:
            self._end(error)
            return False
        if self._undo_last():
            return True
        self._end(None)
        return False

    @property
    def is_full(self) -> bool:
        """Whether it must not go on; so too where an interrupt cut off the end of a writer's work."""
        is_old = time.monotonic() - self._began_at > MAX_SECONDS
        return self._working or is_old or self._writers >= MAX_WRITERS

    def commit(self, commit: Any) -> bool:
        """Commit for all by `commit(driver)`; tells whether it was done."""
        try:
            if self._working and not self._undo_last():
                self._end(None)
                return False
            commit(self._driver)
        except BaseException as error:
            if self._driver.in_transaction:
                self._driver.execute("ROLLBACK")
                self._end(error)
            elif isinstance(error, Exception):  # SQLite has rolled back by itself
                self._end(error)
            else:  # an interrupt that came when the commit was made
                self._end(None)
            if not isinstance(error, Exception):
                raise
            return False
        self._end(None)
        return True

    def wait(self, own: BaseException | None) -> None:
        """Wait for the commit. Raises Unavailable when it failed, but for the writer's own error."""
        if not self._latch.acquire(timeout=WAIT_SECONDS):
            raise Unavailable(f"{self._name}: it is not known whether the commit was made")
        self._latch.release()
        if self._error is not None and self._error is not own:
            found = translation(self._name, self._error)
            lost = f"{self._name}: the transaction was lost with another writer's"
            raise Unavailable(lost if found is None else str(found)) from self._error

    def _undo_last(self) -> bool:
        """Undo the work of the last writer; tells whether there is any of others."""
        if self._writers > 1:
            self._driver.execute("ROLLBACK TO writer")
            self._driver.execute("RELEASE writer")
            self._writers -= 1
        else:
            self._driver.execute("ROLLBACK")
            self._writers = 0
        self._working = False
        return self._writers > 0

    def _end(self, error: BaseException | None) -> None:
        self._error = error
        self._latch.release()
