"""What the SQL stores ask of a database: connections to read with, and transactions to write in."""

from contextlib import AbstractContextManager
from typing import Any, Protocol

import sqlalchemy as sa

from akidb.observe.telemetry import StoreFigures


class SqlDatabase(Protocol):
    """A SQLite file, or a schema of a PostgreSQL database."""

    @property
    def name(self) -> str:
        """What errors call it; never a secret."""
        ...

    @property
    def system(self) -> str:
        """Which database it is: `sqlite` or `postgresql`."""
        ...

    @property
    def generation(self) -> int | None:
        """Counts the transactions, so that what was read stays current while it is the same.

        None where other processes write too.
        """
        ...

    def read(self, *, snapshot: bool = False) -> AbstractContextManager[sa.Connection]:
        """A connection for reading; with `snapshot` all its statements see one state of the store."""
        ...

    def write(self) -> AbstractContextManager[sa.Connection]:
        """A transaction: committed, durably, when the block ends, rolled back when it raises.

        Raises TransactionConflict when the database gave this one up for another: run it again.
        """
        ...

    def migration(self) -> AbstractContextManager[sa.Connection]:
        """A transaction for steps of a schema, which may rebuild tables that others refer to."""
        ...

    def erase(self) -> bool:
        """Leave no trace of what was deleted in the database's files; tells whether that could be done now.

        It cannot while somebody reads what was there before.
        """
        ...

    def figures(self) -> StoreFigures:
        """Its connections, and what else there is to be seen of it without asking it."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


def driver_of(connection: sa.Connection) -> Any:
    """The driver's connection; what is said to it directly costs a tenth."""
    return connection.connection.driver_connection
