"""Routes of tenants."""

from typing import Any

import msgspec

from akidb.api.lists import Count, CountQuery, PageQuery
from akidb.api.routing import Call, Routes
from akidb.domain.documents import Page
from akidb.domain.entities import Tenant, Usage
from akidb.domain.lifecycle import TenantStatus
from akidb.domain.lists import TenantSort
from akidb.ports.operations import TenantChanges

routes = Routes("tenants")


class TenantCreation(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A tenant to be made. Without a slug it is made from the name; quotas have defaults."""

    name: str
    slug: str | None = None
    external_id: str | None = None
    status: TenantStatus = TenantStatus.ACTIVE
    memory_quota_bytes: int | None = None
    storage_quota_bytes: int | None = None
    qps_quota: int | None = None
    metadata: dict[str, Any] | None = None


class TenantQuery(PageQuery, kw_only=True, forbid_unknown_fields=True):
    """Which tenants to list, and in which order; a minus before the field puts the last first."""

    status: TenantStatus | None = None
    external_id: str | None = None
    name_contains: str | None = None
    sort: TenantSort = TenantSort.CREATED_AT
    deleted: bool = False


class TenantCountQuery(CountQuery, kw_only=True, forbid_unknown_fields=True):
    """Which tenants to count."""

    status: TenantStatus | None = None
    external_id: str | None = None
    name_contains: str | None = None


class Suspension(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Why a tenant is suspended; kept in the audit."""

    reason: str | None = None


@routes.post("/v1/tenants", status=201)
def create(call: Call, body: TenantCreation) -> Tenant:
    """Create a tenant, `active` or `provisioning`."""
    return call.operations.tenants.create(
        body.name,
        slug=body.slug,
        external_id=body.external_id,
        status=body.status,
        memory_quota_bytes=body.memory_quota_bytes,
        storage_quota_bytes=body.storage_quota_bytes,
        qps_quota=body.qps_quota,
        metadata=body.metadata,
    )


@routes.get("/v1/tenants")
def list_(call: Call, query: TenantQuery) -> Page[Tenant]:
    """List tenants in an order, by creation if not said; with `deleted`, the deleted ones alone."""
    return call.operations.tenants.list(
        status=query.status,
        external_id=query.external_id,
        name_contains=query.name_contains,
        sort=query.sort,
        deleted=query.deleted,
        limit=query.limit,
        cursor=query.cursor,
    )


@routes.get("/v1/tenant-count")
def count(call: Call, query: TenantCountQuery) -> Count:
    """Count tenants, as a list with these filters would give them."""
    return Count(
        call.operations.tenants.count(
            status=query.status,
            external_id=query.external_id,
            name_contains=query.name_contains,
            deleted=query.deleted,
        )
    )


@routes.get("/v1/tenants/{tenant}")
def get(call: Call) -> Tenant:
    """Get a tenant by its ID or slug."""
    return call.operations.tenants.get(call.tenant)


@routes.patch("/v1/tenants/{tenant}")
def update(call: Call, body: TenantChanges, if_version: int | None) -> Tenant:
    """Change fields of a tenant (merge patch; `metadata` is replaced as a whole)."""
    return call.operations.tenants.update(call.tenant, body, if_version=if_version)


@routes.delete("/v1/tenants/{tenant}")
def delete(call: Call, if_version: int | None) -> None:
    """Delete a tenant and all below it, until it is restored or purged."""
    call.operations.tenants.delete(call.tenant, if_version=if_version)


@routes.post("/v1/tenants/{tenant}/activate")
def activate(call: Call, if_version: int | None) -> Tenant:
    """Let a provisioning or suspended tenant work."""
    return call.operations.tenants.activate(call.tenant, if_version=if_version)


@routes.post("/v1/tenants/{tenant}/suspend")
def suspend(call: Call, body: Suspension, if_version: int | None) -> Tenant:
    """Stop all but reads of metadata and audit. No write commits after the answer."""
    return call.operations.tenants.suspend(call.tenant, reason=body.reason, if_version=if_version)


@routes.post("/v1/tenants/{tenant}/restore")
def restore(call: Call, if_version: int | None) -> Tenant:
    """Bring a deleted tenant back in the state that it had."""
    return call.operations.tenants.restore(call.tenant, if_version=if_version)


@routes.post("/v1/tenants/{tenant}/purge", status=204)
def purge(call: Call, if_version: int | None) -> None:
    """Remove a deleted tenant for good."""
    call.operations.tenants.purge(call.tenant, if_version=if_version)


@routes.get("/v1/tenants/{tenant}/usage")
def usage(call: Call) -> Usage:
    """Get each quota with its limit and exact use."""
    return call.operations.tenants.usage(call.tenant)
