"""The metadata store: its transactions, on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import sqlalchemy as sa

from akidb.domain.errors import Unavailable
from akidb.metadata import schema
from akidb.metadata.audit import SqlAuditLog
from akidb.metadata.changes import SqlMetadataFeed
from akidb.metadata.collections import SqlCollectionRepository
from akidb.metadata.databases import SqlDatabaseRepository
from akidb.metadata.integrity import find_faults
from akidb.metadata.legacy import SqlLegacyManifests
from akidb.metadata.outbox import SqlOutbox, SqlStoreRegistry
from akidb.metadata.records import SqlMetadataRecords
from akidb.metadata.tables import remembered_answers
from akidb.metadata.tenants import SqlTenantCatalog
from akidb.metadata.users import SqlUserRepository
from akidb.observe.telemetry import StoreFigures
from akidb.ports.metadata import MetadataTransaction
from akidb.sql.answers import SqlAnswers
from akidb.sql.archive_image import image_of
from akidb.sql.database import SqlDatabase
from akidb.sql.errors import translated
from akidb.sql.schema_backups import SchemaBackups
from akidb.sql.sqlite import SqliteFile, check_integrity, create_file
from akidb.sql.telemetry import observed_transaction

METADATA_SCHEMA = "akidb_metadata"
"""The schema of a PostgreSQL database that holds the tables."""
SCHEMA_LOCK = 0x616B6964625F6D65
"""What processes that bring the schema forward hold: `akidb_me` as a number."""


class SqlMetadataTransaction:
    """`akidb.ports.metadata.MetadataTransaction`; a repository is made when it is first asked for."""

    def __init__(self, connection: sa.Connection, *, writes: bool = False) -> None:
        self._connection = connection
        self._writes = writes

    @cached_property
    def tenants(self) -> SqlTenantCatalog:
        """Tenants."""
        return SqlTenantCatalog(self._connection, locks=self._writes)

    @cached_property
    def databases(self) -> SqlDatabaseRepository:
        """Databases."""
        return SqlDatabaseRepository(self._connection)

    @cached_property
    def collections(self) -> SqlCollectionRepository:
        """Collections."""
        return SqlCollectionRepository(self._connection)

    @cached_property
    def users(self) -> SqlUserRepository:
        """Users."""
        return SqlUserRepository(self._connection)

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
    def feed(self) -> SqlMetadataFeed:
        """What changed."""
        return SqlMetadataFeed(self._connection)

    @cached_property
    def answers(self) -> SqlAnswers:
        """Remembered answers."""
        return SqlAnswers(self._connection, remembered_answers, waits=self._writes)

    @cached_property
    def legacy_manifests(self) -> SqlLegacyManifests:
        """Manifests of 1.x."""
        return SqlLegacyManifests(self._connection)

    @cached_property
    def records(self) -> SqlMetadataRecords:
        """Rows as they are."""
        return SqlMetadataRecords(self._connection)


class SqlMetadataStore:
    """`akidb.ports.metadata.MetadataStore` in a database."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    @property
    def generation(self) -> int | None:
        """Changes with every transaction; None where other processes write too."""
        return self._database.generation

    @contextmanager
    def read(self) -> Iterator[MetadataTransaction]:
        """For reading."""
        with self._database.read() as connection:
            yield self._observed(SqlMetadataTransaction(connection))

    @contextmanager
    def snapshot(self) -> Iterator[MetadataTransaction]:
        """For reading several things as of one instant."""
        with self._database.read(snapshot=True) as connection:
            yield self._observed(SqlMetadataTransaction(connection))

    @contextmanager
    def image(self) -> Iterator[MetadataTransaction]:
        """For reading all of it as of one instant, for as long as it takes."""
        with image_of(self._database) as connection:
            yield SqlMetadataTransaction(connection)

    @contextmanager
    def transaction(self) -> Iterator[MetadataTransaction]:
        """All or nothing."""
        with self._database.write() as connection:
            yield self._observed(SqlMetadataTransaction(connection, writes=True))

    def check(self) -> list[str]:
        """What is wrong with the store."""
        try:
            with self._database.read(snapshot=True) as connection:
                return check_integrity(connection) + find_faults(connection)
        except Unavailable as error:
            return [error.message]

    def erase(self) -> bool:
        """Leave no trace of what was deleted."""
        return self._database.erase()

    def figures(self) -> StoreFigures:
        """How it stands with its connections, its queue and its log."""
        return self._database.figures()

    def close(self) -> None:
        """Close its connections."""
        self._database.close()

    def _observed(self, transaction: SqlMetadataTransaction) -> SqlMetadataTransaction:
        return observed_transaction("metadata", transaction, self._database.system)


class SqliteMetadataStore(SqlMetadataStore):
    """The metadata store in one file."""

    def __init__(
        self,
        path: Path,
        *,
        synchronous: str = "full",
        expected: bool = False,
        copies: SchemaBackups | None = None,
    ) -> None:
        """Open the file, making it if it is not there; a copy is taken before its schema changes.

        With `expected` there must be a store in it already, and Unavailable is raised if there is none.
        """
        with translated(path.name):
            empty = not path.exists() or path.stat().st_size == 0
            if empty and expected:
                raise schema.lost(path.name)
            if not path.exists():
                create_file(path)
        self._file = SqliteFile(path, synchronous=synchronous, kind="metadata")
        super().__init__(self._file)
        try:
            schema.bring_forward(self._file, expected=expected, copies=copies)
        except BaseException:
            self._file.close()
            raise


class PostgresMetadataStore(SqlMetadataStore):
    """The metadata store in a PostgreSQL database, in the schema `akidb_metadata`."""

    def __init__(self, url: str, *, synchronous: str = "full", pool_size: int = 8) -> None:
        """Connect, and make the tables if they are not there."""
        from akidb.sql.postgresql import PostgresDatabase

        database = PostgresDatabase(
            url, METADATA_SCHEMA, kind="metadata", synchronous=synchronous, pool_size=pool_size
        )
        super().__init__(database)
        try:
            with database.locked(SCHEMA_LOCK):  # of several processes that start at once, one makes them
                schema.bring_forward(database, expected=False)
        except BaseException:
            database.close()
            raise
