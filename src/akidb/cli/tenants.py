"""`akidb tenant`: tenants, their quotas and their lifecycle."""

from akidb.cli import everyday
from akidb.cli.arguments import TenantArgument
from akidb.cli.session import Session, command, group
from akidb.operations.tenants import GetUsage

app = group("tenant", "Tenants: isolated customers with their own data and quotas.")

everyday.add(app, "tenant", "create", "list", "count", "get", "update")


@command(app, "usage")
def usage(session: Session, tenant: TenantArgument) -> None:
    """Show each quota with its limit and exact usage."""
    value = session.operations.perform(GetUsage(tenant=tenant))
    rows = [
        ("storage_bytes", value.storage_bytes.used, _limit(value.storage_bytes.limit)),
        ("memory_bytes", value.memory_bytes.used, _limit(value.memory_bytes.limit)),
        ("qps", None, _limit(value.qps.limit)),
        ("documents", value.documents, None),
        ("databases", value.databases, None),
        ("collections", value.collections, None),
    ]
    session.out.rows(value, ("", "used", "limit"), rows)


def _limit(quota: int | None) -> int | str:
    return "unlimited" if quota is None else quota


everyday.add(app, "tenant", "activate", "suspend", "delete", "restore", "purge")
