"""The metadata store: its transactions, on SQLite and on PostgreSQL."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType

import sqlalchemy as sa

from akidb.domain.entities import limit_of
from akidb.domain.errors import Damaged, Unavailable
from akidb.domain.ids import TenantId
from akidb.metadata import schema
from akidb.metadata.audit import SqlAuditLog
from akidb.metadata.changes import SqlMetadataFeed
from akidb.metadata.collections import SqlCollectionRepository
from akidb.metadata.databases import SqlDatabaseRepository
from akidb.metadata.integrity import find_faults
from akidb.metadata.legacy import SqlLegacyManifests
from akidb.metadata.outbox import SqlOutbox, SqlStoreRegistry
from akidb.metadata.records import SqlMetadataRecords
from akidb.metadata.tables import answer_totals, metadata_changes, metadata_feeds, remembered_answers, tenants
from akidb.metadata.tenants import SqlTenantCatalog
from akidb.metadata.users import SqlUserRepository
from akidb.observe.context import said
from akidb.observe.telemetry import StoreFigures
from akidb.ports.metadata import MetadataTransaction
from akidb.sql.answers import SqlAnswers, limit_bytes
from akidb.sql.application_id import METADATA, require_own
from akidb.sql.archive_image import image_of
from akidb.sql.database import SqlDatabase
from akidb.sql.errors import translated, violated
from akidb.sql.files import create_file
from akidb.sql.identity import FileIdentity
from akidb.sql.integrity import check_integrity
from akidb.sql.prepared import Prepared
from akidb.sql.room import Room
from akidb.sql.schema_backups import SchemaBackups
from akidb.sql.sqlite import SqliteFile
from akidb.sql.telemetry import observed_transaction

METADATA_SCHEMA = "akidb_metadata"
"""The schema of a PostgreSQL database that holds the tables."""
SCHEMA_LOCK = 0x616B6964625F6D65
"""Advisory lock for schema migrations: `akidb_me` as a number."""

MAX_ANSWERS_BYTES = 64 * 2**20
"""The limit of a tenant's remembered answers here, whatever its storage quota."""
_ANSWERS = Prepared(
    sa.select(answer_totals.c.bytes, tenants.c.storage_quota_bytes)
    .select_from(answer_totals.join(tenants, tenants.c.tenant_id == answer_totals.c.tenant_id))
    .where(answer_totals.c.tenant_id == sa.bindparam("tenant_id"))
)


class SqlMetadataTransaction:
    """`akidb.ports.metadata.MetadataTransaction`; repositories are created on first use."""

    def __init__(self, connection: sa.Connection, *, writes: bool = False) -> None:
        self._connection = connection
        self._writes = writes

    @cached_property
    def tenants(self) -> SqlTenantCatalog:
        return SqlTenantCatalog(self._connection, locks=self._writes)

    @cached_property
    def databases(self) -> SqlDatabaseRepository:
        return SqlDatabaseRepository(self._connection)

    @cached_property
    def collections(self) -> SqlCollectionRepository:
        return SqlCollectionRepository(self._connection)

    @cached_property
    def users(self) -> SqlUserRepository:
        return SqlUserRepository(self._connection)

    @cached_property
    def audit(self) -> SqlAuditLog:
        return SqlAuditLog(self._connection)

    @cached_property
    def stores(self) -> SqlStoreRegistry:
        return SqlStoreRegistry(self._connection)

    @cached_property
    def outbox(self) -> SqlOutbox:
        return SqlOutbox(self._connection)

    @cached_property
    def feed(self) -> SqlMetadataFeed:
        return SqlMetadataFeed(self._connection)

    @cached_property
    def answers(self) -> SqlAnswers:
        return SqlAnswers(self._connection, remembered_answers, used=self._answers_used, waits=self._writes)

    def _answers_used(self, tenant_id: TenantId | None) -> tuple[int, int] | None:
        found = _ANSWERS.first(self._connection, tenant_id=tenant_id)
        return None if found is None else (found[0], min(MAX_ANSWERS_BYTES, limit_bytes(limit_of(found[1]))))

    @cached_property
    def legacy_manifests(self) -> SqlLegacyManifests:
        return SqlLegacyManifests(self._connection)

    @cached_property
    def records(self) -> SqlMetadataRecords:
        return SqlMetadataRecords(self._connection)


