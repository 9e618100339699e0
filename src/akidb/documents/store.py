"""One tenant's store on SQLite: its file, its control row, its checks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from akidb.documents import schema
from akidb.documents.images import SqlStoreImage
from akidb.documents.reader import SqlDocumentReader, read_control, read_controls
from akidb.documents.schema import collections, control, documents, remembered_answers, tombstones
from akidb.documents.writer import SqlDocumentWriter
from akidb.domain.entities import Collection, Database, Tenant
from akidb.domain.errors import Unavailable
from akidb.domain.ids import CollectionId, StoreId, TenantId
from akidb.domain.lifecycle import CollectionState, DatabaseState, Operation, TenantStatus
from akidb.ports.archive import StoreImage
from akidb.ports.documents import CollectionControl, ControlState, DocumentReader, DocumentWriter
from akidb.ports.telemetry import StoreFigures
from akidb.sql.errors import translated
from akidb.sql.images import image_of
from akidb.sql.sqlite import SqliteFile, check_integrity, create_file, sync_directory
from akidb.sql.telemetry import observed


class SqliteTenantStore:
    """`akidb.ports.documents.TenantStore` in one file."""

    def __init__(
        self, path: Path, tenant_id: TenantId, store_id: StoreId, *, synchronous: str = "full"
    ) -> None:
        """Open the file.

        Raises Unavailable when it is missing, damaged, newer than this program, or another store.
        """
        with translated(path.name):
            missing = not path.exists() or path.stat().st_size == 0
        if missing:
            raise _lost(path)
        self.store_id = store_id
        self._file = SqliteFile(path, synchronous=synchronous)
        try:
            with self._file.read() as connection:
                if schema.version(connection) == 0:
                    raise _lost(path)
            schema.bring_forward(self._file)
            with self._file.read() as connection:
                found = connection.execute(sa.select(control.c.store_id, control.c.tenant_id)).one_or_none()
            if found is None or (found.store_id, found.tenant_id) != (store_id, tenant_id):
                raise Unavailable(f"{path.name}: the file is not the store that the metadata names")
        except BaseException:
            self._file.close()
            raise

    @staticmethod
    def create(path: Path, tenant_id: TenantId, store_id: StoreId, *, synchronous: str) -> None:
        """Make an empty, provisioning store; an unused one that lay there is removed.

        Raises Unavailable when that one is not unused: no metadata knows it, and yet it may hold documents.
        """
        if not remove_unused(path):
            raise Unavailable(
                f"{path.name}: there is a store that the metadata does not know;"
                " restore both from one backup, or move the file away"
            )
        with translated(path.name):
            create_file(path)
        file = SqliteFile(path, synchronous=synchronous)
        try:
            schema.bring_forward(file)
            with file.write() as connection:
                connection.execute(
                    sa.insert(control).values(
                        singleton=1,
                        store_id=store_id,
                        tenant_id=tenant_id,
                        tenant_version=0,
                        tenant_status=TenantStatus.PROVISIONING,
                        storage_quota_bytes=0,
                        storage_used_bytes=0,
                    )
                )
        finally:
            file.close()

    @contextmanager
    def read(
        self, collection_id: CollectionId, operation: Operation = Operation.DOCUMENT_READ
    ) -> Iterator[DocumentReader]:
        """Read a collection as of one instant."""
        with self._file.read(snapshot=True) as connection:
            reader = SqlDocumentReader(connection, read_control(connection, collection_id, operation))
            yield observed("tenant", "documents", reader, self._file.system)

    @contextmanager
    def transaction(self, collection_id: CollectionId) -> Iterator[DocumentWriter]:
        """Write to a collection, all or nothing."""
        with self._file.write() as connection:
            found = read_control(connection, collection_id, Operation.DOCUMENT_WRITE)
            yield observed("tenant", "documents", SqlDocumentWriter(connection, found), self._file.system)

    def control_state(self) -> ControlState:
        """What the store was last told of its tenant."""
        with self._file.read() as connection:
            row = connection.execute(sa.select(*(control.c[name] for name in ControlState._fields))).one()
            return ControlState(*row)

    def controls(self) -> Sequence[CollectionControl]:
        """What the store knows of each of its collections."""
        with self._file.read() as connection:
            return read_controls(connection)

    def apply(
        self,
        tenant: Tenant,
        collections: Sequence[tuple[Database, Collection]],
        purged: Sequence[CollectionId] = (),
    ) -> None:
        """Take over states and limits; remove purged collections."""
        with self._file.write() as connection:
            connection.execute(
                sa.update(control).values(
                    tenant_version=tenant.version,
                    tenant_status=tenant.status,
                    storage_quota_bytes=tenant.storage_quota_bytes,
                )
            )
            for database, collection in collections:
                _apply_collection(connection, database, collection)
            for collection_id in purged:
                _purge_collection(connection, collection_id)

    def usage(self) -> tuple[int, int]:
        """Bytes used, and documents in collections that are not deleted."""
        with self._file.read(snapshot=True) as connection:
            used = connection.execute(sa.select(control.c.storage_used_bytes)).scalar_one()
            count = connection.execute(
                sa.select(sa.func.coalesce(sa.func.sum(collections.c.document_count), 0)).where(
                    collections.c.state != CollectionState.DELETING,
                    collections.c.database_state != DatabaseState.DELETING,
                )
            ).scalar_one()
            return used, count

    @contextmanager
    def image(self) -> Iterator[StoreImage]:
        """All of the store as of one instant, for as long as it takes to read it."""
        with image_of(self._file) as connection:
            yield SqlStoreImage(connection)

    def check(self) -> list[str]:
        """What is wrong with the store: in SQLite's eyes, and in the counters'."""
        try:
            with self._file.read(snapshot=True) as connection:
                return check_integrity(connection) or _check_counters(connection)
        except Unavailable as error:
            return [error.message]

    def figures(self) -> StoreFigures:
        """How it stands with its connections, its queue and its log."""
        return self._file.figures()

    def retire(self) -> None:
        """Refuse every further write for good, then close; nothing is acknowledged after this."""
        with self._file.write() as connection:
            connection.execute(sa.update(control).values(tenant_status=TenantStatus.DECOMMISSIONED))
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._file.close()


def _lost(path: Path) -> Unavailable:
    return Unavailable(
        f"{path.name}: the tenant's store is missing or empty; put it back or restore it from a backup"
    )


def remove_files(path: Path) -> None:
    """Remove a store's files and have that reach the disk; fine when there are none."""
    with translated(path.name):
        for suffix in ("-wal", "-shm", ""):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        sync_directory(path.parent)


