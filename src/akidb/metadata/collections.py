"""Collections in SQL, and the single query that resolves a full collection path."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from akidb.domain import cursors
from akidb.domain.documents import Page
from akidb.domain.entities import Collection, Database, Scope, Tenant
from akidb.domain.errors import NotFound
from akidb.domain.ids import CollectionId, DatabaseId, TenantId
from akidb.metadata import versioned_rows as rows
from akidb.metadata.databases import SqlDatabaseRepository
from akidb.metadata.tables import collections, databases, tenants
from akidb.metadata.tenants import SqlTenantCatalog
from akidb.ports.rows import Damages
from akidb.sql.prepared import Prepared, Readable
from akidb.sql.types import Instant

_OF_TENANT = collections.c.tenant_id == sa.bindparam("tenant_id")
_SELECT = sa.select(*rows.columns(Collection)).where(
    _OF_TENANT, collections.c.database_id == sa.bindparam("database_id")
)
_FIND = {
    (by, deleted): Prepared(
        _SELECT.where(collections.c[by] == sa.bindparam("ref"), rows.live(collections, deleted=deleted)),
        Collection,
    )
    for by in ("collection_id", "name")
    for deleted in (False, True)
}
_PAGE = {
    deleted: Prepared(
        _SELECT.where(rows.live(collections, deleted=deleted), collections.c.name > sa.bindparam("after"))
        .order_by(collections.c.name)
        .limit(sa.bindparam("rows")),
        Collection,
    )
    for deleted in (False, True)
}
_IN_DATABASE = sa.and_(
    databases.c.tenant_id == collections.c.tenant_id, databases.c.database_id == collections.c.database_id
)
_WITH_DATABASE = (
    sa.select(*rows.columns(Database), *rows.columns(Collection))
    .select_from(collections.join(databases, _IN_DATABASE))
    .where(_OF_TENANT)
)
# Without metadata: the rows of a tenant are many, and each repeats its database.
_STATES = (
    sa.select(*rows.columns_without_metadata(Database), *rows.columns_without_metadata(Collection))
    .select_from(collections.join(databases, _IN_DATABASE))
    .where(_OF_TENANT)
)
_STATES_OF_TENANT = Prepared(_STATES, Database, Collection)
_STATES_OF_DATABASE = Prepared(
    _STATES.where(collections.c.database_id == sa.bindparam("database_id")), Database, Collection
)
_NUMBER = Prepared(
    sa.select(sa.func.count())
    .select_from(collections)
    .where(collections.c.tenant_id == sa.bindparam("tenant_id"))
)
_IDS = Prepared(
    sa.select(collections.c.collection_id)
    .where(_OF_TENANT, collections.c.database_id == sa.bindparam("database_id"))
    .order_by(collections.c.collection_id)
)
_EXISTS = Prepared(
    sa.select(sa.literal(1)).where(_OF_TENANT, collections.c.collection_id == sa.bindparam("collection_id"))
)
_ALL = Prepared(_WITH_DATABASE, Database, Collection)
_ONE = Prepared(
    _WITH_DATABASE.where(collections.c.collection_id == sa.bindparam("collection_id")), Database, Collection
)
_COUNT_IN_DATABASE = rows.number(
    collections, _OF_TENANT, collections.c.database_id == sa.bindparam("database_id")
)
_COUNT = (
    sa.select(sa.func.count())
    .select_from(collections.join(databases, _IN_DATABASE))
    .where(_OF_TENANT, rows.live(collections, deleted=False), rows.live(databases, deleted=False))
)
_PATH = (
    sa.select(*rows.columns(Tenant), *rows.columns(Database), *rows.columns(Collection))
    .select_from(
        tenants.join(databases, databases.c.tenant_id == tenants.c.tenant_id).join(collections, _IN_DATABASE)
    )
    .where(
        rows.live(tenants, deleted=False),
        rows.live(databases, deleted=False),
        rows.live(collections, deleted=False),
    )
)
_BY_PATH = {
    (t, d, c): Prepared(
        _PATH.where(
            tenants.c["tenant_id" if t else "slug"] == sa.bindparam("tenant"),
            databases.c["database_id" if d else "name"] == sa.bindparam("database"),
            collections.c["collection_id" if c else "name"] == sa.bindparam("collection"),
        ),
        Tenant,
        Database,
        Collection,
    )
    for t in (False, True)
    for d in (False, True)
    for c in (False, True)
}
_EXPIRED = Prepared(
    rows.expired(sa.select(*rows.columns(Collection)), collections)
    .join(databases, _IN_DATABASE)
    .join(tenants, tenants.c.tenant_id == collections.c.tenant_id)
    .where(rows.takes_changes(databases), rows.takes_changes(tenants)),
    Collection,
)


class SqlCollectionRepository:
    """`akidb.ports.metadata.CollectionRepository`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def create(self, collection: Collection) -> None:
        rows.insert(self._connection, collection)

    def find(
        self,
        tenant_id: TenantId,
        database_id: DatabaseId,
        collection: CollectionId | str,
        *,
        deleted: bool = False,
    ) -> Collection | None:
        by = "collection_id" if isinstance(collection, CollectionId) else "name"
        found: Collection | None = _FIND[by, deleted].first(
            self._connection, tenant_id=tenant_id, database_id=database_id, ref=collection
        )
        return found

    def get(
        self,
        tenant_id: TenantId,
        database_id: DatabaseId,
        collection: CollectionId | str,
        *,
        deleted: bool = False,
    ) -> Collection:
        """Return the collection with this ID or name. Raises NotFound if there is none."""
        found = self.find(tenant_id, database_id, collection, deleted=deleted)
        if found is None:
            raise NotFound("collection", collection)
        return found

    def scope(
        self, tenant: TenantId | str, database: DatabaseId | str, collection: CollectionId | str
    ) -> Scope:
        """Return a collection with its database and tenant. Raises NotFound for the first missing one."""
        statement = _BY_PATH[
            isinstance(tenant, TenantId),
            isinstance(database, DatabaseId),
            isinstance(collection, CollectionId),
        ]
        row = statement.first(self._connection, tenant=tenant, database=database, collection=collection)
        if row is None:
            found = SqlTenantCatalog(self._connection).get(tenant)
            SqlDatabaseRepository(self._connection).get(found.tenant_id, database)
            raise NotFound("collection", collection)
        return Scope(*row)

    def list(
        self,
        tenant_id: TenantId,
        database_id: DatabaseId,
        *,
        deleted: bool,
        limit: int,
        cursor: str | None,
        most_bytes: int | None = None,
    ) -> Page[Collection]:
        binding = ("collections", tenant_id, database_id, deleted)
        after = "" if cursor is None else cursors.decode(cursor, str, *binding)
        where: dict[str, Any] = {"tenant_id": tenant_id, "database_id": database_id, "after": after}

        def read(number: int) -> Readable:
            return _PAGE[deleted].readable(self._connection, **where, rows=number, most_bytes=most_bytes)

        return rows.readable_page(read, limit, lambda c: cursors.encode(c.name, *binding))

    def all_of_tenant(self, tenant_id: TenantId) -> Sequence[tuple[Database, Collection]]:
        """Return every collection of a tenant, including deleted ones."""
        return _ALL.all(self._connection, tenant_id=tenant_id)

    def states(
        self, tenant_id: TenantId, database_id: DatabaseId | None = None
    ) -> Sequence[tuple[Database, Collection]]:
        if database_id is None:
            return _STATES_OF_TENANT.all(self._connection, tenant_id=tenant_id)
        return _STATES_OF_DATABASE.all(self._connection, tenant_id=tenant_id, database_id=database_id)

    def ids_in(self, tenant_id: TenantId, database_id: DatabaseId) -> Sequence[CollectionId]:
        return [row[0] for row in _IDS.all(self._connection, tenant_id=tenant_id, database_id=database_id)]

    def number_of_tenant(self, tenant_id: TenantId) -> int:
        number: int = _NUMBER.first(self._connection, tenant_id=tenant_id)[0]
        return number

    def find_with_database(
        self, tenant_id: TenantId, collection_id: CollectionId
    ) -> tuple[Database, Collection] | None:
        found: tuple[Database, Collection] | None = _ONE.first(
            self._connection, tenant_id=tenant_id, collection_id=collection_id
        )
        return found

    def count_in(self, tenant_id: TenantId, database_id: DatabaseId, *, deleted: bool = False) -> int:
        found: int = _COUNT_IN_DATABASE[deleted].first(
            self._connection, tenant_id=tenant_id, database_id=database_id
        )[0]
        return found

    def count(self, tenant_id: TenantId) -> int:
        return self._connection.execute(_COUNT, {"tenant_id": tenant_id}).scalar_one()

    def update(self, collection: Collection) -> None:
        rows.update(self._connection, collection)

    def settle_dimension(
        self, tenant_id: TenantId, collection_id: CollectionId, dimension: int, now: datetime
    ) -> None:
        c = collections.c
        self._connection.execute(
            sa.update(collections)
            .where(c.tenant_id == tenant_id, c.collection_id == collection_id, c.dimension.is_(None))
            .values(
                dimension=dimension,
                version=c.version + 1,
                updated_at=sa.case((c.updated_at > now, c.updated_at), else_=sa.literal(now, Instant())),
            )
        )

    def delete(self, collection: Collection, now: datetime) -> None:
        rows.delete(self._connection, collection, now)

    def restore(self, collection: Collection, now: datetime) -> Collection:
        return rows.restore(self._connection, collection, now)

    def purge(self, tenant_id: TenantId, collection_id: CollectionId, now: datetime) -> None:
        found = _EXISTS.first(self._connection, tenant_id=tenant_id, collection_id=collection_id)
        if found is None:  # not read, as it may be damaged
            raise NotFound("collection", collection_id)
        rows.forget_answers(self._connection, tenant_id, collection_id)
        rows.purge(self._connection, Collection, collection_id, now)

    def expired(self, before: datetime, limit: int, damaged: Damages = None) -> Sequence[Collection]:
        """Return collections deleted by then whose database and tenant permit metadata writes."""
        return rows.sound_rows(_EXPIRED, self._connection, limit, damaged, before=before)
