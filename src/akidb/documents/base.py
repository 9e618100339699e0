"""One tenant's store, in its own file or in shared tables: reads, writes, control row."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import islice
from typing import Any

import sqlalchemy as sa

from akidb.documents import control_rows
from akidb.documents.current import CurrentReader
from akidb.documents.reader import SqlDocumentReader, read_control, require_access
from akidb.documents.statements import TenantSql
from akidb.documents.store_checks import MAX_NAMED, check_rows, damaged_rows
from akidb.documents.writer import SqlDocumentWriter
from akidb.domain.entities import Collection, Database, Tenant, limit_of
from akidb.domain.errors import AkiDBError, NotFound, Unavailable
from akidb.domain.ids import CollectionId, DatabaseId, StoreId
from akidb.domain.lifecycle import Access
from akidb.observe.context import said
from akidb.ports.documents import (
    CollectionControl,
    ControlState,
    DocumentReader,
    DocumentWriter,
)
from akidb.sql.database import SqlDatabase
from akidb.sql.integrity import check_integrity
from akidb.sql.telemetry import observed

MAX_KNOWN = 10_000
"""States of collections that an open store remembers."""


class SqlTenantStore:
    """`akidb.ports.documents.TenantStore` in a database."""

    def __init__(self, database: SqlDatabase, sql: TenantSql, store_id: StoreId) -> None:
        self.store_id = store_id
        self._database = database
        self._sql = sql
        self._known: tuple[int | None, dict[CollectionId, CollectionControl]] = (None, {})
        """States of collections that were read at a generation of the database."""

    @contextmanager
    def read(
        self, collection_id: CollectionId, operation: Access = Access.DOCUMENT_READ
    ) -> Iterator[DocumentReader]:
        """Open a consistent snapshot of a collection."""
        generation = self._database.generation  # first: a commit in between makes it outdated, never wrong
        with self._database.read(snapshot=True) as connection:
            try:
                found = read_control(connection, self._sql, collection_id, operation)
                self._keep(generation, found)
                yield self._reader(connection, found)
            except Exception as error:
                self._explain(connection, error, collection_id)
                raise

    def _keep(self, generation: int | None, control: CollectionControl) -> None:
        if generation is None:  # other processes write too
            return
        kept_for, known = self._known
        if kept_for != generation or len(known) >= MAX_KNOWN:
            known = {}
            self._known = (generation, known)
        known[control.collection_id] = control

    def latest(
        self, collection_id: CollectionId, operation: Access = Access.DOCUMENT_READ
    ) -> AbstractContextManager[DocumentReader]:
        """Read a collection; if nothing was written since its state was read, first without a transaction."""
        kept_for, known = self._known
        control = known.get(collection_id)
        if control is None or kept_for != self._database.generation:
            return self.read(collection_id, operation)
        require_access(control, operation)
        snapshot = partial(self.read, collection_id, operation)
        return CurrentReader(control, self._database.read, self._reader, snapshot)

    def _reader(self, connection: sa.Connection, control: CollectionControl) -> DocumentReader:
        reader = SqlDocumentReader(connection, self._sql, control)
        return observed("tenant", "documents", reader, self._database.system)

    @contextmanager
    def transaction(self, collection_id: CollectionId) -> Iterator[DocumentWriter]:
        """Open an atomic write transaction on a collection."""
        with self._database.write() as connection:
            try:
                found = read_control(connection, self._sql, collection_id, Access.DOCUMENT_WRITE, writes=True)
                writer = SqlDocumentWriter(connection, self._sql, found, self._database.require_room)
                yield observed("tenant", "documents", writer, self._database.system)
            except Exception as error:
                self._explain(connection, error, collection_id)
                raise

    def _explain(
        self, connection: sa.Connection, error: Exception, collection_id: CollectionId | None = None
    ) -> None:
        """Raise Unavailable if damage of the control rows is the cause of an unexpected error."""
        name = self._database.name
        instead = control_rows.explanation(name, connection, self._sql, error, collection_id)
        if instead is not None:
            raise instead from error

    @contextmanager
    def _reading(self, *, snapshot: bool = False) -> Iterator[sa.Connection]:
        with self._database.read(snapshot=snapshot) as connection:
            try:
                yield connection
            except Exception as error:
                self._explain(connection, error)
                raise

    def control_state(self) -> ControlState:
        """Return the tenant state that was last applied to the store. Raises Unavailable if it is damaged."""
        with self._reading() as connection:
            self._require_sound(connection)
            found = self._sql.statements.state.first(connection, **self._sql.own)
            if found is None:
                raise self._gone()
            return ControlState(*found)

    def dimension(self, collection_id: CollectionId) -> int | None:
        with self._reading() as connection:
            found = self._sql.statements.dimension.first(
                connection, **self._sql.own, collection_id=collection_id
            )
            return None if found is None else found[0]

    def controls(self) -> Sequence[CollectionControl]:
        """Return the control rows of all collections."""
        with self._reading() as connection:
            return self._sql.statements.all_controls.all(connection, **self._sql.own)

    def apply(
        self,
        tenant: Tenant,
        collections: Sequence[tuple[Database, Collection]],
        purged: Sequence[CollectionId] = (),
    ) -> None:
        """Apply states and limits; remove purged collections.

        The version in the store is not compared: metadata restored to an older state must be applied too. An
        older state cannot overwrite a newer one: the caller holds the tenant's lock from before reading the
        state until it is written. Where a lock can be lost, `_hold` checks it.
        """
        with self._database.write() as connection:
            self._hold(connection)
            given = {
                "given_tenant_version": tenant.version,
                "given_tenant_status": tenant.status,
                "given_storage_quota_bytes": limit_of(tenant.storage_quota_bytes),
            }
            self._sql.statements.apply_tenant.run(connection, {**self._sql.own, **given})
            for database, collection in collections:
                _apply_collection(connection, self._sql, database, collection)
            for collection_id in purged:
                purge_collection(connection, self._sql, collection_id)

    def _hold(self, connection: sa.Connection) -> None:
        """Block other writers of the store until the transaction ends."""
        if self._sql.statements.lock.first(connection, **self._sql.own) is None:
            raise self._gone()

    def collection_count(self) -> int:
        """Return the number of collections that were applied to the store."""
        with self._database.read() as connection:
            found: int = self._sql.statements.collection_count.first(connection, **self._sql.own)[0]
            return found

    def is_compared(self) -> bool:
        """Return True: shared tables are in the database of the metadata, and cannot be behind them."""
        return True

    def note_compared(self) -> None:
        """Do nothing."""

    def told(self) -> Mapping[CollectionId, tuple[DatabaseId, int]]:
        """Return the database and the version of each collection that was applied to the store."""
        c = self._sql.tables.collections.c
        statement = sa.select(c.collection_id, c.database_id, c.version)
        with self._reading() as connection:
            rows = connection.execute(
                statement.where(*self._sql.tables.own(self._sql.tables.collections)), self._sql.own
            )
            return {row.collection_id: (row.database_id, row.version) for row in rows}

    def usage(self) -> tuple[int, int]:
        """Return the bytes used, and the number of documents in live collections."""
        statements, own = self._sql.statements, self._sql.own
        with self._reading(snapshot=True) as connection:
            self._require_sound(connection)
            found = statements.storage.first(connection, **own)
            if found is None:
                raise self._gone()
            return found[1], statements.document_count.first(connection, **own)[0]

    def _require_sound(self, connection: sa.Connection) -> None:
        found = control_rows.control_faults(connection)  # not the collections: there may be thousands
        if found:
            raise Unavailable(f"{self._database.name}: {found[0]}; run `akidb doctor`")

    def _gone(self) -> AkiDBError:
        """Return the error for a missing control row: in shared tables, the tenant was purged."""
        tenant_id = self._sql.own.get("own_tenant_id")
        if tenant_id is None:
            return Unavailable(f"{self._database.name}: the tenant's store is missing")
        return NotFound("tenant", tenant_id)

    def check(self) -> list[str]:
        """Return the faults that the database's integrity check finds, or else recounting and checksums."""
        displaced = self._database.displacement()
        if displaced is not None:
            return [displaced]
        try:
            with self._database.read(snapshot=True) as connection:
                return [*check_integrity(connection), *control_rows.faults(connection)] or [
                    *islice(check_rows(connection, self._sql), MAX_NAMED),
                    *islice(damaged_rows(connection, self._sql), MAX_NAMED),
                ]
        except Unavailable as error:
            return [said(error)]


