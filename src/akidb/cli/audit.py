"""`akidb audit`: the record of what was done."""

from akidb.cli.arguments import Cursor, Limit, TenantArgument
from akidb.cli.session import Session, command, group
from akidb.domain.documents import DEFAULT_PAGE_LIMIT

app = group("audit", "The record of what was done.")

COLUMNS = ("created_at", "action", "resource_type", "resource_id", "result", "reason", "request_id")


@command(app, "list")
def list_entries(
    session: Session, tenant: TenantArgument, *, limit: Limit = DEFAULT_PAGE_LIMIT, cursor: Cursor = None
) -> None:
    """List a tenant's entries, oldest first; a purged tenant is named by its ID."""
    session.out.page(session.operations.audit.list(tenant, limit=limit, cursor=cursor), COLUMNS)
