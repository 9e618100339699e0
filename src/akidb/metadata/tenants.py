"""Tenants in SQL."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from akidb.domain.documents import Page
from akidb.domain.entities import Tenant
from akidb.domain.errors import NotFound
from akidb.domain.ids import TenantId
from akidb.domain.lifecycle import TenantStatus
from akidb.metadata import rows
from akidb.metadata.tables import tenants
from akidb.sql import cursors
from akidb.sql.types import format_instant

_SELECT = sa.select(*rows.columns(Tenant))
# Prepared once each: building a statement costs as much as running it.
_FIND = {
    (by, deleted): _SELECT.where(tenants.c[by] == sa.bindparam("ref"), rows.live(tenants, deleted=deleted))
    for by in ("tenant_id", "slug")
    for deleted in (False, True)
}


def _make(row: sa.RowMapping) -> Tenant:
    return Tenant(**row)


class SqlTenantCatalog:
    """`akidb.ports.metadata.TenantCatalog`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def create(self, tenant: Tenant) -> None:
        """Add a tenant."""
        rows.insert(self._connection, tenant)

    def find(self, tenant: TenantId | str, *, deleted: bool = False) -> Tenant | None:
        """By ID or slug."""
        by = "tenant_id" if isinstance(tenant, TenantId) else "slug"
        row = self._connection.execute(_FIND[by, deleted], {"ref": tenant}).mappings().one_or_none()
        return None if row is None else _make(row)

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
        statement = _SELECT.where(rows.live(tenants, deleted=deleted)).order_by(
            tenants.c.created_at, tenants.c.tenant_id
        )
        if status is not None:
            statement = statement.where(tenants.c.status == status)
        if external_id is not None:
            statement = statement.where(tenants.c.external_id == external_id)
        if cursor is not None:
            statement = statement.where(_after(cursor, binding))
        return rows.page(
            self._connection,
            statement,
            _make,
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


def _after(cursor: str, binding: tuple[Any, ...]) -> sa.ColumnElement[bool]:
    created_at, tenant_id = cursors.decode(cursor, tuple[datetime, str], *binding)
    return sa.tuple_(tenants.c.created_at, tenants.c.tenant_id) > sa.tuple_(
        sa.literal(created_at, tenants.c.created_at.type),
        sa.literal(TenantId.parse(tenant_id, "cursor"), tenants.c.tenant_id.type),
    )
