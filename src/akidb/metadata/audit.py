"""Audit entries in SQL."""

import sqlalchemy as sa

from akidb.domain.documents import Page
from akidb.domain.entities import AuditEntry
from akidb.domain.ids import AuditEntryId, TenantId
from akidb.metadata import rows
from akidb.metadata.tables import audit_entries
from akidb.sql import cursors

_FIELDS = AuditEntry.__struct_fields__
_INSERT = rows.insertion(AuditEntry, audit_entries)
_SELECT = sa.select(*(audit_entries.c[name] for name in _FIELDS))
_make = rows.maker(AuditEntry)


class SqlAuditLog:
    """`akidb.ports.metadata.AuditLog`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def add(self, entry: AuditEntry) -> None:
        """Record an entry."""
        _INSERT.run(self._connection, {name: getattr(entry, name) for name in _FIELDS})

    def list(self, tenant_id: TenantId, *, limit: int, cursor: str | None) -> Page[AuditEntry]:
        """Entries of a tenant, oldest first."""
        binding = ("audit", tenant_id)
        key = audit_entries.c.audit_entry_id
        statement = _SELECT.where(audit_entries.c.tenant_id == tenant_id).order_by(key)
        if cursor is not None:
            after = AuditEntryId.parse(cursors.decode(cursor, str, *binding), "cursor")
            statement = statement.where(key > after)
        found = [list(row) for row in self._connection.execute(statement.limit(limit + 1))]
        return rows.page(
            found, _make, limit, lambda entry: cursors.encode(str(entry.audit_entry_id), *binding)
        )

    def knows(self, tenant_id: TenantId) -> bool:
        """Whether there is any entry of that tenant."""
        statement = sa.select(sa.exists().where(audit_entries.c.tenant_id == tenant_id))
        return bool(self._connection.scalar(statement))