class SqlMetadataStore:
    """`akidb.ports.metadata.MetadataStore` in a database."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    @property
    def generation(self) -> int | None:
        """Incremented by every transaction; None if other processes can write too."""
        return self._database.generation

    def read(self) -> AbstractContextManager[MetadataTransaction]:
        return _Opened(self._database.read(), self._database.system)

    def snapshot(self) -> AbstractContextManager[MetadataTransaction]:
        return _Opened(self._database.read(snapshot=True), self._database.system)

    @contextmanager
    def image(self) -> Iterator[MetadataTransaction]:
        with image_of(self._database) as connection:
            yield SqlMetadataTransaction(connection)

    def transaction(self) -> AbstractContextManager[MetadataTransaction]:
        return _Opened(self._database.write(), self._database.system, writes=True)

    def displacement(self) -> str | None:
        return self._database.displacement()

    def require_unaltered(self) -> None:
        """Do nothing: the files of a database server are its own."""

    def check(self) -> list[str]:
        displaced = self._database.displacement()
        if displaced is not None:
            return [displaced]
        try:
            with self._database.read(snapshot=True) as connection:
                return check_integrity(connection) + find_faults(connection)
        except Unavailable as error:
            return [said(error)]

    def checkpoint_idle(self) -> bool:
        """Move the log into the file if nothing was written since the last call; return whether it did."""
        return self._database.checkpoint_idle()

    def erase(self) -> bool:
        """Erase all traces of deleted data; return whether it was possible now."""
        return self._database.erase()

    def figures(self) -> StoreFigures:
        return self._database.figures()

    def close(self) -> None:
        self._database.close()


_BY_TRIGGERS = (metadata_feeds.name, metadata_changes.name, answer_totals.name)
"""Tables that triggers write: if a rule of theirs is broken, a row of them is damaged."""


class _Opened:
    """A transaction on a connection. A class, since a generator takes longer than some reads."""

    __slots__ = ("_connection", "_system", "_writes")

    def __init__(
        self, connection: AbstractContextManager[sa.Connection], system: str, *, writes: bool = False
    ) -> None:
        self._connection = connection
        self._system = system
        self._writes = writes

    def __enter__(self) -> MetadataTransaction:
        transaction = SqlMetadataTransaction(self._connection.__enter__(), writes=self._writes)
        return observed_transaction("metadata", transaction, self._system)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        closed = self._connection.__exit__(kind, error, trace)
        if isinstance(error, sa.exc.IntegrityError) and any(name in str(error.orig) for name in _BY_TRIGGERS):
            # Without the cause, which quotes the row.
            raise Damaged.row("row", None, tenant_id=None, field=violated(error) or None) from None
        return closed


class SqliteMetadataStore(SqlMetadataStore):
    """The metadata store in one file."""

    def __init__(
        self,
        path: Path,
        *,
        synchronous: str = "full",
        expected: bool = False,
        copies: SchemaBackups | None = None,
        room: Room | None = None,
        within: Sequence[FileIdentity] = (),
    ) -> None:
        """Open the file, creating it if missing. A copy is taken before a schema migration.

        Writes require what it is `within` to be in place. Raises Unavailable if `expected` and the file holds
        no store.
        """
        with translated(path.name):
            empty = not path.exists() or path.stat().st_size == 0
            if empty and expected:
                raise schema.lost(path.name)
            require_own(path, METADATA)
            if not path.exists():
                create_file(path)
        self._file = SqliteFile(path, synchronous=synchronous, kind="metadata", room=room, within=within)
        super().__init__(self._file)
        try:
            schema.bring_forward(self._file, expected=expected, copies=copies)
        except BaseException:
            self._file.close()
            raise

    def require_unaltered(self) -> None:
        """Raise Unavailable if another program has written to the file or its log.

        That is noticed within `LOOK_SECONDS`, unless a change is being made, which then notices it.
        """
        self._file.require_unaltered()


class PostgresMetadataStore(SqlMetadataStore):
    """The metadata store in a PostgreSQL database, in the schema `akidb_metadata`."""

    def __init__(self, url: str, *, synchronous: str = "full", pool_size: int = 8) -> None:
        """Connect, and create missing tables."""
        from akidb.sql.postgresql import PostgresDatabase

        database = PostgresDatabase(
            url, METADATA_SCHEMA, kind="metadata", synchronous=synchronous, pool_size=pool_size
        )
        super().__init__(database)
        self.clock = database.clock
        try:
            with database.locked(SCHEMA_LOCK):  # only one of several starting processes creates them
                schema.bring_forward(database, expected=False)
        except BaseException:
            database.close()
            raise
