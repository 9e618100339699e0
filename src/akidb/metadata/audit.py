"""Audit entries in SQL."""

from typing import Any

import msgspec
import sqlalchemy as sa

from akidb.domain import cursors
from akidb.domain.documents import Page
from akidb.domain.entities import AuditEntry
from akidb.domain.ids import AuditEntryId, TenantId
from akidb.metadata import versioned_rows as rows
from akidb.metadata.tables import audit_entries
from akidb.sql.prepared import Prepared, Readable

_FIELDS = AuditEntry.__struct_fields__
_INSERT = rows.insertion(AuditEntry, audit_entries)
_KEY = audit_entries.c.audit_entry_id
_OF_TENANT = audit_entries.c.tenant_id == sa.bindparam("tenant_id")
_PAGE = {
    later: Prepared(
        sa.select(*(audit_entries.c[name] for name in _FIELDS))
        .where(_OF_TENANT, *([sa.bindparam("after", type_=_KEY.type) < _KEY] if later else []))
        .order_by(_KEY)
        .limit(sa.bindparam("rows")),
        AuditEntry,
    )
    for later in (False, True)
}


class SqlAuditLog:
    """`akidb.ports.metadata.AuditLog`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def add(self, entry: AuditEntry) -> None:
        _INSERT.run(self._connection, msgspec.structs.asdict(entry))

    def list(
        self, tenant_id: TenantId, *, limit: int, cursor: str | None, most_bytes: int | None = None
    ) -> Page[AuditEntry]:
        binding = ("audit", tenant_id)
        parameters: dict[str, Any] = {"tenant_id": tenant_id}
        if cursor is not None:
            parameters["after"] = AuditEntryId.parse(cursors.decode(cursor, str, *binding), "cursor")
        statement = _PAGE[cursor is not None]

        def read(number: int) -> Readable:
            return statement.readable(self._connection, **parameters, rows=number, most_bytes=most_bytes)

        return rows.readable_page(
            read, limit, lambda entry: cursors.encode(str(entry.audit_entry_id), *binding)
        )

    def knows(self, tenant_id: TenantId) -> bool:
        statement = sa.select(sa.exists().where(audit_entries.c.tenant_id == tenant_id))
        return bool(self._connection.scalar(statement))
