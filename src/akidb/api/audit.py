"""Routes of the audit."""

from akidb.api.lists import PageQuery
from akidb.api.routing import Call, Routes
from akidb.domain.documents import Page
from akidb.domain.entities import AuditEntry

routes = Routes("audit")


@routes.get("/v1/tenants/{tenant}/audit")
def list_(call: Call, query: PageQuery) -> Page[AuditEntry]:
    """List what was done to a tenant, oldest first. A purged tenant is named by its ID."""
    return call.operations.audit.list(call.tenant, limit=query.limit, cursor=query.cursor)
