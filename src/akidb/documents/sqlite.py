"""One tenant's store in a SQLite file: creates, opens, retires and removes it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from akidb.documents import schema
from akidb.documents.archive_image import SqlStoreImage
from akidb.documents.base import SqlTenantStore
from akidb.documents.repair import owner_without_log
from akidb.documents.statements import IN_FILE
from akidb.documents.tables import FILE
from akidb.domain.errors import Unavailable
from akidb.domain.ids import StoreId, TenantId
from akidb.domain.lifecycle import TenantStatus
from akidb.observe.telemetry import StoreFigures
from akidb.ports.archive import StoreImage
from akidb.sql.application_id import TENANT, require_own_tables
from akidb.sql.archive_image import image_of
from akidb.sql.errors import translated
from akidb.sql.files import create_file, sync_directory
from akidb.sql.identity import FileIdentity
from akidb.sql.room import Room
from akidb.sql.schema_backups import SchemaBackups
from akidb.sql.sqlite import SqliteFile


class SqliteTenantStore(SqlTenantStore):
    """`akidb.ports.documents.TenantStore` in one file."""

    def __init__(
        self,
        path: Path,
        tenant_id: TenantId,
        store_id: StoreId,
        *,
        synchronous: str = "full",
        copies: SchemaBackups | None = None,
        room: Room | None = None,
        within: Sequence[FileIdentity] = (),
    ) -> None:
        """Open the file. A copy is taken before a schema migration.

        Writes require what it is `within` to be in place.

        Raises Unavailable if it is missing, damaged, newer than this program, or another store.
        """
        with translated(path.name):
            missing = not path.exists() or path.stat().st_size == 0
        if missing:
            raise _lost(path)
        if owner_without_log(path) not in {None, tenant_id}:
            raise Unavailable(
                f"{path.name}: the file is the store of another tenant; run `akidb doctor --repair`"
            )
        self._file = SqliteFile(path, synchronous=synchronous, room=room, within=within)
        self._copies = copies
        self._compared = False
        super().__init__(self._file, IN_FILE, store_id)
        try:
            with self._file.read() as connection:
                if schema.version(connection) == 0:
                    raise _lost(path)
                require_own_tables(path.name, TENANT, connection)
            schema.bring_forward(self._file, copies)
            with self._file.read() as connection:
                try:
                    found = connection.execute(
                        sa.select(FILE.control.c.store_id, FILE.control.c.tenant_id)
                    ).one_or_none()
                except Exception as error:
                    self._explain(connection, error)
                    raise
            if found is None or (found.store_id, found.tenant_id) != (store_id, tenant_id):
                self._file.close(keep_log=True)  # it may not belong to the file
                raise Unavailable(
                    f"{path.name}: the file is not the store named in the metadata;"
                    " `akidb doctor --repair` can use it as it is"
                )
        except BaseException:
            self._file.close()
            raise

    @staticmethod
    def create(path: Path, tenant_id: TenantId, store_id: StoreId, *, synchronous: str) -> None:
        """Create an empty store in the state `provisioning`, replacing an unused one.

        Raises Unavailable if the existing store is in use: it is not in the metadata, but may hold documents.
        """
        if not remove_unused(path):
            raise Unavailable(
                f"{path.name}: the store is unknown to the metadata; restore both from the same backup,"
                " or let `akidb doctor --repair` use it as it is"
            )
        with translated(path.name):
            create_file(path)
        file = SqliteFile(path, synchronous=synchronous)
        try:
            schema.bring_forward(file)
            with file.write() as connection:
                connection.execute(
                    sa.insert(FILE.control).values(
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
    def image(self) -> Iterator[StoreImage]:
        with image_of(self._file) as connection:
            try:
                yield SqlStoreImage(connection)
            except Exception as error:
                self._explain(connection, error)
                raise

    def is_compared(self) -> bool:
        """Return whether it was compared with the metadata since it was opened."""
        return self._compared

    def note_compared(self) -> None:
        """Record that it was compared with the metadata."""
        self._compared = True

    def erase(self) -> bool:
        """Erase all traces of deleted data, also in schema backups; return whether it was possible now."""
        if self._copies is not None:
            self._copies.remove(store=self._file.path.stem)
        return self._file.erase()

    def checkpoint_idle(self) -> bool:
        """Move the log into the file if nothing was written since the last call; return whether it did."""
        return self._file.checkpoint_idle()

    def displacement(self) -> str | None:
        """Return whether its files were removed, moved or replaced, in words; None if not."""
        return self._file.displacement()

    @property
    def altered(self) -> str | None:
        """What another program was seen to have done to the contents of its files."""
        return self._file.altered

    def figures(self) -> StoreFigures:
        return self._file.figures()

    def retire(self) -> None:
        """Refuse all further writes permanently, then close. No write is acknowledged after this."""
        with self._file.write() as connection:
            connection.execute(sa.update(FILE.control).values(tenant_status=TenantStatus.DECOMMISSIONED))
        self.close()

    def close(self) -> None:
        self._file.close()


def _lost(path: Path) -> Unavailable:
    return Unavailable(
        f"{path.name}: the tenant's store is missing or empty; put it back or restore it from a backup"
    )


def remove_files(path: Path) -> None:
    """Durably remove a store's files, if they exist."""
    with translated(path.name):
        for suffix in ("-wal", "-shm", "", "-journal"):  # the last one of a store that was not finished
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        sync_directory(path.parent)


def remove_unused(path: Path) -> bool:
    """Remove a store that a crash left unfinished; return whether there is none now.

    Keep a store to which a tenant state was ever applied. Raises Unavailable for an unreadable file.
    """
    if is_used(path):
        return False
    remove_files(path)
    return True


def is_used(path: Path) -> bool:
    """Return whether there is a store, to which a tenant state was ever applied, or another program's file.

    Raises Unavailable for an unreadable file.
    """
    with translated(path.name):
        if not path.exists() or _is_empty(path):
            return False
    file = SqliteFile(path)
    try:
        with file.read(snapshot=True) as connection:
            if schema.version(connection) == 0:
                return connection.exec_driver_sql("SELECT 1 FROM sqlite_master").first() is not None
            return bool(connection.execute(sa.select(FILE.control.c.tenant_version)).scalar_one_or_none())
    finally:
        file.close(keep_log=True)  # the log may not belong to the file


def _is_empty(path: Path) -> bool:
    """Return whether a file and its log are empty: on a full disk such a file cannot even be opened."""
    log = path.with_name(path.name + "-wal")
    return path.stat().st_size == 0 and not (log.exists() and log.stat().st_size)
