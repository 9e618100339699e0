"""Direct access to the rows of a world's stores, bypassing the services, on SQLite and PostgreSQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from akidb.documents.postgresql import PostgresTenantStores
from akidb.documents.sqlite_pool import SqliteTenantStores
from akidb.domain.ids import TenantId
from akidb.sql.database import SqlDatabase
from akidb.sql.sqlite import SqliteFile

from .worlds import World


def metadata_rows(world: World, statement: str, tenant_id: TenantId | None = None) -> list[tuple[Any, ...]]:
    """What a statement on the metadata gives; `{tenant}` in it is the tenant."""
    database: SqlDatabase = world.ops._runtime.metadata._database  # type: ignore[attr-defined]
    return _rows(database, statement, tenant_id)


def all_metadata(world: World) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of the metadata."""
    tables = (
        *("tenants", "databases", "collections", "users", "audit_entries", "tenant_stores"),
        *("outbox", "purged", "remembered_answers", "legacy_manifests"),
    )
    return {table: sorted(metadata_rows(world, f"SELECT * FROM {table}"), key=repr) for table in tables}


def store_rows(world: World, tenant_id: TenantId, table: str) -> list[tuple[Any, ...]]:
    """All rows of a table of a tenant's store."""
    with _store(world, tenant_id) as (database, where):
        return _rows(database, f"SELECT * FROM {table} {where}", tenant_id)


def change_metadata(world: World, statement: str, tenant_id: TenantId | None = None) -> None:
    """Change the metadata behind the program's back, as another process does."""
    database: SqlDatabase = world.ops._runtime.metadata._database  # type: ignore[attr-defined]
    with database.write() as connection:
        connection.exec_driver_sql(_filled(database, statement, tenant_id))


@contextmanager
def _store(world: World, tenant_id: TenantId) -> Iterator[tuple[SqlDatabase, str]]:
    stores = world.ops._runtime.tenant_stores
    if isinstance(stores, PostgresTenantStores):
        yield stores._database, "WHERE tenant_id = {tenant}"
        return
    assert isinstance(stores, SqliteTenantStores)
    file = SqliteFile(stores._path(tenant_id))
    try:
        yield file, ""
    finally:
        file.close()


def _rows(database: SqlDatabase, statement: str, tenant_id: TenantId | None) -> list[tuple[Any, ...]]:
    with database.read() as connection:
        found = connection.exec_driver_sql(_filled(database, statement, tenant_id)).all()
        return [tuple(row) for row in found]


def _filled(database: SqlDatabase, statement: str, tenant_id: TenantId | None) -> str:
    if tenant_id is None:
        return statement
    literal = f"X'{tenant_id.raw.hex()}'" if database.system == "sqlite" else f"'{tenant_id}'"
    return statement.replace("{tenant}", literal)
