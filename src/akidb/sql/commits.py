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


class SharedTransaction:
    """A transaction of SQLite, used by one writer after the other and then committed once."""

    __slots__ = ("_began_at", "_driver", "_error", "_latch", "_name", "_writers", "connection")

    def __init__(self, name: str, connection: sa.Connection) -> None:
        """Begin it. `name` is what errors call the store."""
        self.connection = connection
        self._name = name
        self._driver: Any = driver_of(connection)
        self._driver.execute("BEGIN IMMEDIATE")
        self._writers = 1
        self._began_at = time.monotonic()
        self._error: BaseException | None = None
        self._latch = threading.Lock()
        self._latch.acquire()

    def join(self) -> None:
        """Go on where the writer before ended."""
        self._driver.execute("SAVEPOINT writer")
        self._writers += 1

    def keep(self) -> None:
        """End a writer's work, which stands if the commit does."""
        if self._writers > 1:
            self._driver.execute("RELEASE writer")

    def undo(self, error: BaseException) -> bool:
        """Undo a writer's work because of its error; tells whether anything is left to be committed.

        SQLite has rolled back all of it by itself after some errors: then nobody's work stands.
        """
        if not self._driver.in_transaction:
            self._end(error)
            return False
        if self._writers > 1:
            self._driver.execute("ROLLBACK TO writer")
            self._driver.execute("RELEASE writer")
            return True
        self._driver.execute("ROLLBACK")
        self._end(None)
        return False

    @property
    def is_full(self) -> bool:
        """Whether it must not go on."""
        return self._writers >= MAX_WRITERS or time.monotonic() - self._began_at > MAX_SECONDS

    def commit(self, commit: Any) -> bool:
        """Commit for all by `commit(driver)`; tells whether it was done."""
        try:
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
        with self._latch:
            pass
        if self._error is not None and self._error is not own:
            found = translation(self._name, self._error)
            raise Unavailable(str(found or self._error)) from self._error

    def _end(self, error: BaseException | None) -> None:
        self._error = error
        self._latch.release()