def remove_unused(path: Path) -> bool:
    """Remove what a crash left of a store that was being made; tells whether nothing is there now.

    A store that was ever told of its tenant stays. Raises Unavailable for a file that cannot be read.
    """
    with translated(path.name):
        if not path.exists():
            return True
    file = SqliteFile(path)
    try:
        with file.read(snapshot=True) as connection:
            if _is_used(connection):
                return False
    finally:
        file.close()
    remove_files(path)
    return True


def _is_used(connection: sa.Connection) -> bool:
    if schema.version(connection) == 0:
        return connection.exec_driver_sql("SELECT 1 FROM sqlite_master").first() is not None
    return bool(connection.execute(sa.select(control.c.tenant_version)).scalar_one_or_none())


def _apply_collection(connection: sa.Connection, database: Database, collection: Collection) -> None:
    state = {
        "database_id": database.database_id,
        "version": collection.version,
        "state": collection.state,
        "database_state": database.state,
        "max_document_count": collection.max_document_count,
    }
    known = connection.execute(
        sa.update(collections).where(collections.c.collection_id == collection.collection_id).values(state)
    )
    if known.rowcount == 0:
        connection.execute(
            sa.insert(collections).values(
                collection_id=collection.collection_id,
                dimension=collection.dimension,
                metric=collection.metric,
                **state,
            )
        )


def _purge_collection(connection: sa.Connection, collection_id: CollectionId) -> None:
    row = connection.execute(
        sa.select(collections.c.collection_key, collections.c.storage_used_bytes).where(
            collections.c.collection_id == collection_id
        )
    ).one_or_none()
    if row is None:
        return
    for table in (documents, tombstones, remembered_answers, collections):
        connection.execute(sa.delete(table).where(table.c.collection_key == row.collection_key))
    connection.execute(
        sa.update(control).values(storage_used_bytes=control.c.storage_used_bytes - row.storage_used_bytes)
    )


_COUNTED = (
    sa.select(
        collections.c.collection_id,
        collections.c.document_count,
        collections.c.storage_used_bytes,
        collections.c.sequence,
        sa.func.count(documents.c.document_key).label("documents"),
        sa.func.coalesce(sa.func.sum(documents.c.size_bytes), 0).label("bytes"),
        sa.func.coalesce(sa.func.max(documents.c.sequence), 0).label("newest"),
        sa.func.coalesce(
            sa.func.sum(
                sa.case((sa.func.length(documents.c.vector) != 4 * collections.c.dimension, 1), else_=0)
            ),
            0,
        ).label("misshapen"),
    )
    .select_from(collections.outerjoin(documents, documents.c.collection_key == collections.c.collection_key))
    .group_by(collections.c.collection_key)
)


def _check_counters(connection: sa.Connection) -> list[str]:
    """Count again what the counters say."""
    found, total = [], 0
    for row in connection.execute(_COUNTED):
        total += row.bytes
        name = f"collection {row.collection_id}"
        if row.documents != row.document_count:
            found.append(f"{name}: {row.documents} documents, counted as {row.document_count}")
        if row.bytes != row.storage_used_bytes:
            found.append(f"{name}: {row.bytes} bytes, counted as {row.storage_used_bytes}")
        if row.newest > row.sequence:
            found.append(f"{name}: a row has sequence {row.newest}, beyond {row.sequence}")
        if row.misshapen:
            found.append(f"{name}: {row.misshapen} vectors have another dimension")
    used = connection.execute(sa.select(control.c.storage_used_bytes)).scalar_one()
    if used != total:
        found.append(f"the store holds {total} bytes, counted as {used}")
    return found