def _apply_collection(
    connection: sa.Connection, sql: TenantSql, database: Database, collection: Collection
) -> None:
    given: dict[str, Any] = {
        "given_collection_id": collection.collection_id,
        "given_database_id": database.database_id,
        "given_version": collection.version,
        "given_state": collection.state,
        "given_database_state": database.state,
        "given_max_document_count": collection.max_document_count,
        "given_dimension": collection.dimension,
    }
    if not sql.statements.change_collection.run(connection, {**sql.own, **given}):
        owner = {f"given_{name}": value for name, value in sql.columns.items()}
        sql.statements.add_collection.run(connection, {**owner, **given, "given_metric": collection.metric})


def purge_collection(connection: sa.Connection, sql: TenantSql, collection_id: CollectionId) -> None:
    """Delete a collection with all its rows, if it exists."""
    tables = sql.tables
    collections, control = tables.collections, tables.control
    row = connection.execute(
        sa.select(collections.c.collection_key, collections.c.storage_used_bytes).where(
            *tables.own(collections), collections.c.collection_id == collection_id
        ),
        sql.own,
    ).one_or_none()
    if row is None:
        return
    for table in (tables.documents, tables.tombstones, tables.remembered_answers, collections):
        of_collection = (*tables.own(table), table.c.collection_key == row.collection_key)
        connection.execute(sa.delete(table).where(*of_collection), sql.own)
    connection.execute(
        sa.update(control)
        .where(*tables.own(control))
        .values(storage_used_bytes=control.c.storage_used_bytes - row.storage_used_bytes),
        sql.own,
    )
