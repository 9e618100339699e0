"""Group commit: queued writers share one commit, and so one fsync.

If another writer is queued, a writer leaves its transaction open; the next writer continues in it after a
savepoint. The last writer, with an empty queue, commits for all; only then do they return. So a single
writer commits immediately, and of 64 writers none waits longer than for the work of the others. A writer that
fails undoes only its own work. In its transaction, a writer must not wait for anything that another writer of
the same store may hold.
"""

import threading
import time
from typing import Any

import sqlalchemy as sa

from akidb.domain.errors import AkiDBError, StorageFull, Unavailable
from akidb.sql.database import driver_of
from akidb.sql.errors import translation

MAX_WRITERS = 64
"""Maximum number of writers per commit."""
MAX_SECONDS = 0.005
"""Age at which a transaction is committed regardless of the queue, to bound waiting for bulk loads."""
WAIT_SECONDS = 120.0
"""Timeout of a writer for the shared commit."""


class SharedTransaction:
    """A SQLite transaction, used by several writers in turn and then committed once."""

    __slots__ = ("_began_at", "_driver", "_error", "_latch", "_name", "_working", "_writers", "connection")

    def __init__(self, name: str, connection: sa.Connection) -> None:
        """Begin the transaction. `name` is the store name for errors."""
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
        """Continue after the previous writer, in a savepoint."""
        self._driver.execute("SAVEPOINT writer")
        self._writers += 1
        self._working = True

    def keep(self) -> None:
        """End a writer's work, to be committed with the transaction."""
        if self._writers > 1:
            self._driver.execute("RELEASE writer")
        self._working = False

    def undo(self, error: BaseException) -> bool:
        """Undo a writer's work after its error; return whether anything is left to commit.

        After some errors SQLite has rolled back the whole transaction: then all work is lost.
        """
        ended_by: BaseException | None = error
        try:
            if self._driver.in_transaction:
                if self._undo_last():
                    return True
                ended_by = None
        except Exception as failure:  # noqa: BLE001 - the connection is closed, and with it the transaction
            ended_by = failure
        self._end(ended_by)
        return False

    @property
    def is_full(self) -> bool:
        """Whether no more writers may join; also true if an interrupt cut off the end of a writer's work."""
        is_old = time.monotonic() - self._began_at > MAX_SECONDS
        return self._working or is_old or self._writers >= MAX_WRITERS

    def commit(self, commit: Any) -> bool:
        """Commit for all writers with `commit(driver)`; return whether it succeeded."""
        try:
            if self._working and not self._undo_last():
                self._end(None)
                return False
            commit(self._driver)
        except BaseException as error:
            if self._rolled_back() or isinstance(error, Exception):
                self._end(error)
            else:  # an interrupt after the commit
                self._end(None)
            if not isinstance(error, Exception):
                raise
            return False
        self._end(None)
        return True

    def _rolled_back(self) -> bool:
        """Roll back; return False if there was nothing to roll back."""
        try:
            if not self._driver.in_transaction:
                return False
            self._driver.execute("ROLLBACK")
        except Exception:  # noqa: BLE001 - the connection is closed, and with it the transaction
            return True
        return True

    def wait(self, own: BaseException | None) -> None:
        """Wait for the commit. Raises Unavailable if it failed, except because of the writer's own error."""
        if not self._latch.acquire(timeout=WAIT_SECONDS):
            raise Unavailable(f"{self._name}: it is unknown whether the commit succeeded")
        self._latch.release()
        if self._error is not None and self._error is not own:
            found = (
                self._error if isinstance(self._error, Unavailable) else translation(self._name, self._error)
            )
            lost = f"{self._name}: the transaction was rolled back with another writer's"
            kind = StorageFull if isinstance(found, StorageFull) else Unavailable
            if not isinstance(found, AkiDBError):
                raise kind(lost) from self._error
            raise kind(found.message, public=found.public) from self._error

    def _undo_last(self) -> bool:
        """Undo the work of the last writer; return whether other work is left."""
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
