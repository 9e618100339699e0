"""The audit log: operations and whether they were allowed. Entries outlive their tenant."""

from akidb.domain.documents import DEFAULT_PAGE_LIMIT, Page
from akidb.domain.entities import AuditEntry
from akidb.domain.fields import Cursor, Limit
from akidb.domain.lifecycle import Access
from akidb.operations import tenants
from akidb.operations.declare import MANY, InTenant, Work, operation


@operation(
    "audit.list",
    "GET",
    tenants.ONE + "/audit",
    needs=Access.AUDIT_READ,
    more_with={"limit": (MANY, Work.HEAVY)},
)
class ListAuditEntries(InTenant[Page[AuditEntry]], kw_only=True, frozen=True):
    """List the audit entries of a tenant, oldest first. A purged tenant must be given by its ID."""

    limit: Limit = DEFAULT_PAGE_LIMIT
    cursor: Cursor | None = None
