"""Audit entries of a tenant: list."""

from akidb.domain.documents import Page
from akidb.domain.entities import AuditEntry
from akidb.domain.errors import NotFound
from akidb.domain.ids import TenantId
from akidb.domain.lifecycle import Access, require
from akidb.operations.audit import ListAuditEntries
from akidb.ports.metadata import MetadataTransaction
from akidb.services.dispatch import in_read


class AuditService:
    """Implements `akidb.operations.audit`."""

    @in_read(ListAuditEntries)
    def list(self, tx: MetadataTransaction, asked: ListAuditEntries) -> Page[AuditEntry]:
        reference = asked.tenant
        found = tx.tenants.find(reference)
        if found is not None:
            require(Access.AUDIT_READ, found.status)
            reference = found.tenant_id
        elif not isinstance(reference, TenantId) or not tx.audit.knows(reference):
            raise NotFound("tenant", reference)
        return tx.audit.list(reference, limit=asked.limit, cursor=asked.cursor)
