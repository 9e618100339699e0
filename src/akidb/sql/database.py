"""The database interface of the SQL stores: read connections and write transactions."""

from contextlib import AbstractContextManager
from typing import Any, Protocol

import sqlalchemy as sa

from akidb.observe.telemetry import StoreFigures


class SqlDatabase(Protocol):
    """A SQLite file, or a schema of a PostgreSQL database."""

    @property
    def name(self) -> str:
        """The name in errors; contains no secret."""

    @property
    def system(self) -> str:
        """The kind of database: `sqlite` or `postgresql`."""

    @property
    def generation(self) -> int | None:
        """The transaction counter: cached reads are current while it is unchanged.

        None if other processes can write too.
        """

    def read(self, *, snapshot: bool = False) -> AbstractContextManager[sa.Connection]:
        """Open a connection for reading; with `snapshot`, its statements see one consistent state."""

    def write(self) -> AbstractContextManager[sa.Connection]:
        """Open a transaction: durably committed when the block ends, rolled back if it raises.

        Raises TransactionConflict if the database aborted it in favour of another: retry it.
        """

    def migration(self) -> AbstractContextManager[sa.Connection]:
        """Open a transaction for schema migrations, which may rebuild referenced tables."""

    def displacement(self) -> str | None:
        """Return whether its files were removed, moved or replaced, in words; None if not."""

    def erase(self) -> bool:
        """Erase all traces of deleted data in the database files; return whether it was possible now.

        It is not possible while a reader has an older snapshot.
        """

    def checkpoint_idle(self) -> bool:
        """Move the log into the file if nothing was written since the last call; return whether it was moved.

        Never on PostgreSQL, which does that itself.
        """

    def require_room(self, connection: sa.Connection, size_bytes: int) -> None:
        """Raise StorageFull if writing rows of so many bytes would use the reserve of the disk.

        Never on PostgreSQL, whose disk is the server's matter.
        """

    def figures(self) -> StoreFigures:
        """Return current gauges of connections and others that need no query."""

    def close(self) -> None:
        """Close every connection."""


def driver_of(connection: sa.Connection) -> Any:
    """Return the driver connection; running a statement on it directly takes a tenth of the time."""
    return connection.connection.dbapi_connection  # as `driver_connection`, which takes four calls
