"""The metadata store on SQLite."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import sqlalchemy as sa

from akidb.domain.errors import Unavailable
from akidb.metadata import schema
from akidb.metadata.audit import SqlAuditLog
from akidb.metadata.collections import SqlCollectionRepository
from akidb.metadata.databases import SqlDatabaseRepository
from akidb.metadata.outbox import SqlOutbox, SqlStoreRegistry
from akidb.metadata.tables import remembered_answers
from akidb.metadata.tenants import SqlTenantCatalog
from akidb.ports.metadata import MetadataTransaction
from akidb.sql.answers import SqlAnswers
from akidb.sql.errors import translated
from akidb.sql.sqlite import SqliteFile, check_integrity, create_file


class SqlMetadataTransaction:
    """`akidb.ports.metadata.MetadataTransaction`; a repository is made when it is first asked for."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    @cached_property
    def tenants(self) -> SqlTenantCatalog:
        """Tenants."""
        return SqlTenantCatalog(self._connection)

    @cached_property
    def databases(self) -> SqlDatabaseRepository:
        """Databases."""
        return SqlDatabaseRepository(self._connection)

    @cached_property
    def collections(self) -> SqlCollectionRepository:
        """Collections."""
        return SqlCollectionRepository(self._connection)

    @cached_property
    def audit(self) -> SqlAuditLog:
        """Audit entries."""
        return SqlAuditLog(self._connection)

    @cached_property
    def stores(self) -> SqlStoreRegistry:
        """Which tenant has which store."""
        return SqlStoreRegistry(self._connection)

    @cached_property
    def outbox(self) -> SqlOutbox:
        """Changes on their way to tenant stores."""
        return SqlOutbox(self._connection)

    @cached_property
    def answers(self) -> SqlAnswers:
        """Remembered answers."""
        return SqlAnswers(self._connection, remembered_answers)


class SqliteMetadataStore:
    """`akidb.ports.metadata.MetadataStore` in one file."""

    def __init__(self, path: Path, *, synchronous: str = "full", expected: bool = False) -> None:
        """Open the file, making it if it is not there.

        With `expected` there must be a store in it already, and Unavailable is raised if there is none.
        """
        with translated(path.name):
            empty = not path.exists() or path.stat().st_size == 0
            if empty and expected:
                raise schema.lost(path)
            if not path.exists():
                create_file(path)
        self._file = SqliteFile(path, synchronous=synchronous)
        try:
            schema.bring_forward(self._file, expected=expected)
        except BaseException:
            self._file.close()
            raise

    @property
    def generation(self) -> int:
        """Changes with every transaction."""
        return self._file.generation

    @contextmanager
    def read(self) -> Iterator[MetadataTransaction]:
        """For reading."""
        with self._file.read() as connection:
            yield SqlMetadataTransaction(connection)

    @contextmanager
    def snapshot(self) -> Iterator[MetadataTransaction]:
        """For reading several things as of one instant."""
        with self._file.read(snapshot=True) as connection:
            yield SqlMetadataTransaction(connection)

    @contextmanager
    def transaction(self) -> Iterator[MetadataTransaction]:
        """All or nothing."""
        with self._file.write() as connection:
            yield SqlMetadataTransaction(connection)

    def check(self) -> list[str]:
        """What SQLite finds wrong with the file."""
        try:
            with self._file.read() as connection:
                return check_integrity(connection)
        except Unavailable as error:
            return [error.message]

    def close(self) -> None:
        """Close its connections."""
        self._file.close()
