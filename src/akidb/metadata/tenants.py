"""Tenants in SQL."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from akidb.domain.documents import Page
from akidb.domain.entities import Tenant
from akidb.domain.errors import NotFound
from akidb.domain.ids import TenantId
from akidb.domain.lifecycle import TenantStatus
from akidb.domain.lists import TenantSort
from akidb.metadata import lists
from akidb.metadata import versioned_rows as rows
from akidb.metadata.tables import legacy_manifests, purged, tenants
from akidb.observe.context import note_tenant
from akidb.ports.rows import Damages
from akidb.sql.prepared import Prepared

_SELECT = sa.select(*rows.columns(Tenant))


def _by(column: str, *, deleted: bool, locked: bool) -> Prepared:
    statement = _SELECT.where(tenants.c[column] == sa.bindparam("ref"), rows.live(tenants, deleted=deleted))
    return Prepared(statement.with_for_update(key_share=True) if locked else statement, Tenant)


_FIND = {
    (column, deleted, locked): _by(column, deleted=deleted, locked=locked)
    for column in ("tenant_id", "slug")
    for deleted in (False, True)
    for locked in (False, True)
}


_DELETED_IN_1X = sa.exists().where(
    legacy_manifests.c.tenant_id == tenants.c.tenant_id,
    legacy_manifests.c.migrated_at == tenants.c.deleted_at,
)
_EXPIRED = Prepared(rows.expired(_SELECT, tenants).where(~_DELETED_IN_1X), Tenant)
_LAST_PURGE = Prepared(
    sa.select(purged.c.purged_at).order_by(purged.c.purged_at.desc()).limit(sa.bindparam("rows"))
)


class SqlTenantCatalog:
    """`akidb.ports.metadata.TenantCatalog`.

    In a write transaction, a found tenant stays locked until the end: changes of a tenant and everything
    below it are serialised. SQLite has a single writer and needs no such lock.
    """

    def __init__(self, connection: sa.Connection, *, locks: bool = False) -> None:
        self._connection = connection
        self._locks = locks

    def create(self, tenant: Tenant) -> None:
        rows.insert(self._connection, tenant)

    def find(self, tenant: TenantId | str, *, deleted: bool = False) -> Tenant | None:
        by = "tenant_id" if isinstance(tenant, TenantId) else "slug"
        found: Tenant | None = _FIND[by, deleted, self._locks].first(self._connection, ref=tenant)
        if found is not None:
            note_tenant(found.tenant_id)
        return found

    def get(self, tenant: TenantId | str, *, deleted: bool = False) -> Tenant:
        found = self.find(tenant, deleted=deleted)
        if found is None:
            raise NotFound("tenant", tenant)
        return found

    def list(
        self,
        *,
        status: TenantStatus | None,
        external_id: str | None,
        deleted: bool,
        limit: int,
        cursor: str | None,
        name: str | None = None,
        name_contains: str | None = None,
        sort: TenantSort = TenantSort.CREATED_AT,
        most_bytes: int | None = None,
    ) -> Page[Tenant]:
        which = lists.TenantFilter(status, external_id, name_contains, deleted, name)
        return lists.page(self._connection, which, sort, limit=limit, cursor=cursor, most_bytes=most_bytes)

    def count(
        self,
        *,
        status: TenantStatus | None = None,
        external_id: str | None = None,
        name: str | None = None,
        name_contains: str | None = None,
        deleted: bool = False,
    ) -> int:
        which = lists.TenantFilter(status, external_id, name_contains, deleted, name)
        return lists.count(self._connection, which)

    def update(self, tenant: Tenant) -> None:
        rows.update(self._connection, tenant)

    def delete(self, tenant: Tenant, now: datetime) -> None:
        rows.delete(self._connection, tenant, now)

    def restore(self, tenant: Tenant, now: datetime) -> Tenant:
        return rows.restore(self._connection, tenant, now)

    def purge(self, tenant_id: TenantId, now: datetime) -> None:
        rows.purge(self._connection, Tenant, tenant_id, now)

    def last_purge(self) -> datetime | None:
        found = rows.sound_rows(_LAST_PURGE, self._connection, 1, None)
        return found[0][0] if found else None

    def expired(self, before: datetime, limit: int, damaged: Damages = None) -> Sequence[Tenant]:
        return rows.sound_rows(_EXPIRED, self._connection, limit, damaged, before=before)
