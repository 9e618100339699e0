"""Databases in SQL."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from akidb.domain import cursors
from akidb.domain.documents import Page
from akidb.domain.entities import Database
from akidb.domain.errors import NotFound
from akidb.domain.ids import DatabaseId, TenantId
from akidb.metadata import versioned_rows as rows
from akidb.metadata.tables import databases, tenants
from akidb.ports.rows import Damages
from akidb.sql.prepared import Prepared, Readable

_SELECT = sa.select(*rows.columns(Database)).where(databases.c.tenant_id == sa.bindparam("tenant_id"))
_FIND = {
    (by, deleted): Prepared(
        _SELECT.where(databases.c[by] == sa.bindparam("ref"), rows.live(databases, deleted=deleted)), Database
    )
    for by in ("database_id", "name")
    for deleted in (False, True)
}
_PAGE = {
    deleted: Prepared(
        _SELECT.where(rows.live(databases, deleted=deleted), databases.c.name > sa.bindparam("after"))
        .order_by(databases.c.name)
        .limit(sa.bindparam("rows")),
        Database,
    )
    for deleted in (False, True)
}
_EXISTS = Prepared(
    sa.select(sa.literal(1)).where(
        databases.c.tenant_id == sa.bindparam("tenant_id"),
        databases.c.database_id == sa.bindparam("database_id"),
    )
)
_COUNT = rows.number(databases, databases.c.tenant_id == sa.bindparam("tenant_id"))
_EXPIRED = Prepared(
    rows.expired(sa.select(*rows.columns(Database)), databases)
    .join(tenants, tenants.c.tenant_id == databases.c.tenant_id)
    .where(rows.takes_changes(tenants)),
    Database,
)


class SqlDatabaseRepository:
    """`akidb.ports.metadata.DatabaseRepository`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def create(self, database: Database) -> None:
        rows.insert(self._connection, database)

    def find(
        self, tenant_id: TenantId, database: DatabaseId | str, *, deleted: bool = False
    ) -> Database | None:
        by = "database_id" if isinstance(database, DatabaseId) else "name"
        found: Database | None = _FIND[by, deleted].first(self._connection, tenant_id=tenant_id, ref=database)
        return found

    def get(self, tenant_id: TenantId, database: DatabaseId | str, *, deleted: bool = False) -> Database:
        """Return the database with this ID or name. Raises NotFound if there is none."""
        found = self.find(tenant_id, database, deleted=deleted)
        if found is None:
            raise NotFound("database", database)
        return found

    def list(
        self,
        tenant_id: TenantId,
        *,
        deleted: bool,
        limit: int,
        cursor: str | None,
        most_bytes: int | None = None,
    ) -> Page[Database]:
        binding = ("databases", tenant_id, deleted)
        after = "" if cursor is None else cursors.decode(cursor, str, *binding)

        def read(number: int) -> Readable:
            return _PAGE[deleted].readable(
                self._connection, tenant_id=tenant_id, after=after, rows=number, most_bytes=most_bytes
            )

        return rows.readable_page(read, limit, lambda d: cursors.encode(d.name, *binding))

    def count(self, tenant_id: TenantId, *, deleted: bool = False) -> int:
        found: int = _COUNT[deleted].first(self._connection, tenant_id=tenant_id)[0]
        return found

    def update(self, database: Database) -> None:
        rows.update(self._connection, database)

    def delete(self, database: Database, now: datetime) -> None:
        rows.delete(self._connection, database, now)

    def restore(self, database: Database, now: datetime) -> Database:
        return rows.restore(self._connection, database, now)

    def purge(self, tenant_id: TenantId, database_id: DatabaseId, now: datetime) -> None:
        if _EXISTS.first(self._connection, tenant_id=tenant_id, database_id=database_id) is None:
            raise NotFound("database", database_id)  # not read, as it may be damaged
        rows.forget_answers(self._connection, tenant_id, database_id)
        rows.purge(self._connection, Database, database_id, now)

    def expired(self, before: datetime, limit: int, damaged: Damages = None) -> Sequence[Database]:
        return rows.sound_rows(_EXPIRED, self._connection, limit, damaged, before=before)
