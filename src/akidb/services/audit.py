"""Audit entries of a tenant: list."""

from akidb.domain.documents import Page
from akidb.domain.entities import AuditEntry, Tenant
from akidb.domain.errors import Damaged, NotFound
from akidb.domain.fields import TenantRef
from akidb.domain.ids import TenantId
from akidb.domain.lifecycle import Access, require
from akidb.operations.audit import ListAuditEntries
from akidb.ports.metadata import MetadataTransaction
from akidb.services.answer_limits import AnswerLimits
from akidb.services.dispatch import in_read


class AuditService:
    """Implements `akidb.operations.audit`."""

    def __init__(self, limits: AnswerLimits) -> None:
        self._limits = limits

    @in_read(ListAuditEntries)
    def list(self, tx: MetadataTransaction, asked: ListAuditEntries) -> Page[AuditEntry]:
        reference = asked.tenant
        found = _find(tx, reference)
        if found is not None:
            require(Access.AUDIT_READ, found.status)
            reference = found.tenant_id
        elif not isinstance(reference, TenantId) or not tx.audit.knows(reference):
            raise NotFound("tenant", reference)
        most = self._limits.max_bytes
        return tx.audit.list(reference, limit=asked.limit, cursor=asked.cursor, most_bytes=most)


def _find(tx: MetadataTransaction, reference: TenantRef) -> Tenant | None:
    """Return the tenant. By its ID, the log of a damaged one is readable as that of a purged one is."""
    try:
        return tx.tenants.find(reference)
    except Damaged:
        if isinstance(reference, TenantId):
            return None
        raise
