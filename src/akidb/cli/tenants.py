"""`akidb tenant`: customers, their quotas and their lifecycle."""

from typing import Annotated

import typer

from akidb.cli.arguments import (
    Cursor,
    Deleted,
    IfVersion,
    Limit,
    Quota,
    TenantArgument,
    Yes,
    given,
    parse_object,
    parse_size,
    require_changes,
)
from akidb.cli.session import Session, command, confirm, group
from akidb.domain.documents import DEFAULT_PAGE_LIMIT
from akidb.domain.errors import InvalidArgument
from akidb.domain.lifecycle import TenantStatus
from akidb.domain.lists import TenantSort
from akidb.ports.operations import TenantChanges

app = group("tenant", "Customers: each with its own documents and quotas.")

COLUMNS = ("slug", "name", "status", "tenant_id")

Slug = Annotated[str | None, typer.Option(help="1-63 of a-z, 0-9 and -; by default made from the name.")]
ExternalId = Annotated[str | None, typer.Option(help="The tenant's ID in another system.")]
Qps = Annotated[int | None, typer.Option("--qps", help="Document, search and embedding operations a second.")]
NameContains = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Those whose name has this in it, in either case.")
]
Sort = Annotated[TenantSort, typer.Option(help="The order; a minus puts the last first, as in -name.")]
Metadata = Annotated[str | None, typer.Option(metavar="JSON", help="An object that is kept with the tenant.")]


@command(app, "create", makes_store=True)
def create(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    *,
    slug: Slug = None,
    external_id: ExternalId = None,
    memory_quota: Quota = None,
    storage_quota: Quota = None,
    qps: Qps = None,
    metadata: Metadata = None,
    provisioning: Annotated[
        bool, typer.Option("--provisioning", help="Not active yet: `activate` makes it so.")
    ] = False,
) -> None:
    """Create a tenant."""
    tenant = session.operations.tenants.create(
        name,
        slug=slug,
        external_id=external_id,
        status=TenantStatus.PROVISIONING if provisioning else TenantStatus.ACTIVE,
        memory_quota_bytes=parse_size(memory_quota, "memory_quota_bytes"),
        storage_quota_bytes=parse_size(storage_quota, "storage_quota_bytes"),
        qps_quota=qps,
        metadata=parse_object(metadata, "metadata"),
    )
    session.out.record(tenant)


@command(app, "list")
def list_tenants(
    session: Session,
    *,
    status: Annotated[TenantStatus | None, typer.Option(help="Those in this state alone.")] = None,
    name_contains: NameContains = None,
    sort: Sort = TenantSort.CREATED_AT,
    external_id: ExternalId = None,
    deleted: Deleted = False,
    limit: Limit = DEFAULT_PAGE_LIMIT,
    cursor: Cursor = None,
) -> None:
    """List tenants, by creation unless another order is asked for."""
    page = session.operations.tenants.list(
        status=status,
        external_id=external_id,
        name_contains=name_contains,
        sort=sort,
        deleted=deleted,
        limit=limit,
        cursor=cursor,
    )
    session.out.page(page, COLUMNS)


@command(app, "get")
def get(session: Session, tenant: TenantArgument) -> None:
    """Show a tenant."""
    session.out.record(session.operations.tenants.get(tenant))


@command(app, "usage")
def usage(session: Session, tenant: TenantArgument) -> None:
    """Show each quota with its limit and exact use."""
    value = session.operations.tenants.usage(tenant)
    rows = [
        ("storage_bytes", value.storage_bytes.used, value.storage_bytes.limit),
        ("memory_bytes", value.memory_bytes.used, value.memory_bytes.limit),
        ("qps", None, value.qps.limit),
        ("documents", value.documents, None),
        ("databases", value.databases, None),
        ("collections", value.collections, None),
    ]
    session.out.rows(value, ("", "used", "limit"), rows)


@command(app, "update")
def update(
    session: Session,
    tenant: TenantArgument,
    *,
    name: Annotated[str | None, typer.Option()] = None,
    slug: Annotated[str | None, typer.Option()] = None,
    external_id: ExternalId = None,
    no_external_id: Annotated[bool, typer.Option("--no-external-id", help="Take it away.")] = False,
    memory_quota: Quota = None,
    storage_quota: Quota = None,
    qps: Qps = None,
    metadata: Metadata = None,
    if_version: IfVersion = None,
) -> None:
    """Change a tenant; what is not named stays."""
    if external_id is not None and no_external_id:
        raise InvalidArgument("external_id", "give either --external-id or --no-external-id")
    changes = TenantChanges(
        name=given(name),
        slug=given(slug),
        external_id=None if no_external_id else given(external_id),
        memory_quota_bytes=given(parse_size(memory_quota, "memory_quota_bytes")),
        storage_quota_bytes=given(parse_size(storage_quota, "storage_quota_bytes")),
        qps_quota=given(qps),
        metadata=given(parse_object(metadata, "metadata")),
    )
    require_changes(changes)
    session.out.record(session.operations.tenants.update(tenant, changes, if_version=if_version))


@command(app, "activate")
def activate(session: Session, tenant: TenantArgument, *, if_version: IfVersion = None) -> None:
    """Let a provisioning or suspended tenant work."""
    session.out.record(session.operations.tenants.activate(tenant, if_version=if_version))


@command(app, "suspend")
def suspend(
    session: Session,
    tenant: TenantArgument,
    *,
    reason: Annotated[str | None, typer.Option(help="Kept in the audit.")] = None,
    if_version: IfVersion = None,
) -> None:
    """Stop all but reads of metadata and audit."""
    session.out.record(session.operations.tenants.suspend(tenant, reason=reason, if_version=if_version))


@command(app, "delete")
def delete(session: Session, tenant: TenantArgument, *, if_version: IfVersion = None) -> None:
    """Delete a tenant and all below it, until `restore` or `purge`."""
    session.operations.tenants.delete(tenant, if_version=if_version)
    session.out.done({"deleted": tenant}, f"deleted {tenant}; `akidb tenant restore` brings it back")


@command(app, "restore")
def restore(session: Session, tenant: TenantArgument, *, if_version: IfVersion = None) -> None:
    """Bring a deleted tenant back in the state that it had."""
    session.out.record(session.operations.tenants.restore(tenant, if_version=if_version))


@command(app, "purge")
def purge(
    session: Session, tenant: TenantArgument, *, yes: Yes = False, if_version: IfVersion = None
) -> None:
    """Remove a deleted tenant for good, with all that it stored."""
    confirm(session, f"Remove tenant {tenant} and all its documents for good?", yes=yes)
    session.operations.tenants.purge(tenant, if_version=if_version)
    session.out.done({"purged": tenant}, f"purged {tenant}")
