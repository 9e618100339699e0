"""Tenants in SQL."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa

from akidb.domain.documents import Page
from akidb.domain.entities import Tenant
from akidb.domain.errors import NotFound
from akidb.domain.ids import TenantId
from akidb.domain.lifecycle import TenantStatus
from akidb.metadata import rows
from akidb.metadata.tables import legacy_manifests, tenants
from akidb.ports.context import note_tenant
from akidb.sql import cursors
from akidb.sql.prepared import Prepared
from akidb.sql.types import format_instant

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


@cache
def _page(*, deleted: bool, by_status: bool, by_external_id: bool, later: bool) -> Prepared:
    """A page of the list with these conditions."""
    statement = _SELECT.where(rows.live(tenants, deleted=deleted))
    if by_status:
        statement = statement.where(tenants.c.status == sa.bindparam("status"))
    if by_external_id:
        statement = statement.where(tenants.c.external_id == sa.bindparam("external_id"))
    order = (tenants.c.created_at, tenants.c.tenant_id)
    if later:
        position = (sa.bindparam(f"after_{column.name}", type_=column.type) for column in order)
        statement = statement.where(sa.tuple_(*order) > sa.tuple_(*position))
    return Prepared(statement.order_by(*order).limit(sa.bindparam("rows")), Tenant)


_DELETED_IN_1X = sa.exists().where(
    legacy_manifests.c.tenant_id == tenants.c.tenant_id,
    legacy_manifests.c.migrated_at == tenants.c.deleted_at,
)
_EXPIRED = Prepared(rows.expired(_SELECT, tenants).where(~_DELETED_IN_1X), Tenant)


class SqlTenantCatalog:
    """`akidb.ports.metadata.TenantCatalog`.

    In a transaction that writes, a tenant that is found is locked until its end: changes of a tenant and of
    all below it follow one another. SQLite lets one transaction write at a time and takes no such lock.
    """

    def __init__(self, connection: sa.Connection, *, locks: bool = False) -> None:
        self._connection = connection
        self._locks = locks

    def create(self, tenant: Tenant) -> None:
        """Add a tenant."""
        rows.insert(self._connection, tenant)

    def find(self, tenant: TenantId | str, *, deleted: bool = False) -> Tenant | None:
        """By ID or slug."""
        by = "tenant_id" if isinstance(tenant, TenantId) else "slug"
        found: Tenant | None = _FIND[by, deleted, self._locks].first(self._connection, ref=tenant)
        if found is not None:
            note_tenant(found.tenant_id)
        return found

    def get(self, tenant: TenantId | str, *, deleted: bool = False) -> Tenant:
        """By ID or slug."""
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
    ) -> Page[Tenant]:
        """In the order of creation; equal times in the order of IDs."""
        binding = ("tenants", status, external_id, deleted)
        statement = _page(
            deleted=deleted,
            by_status=status is not None,
            by_external_id=external_id is not None,
            later=cursor is not None,
        )
        parameters: dict[str, Any] = {"status": status, "external_id": external_id, "rows": limit + 1}
        if cursor is not None:
            created_at, tenant_id = cursors.decode(cursor, tuple[datetime, str], *binding)
            parameters["after_created_at"] = created_at
            parameters["after_tenant_id"] = TenantId.parse(tenant_id, "cursor")
        return rows.page(
            statement.all(self._connection, **parameters),
            limit,
            lambda t: cursors.encode([format_instant(t.created_at), str(t.tenant_id)], *binding),
        )

    def update(self, tenant: Tenant) -> None:
        """Store the next version."""
        rows.update(self._connection, tenant)

    def delete(self, tenant: Tenant, now: datetime) -> None:
        """Mark as deleted."""
        rows.delete(self._connection, tenant, now)

    def restore(self, tenant: Tenant, now: datetime) -> Tenant:
        """Undo a deletion."""
        return rows.restore(self._connection, tenant, now)

    def purge(self, tenant_id: TenantId, now: datetime) -> None:
        """Remove the rows for good."""
        rows.purge(self._connection, Tenant, tenant_id, now)

    def expired(self, before: datetime, limit: int) -> Sequence[Tenant]:
        """Tenants deleted by then."""
        return _EXPIRED.all(self._connection, before=before, rows=limit)
