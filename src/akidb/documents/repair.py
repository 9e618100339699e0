"""What the file at the path of a tenant's store holds, for repairs: it may be another store, or none."""

import shutil
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import sqlalchemy as sa

from akidb.documents import control_rows, schema
from akidb.documents.base import SqlTenantStore
from akidb.documents.statements import IN_FILE
from akidb.documents.tables import FILE
from akidb.domain.errors import Unavailable
from akidb.domain.ids import StoreId, TenantId
from akidb.ports.documents import ControlState
from akidb.sql.archive_image import remove_scratch, scratch_path
from akidb.sql.database import driver_of
from akidb.sql.errors import is_damage, translated
from akidb.sql.sqlite import SqliteFile
from akidb.sql.sqlite_library import library


class StoreFile(NamedTuple):
    """The content of a file. Without a `fault` it is a store."""

    tenant_id: TenantId | None = None
    store_id: StoreId | None = None
    documents: int = 0
    fault: str | None = None
    state: ControlState | None = None
    collections: int = 0
    is_damaged: bool = False
    """Whether its control rows must be written anew."""


def read_store_file(path: Path) -> StoreFile | None:
    """Return what a file holds, None if there is none or it is empty.

    Raises Unavailable for anything but damage, such as a schema of a newer program.
    """
    with translated(path.name):
        if not path.exists() or path.stat().st_size == 0:
            return None
    file = SqliteFile(path)
    try:
        with file.read(snapshot=True) as connection:
            return _read(connection)
    except Unavailable as error:
        if not is_damage(error):
            raise
        return StoreFile(fault=error.message)
    finally:
        file.close(keep_log=True)  # it may not belong to the file


def owner_without_log(path: Path) -> TenantId | None:
    """Return whose store a file is without the log beside it; None if it does not say so, or has no log.

    The log of one store beside the file of another can read as the first one, with pages of both.
    """
    log = path.with_name(f"{path.name}-wal")
    with translated(path.name):
        if not log.exists() or log.stat().st_size == 0:
            return None
    address = f"file:{quote(str(path.absolute()))}?immutable=1"  # such a connection ignores the log
    with closing(library.connect(address, uri=True)) as connection, suppress(library.Error, ValueError):
        for (tenant_id,) in connection.execute("SELECT tenant_id FROM control"):
            return TenantId(tenant_id)
    return None


def is_sound_without_log(path: Path) -> bool:
    """Return whether a file is a sound store by itself, but not with the log beside it.

    So it is after another program has put an older file in its place. Both are examined as copies.
    """
    log = path.with_name(f"{path.name}-wal")
    with translated(path.name):
        if not log.exists() or log.stat().st_size == 0:
            return False
    return not _is_sound_copy(path, log) and _is_sound_copy(path)


def _is_sound_copy(path: Path, log: Path | None = None) -> bool:
    copy = scratch_path(path)
    try:
        with translated(path.name):
            shutil.copyfile(path, copy)
            if log is not None:
                shutil.copyfile(log, copy.with_name(f"{copy.name}-wal"))
        found = read_store_file(copy)
        if found is None or found.fault is not None or found.store_id is None:
            return False
        file = SqliteFile(copy)
        try:
            return not SqlTenantStore(file, IN_FILE, found.store_id).check()
        finally:
            file.close()
    finally:
        remove_scratch(copy)


def _read(connection: sa.Connection) -> StoreFile | None:
    version = schema.version(connection)
    if version == 0:
        if connection.exec_driver_sql("SELECT 1 FROM sqlite_master").first() is None:
            return None
        return StoreFile(fault="the file is a database of another program")
    if version > len(schema.STEPS):
        raise Unavailable("the store is newer than this AkiDB; use a newer AkiDB")
    c = FILE.control.c
    if control_rows.faults(connection):
        return _read_damaged(connection)
    fields = (c[name] for name in ControlState._fields)
    found = connection.execute(sa.select(c.tenant_id, c.store_id, *fields)).one_or_none()
    if found is None:
        return StoreFile(fault="its control row is missing")
    count = connection.execute(sa.select(sa.func.count()).select_from(FILE.documents)).scalar_one()
    collections = connection.execute(sa.select(sa.func.count()).select_from(FILE.collections)).scalar_one()
    tenant_id, store_id, *state = found
    return StoreFile(tenant_id, store_id, count, None, ControlState(*state), collections)


def _read_damaged(connection: sa.Connection) -> StoreFile:
    """Return what a store with damaged control rows holds, or the fault if it cannot be told whose it is."""
    driver = driver_of(connection)
    [(tenant_id, store_id)] = driver.execute("SELECT tenant_id, store_id FROM control").fetchall()
    [(count,)] = driver.execute("SELECT count(*) FROM documents").fetchall()
    try:
        return StoreFile(TenantId(tenant_id), StoreId(store_id), count, is_damaged=True)
    except ValueError:
        return StoreFile(fault=control_rows.faults(connection)[0])
