"""Reading the audit entries of a tenant."""

from akidb.domain.documents import DEFAULT_PAGE_LIMIT, MAX_PAGE_LIMIT, Page
from akidb.domain.entities import AuditEntry
from akidb.domain.errors import NotFound
from akidb.domain.ids import TenantId
from akidb.domain.lifecycle import Access, require
from akidb.domain.names import check_integer, parse_reference
from akidb.ports.metadata import MetadataStore
from akidb.ports.operations import TenantRef
from akidb.services.admission import Admission, operation


class AuditService:
    """`akidb.ports.operations.AuditOperations` in process."""

    def __init__(self, admission: Admission, metadata: MetadataStore) -> None:
        self.admission = admission
        self._metadata = metadata

    @operation
    def list(
        self, tenant: TenantRef, *, limit: int = DEFAULT_PAGE_LIMIT, cursor: str | None = None
    ) -> Page[AuditEntry]:
        """Entries of a tenant, oldest first; a deleted or purged one is named by its ID."""
        check_integer(limit, "limit", 1, MAX_PAGE_LIMIT)
        reference = parse_reference(TenantId, tenant)
        with self._metadata.read() as tx:
            found = tx.tenants.find(reference)
            if found is not None:
                require(Access.AUDIT_READ, found.status)
                reference = found.tenant_id
            elif not isinstance(reference, TenantId) or not tx.audit.knows(reference):
                raise NotFound("tenant", reference)
            return tx.audit.list(reference, limit=limit, cursor=cursor)
