"""Tenants. With `if_version`, a change is applied only if the tenant has that version."""

from msgspec import UNSET, UnsetType

from akidb.domain.documents import DEFAULT_PAGE_LIMIT, Page
from akidb.domain.entities import Tenant, Usage
from akidb.domain.fields import (
    Cursor,
    Deleted,
    ExactName,
    ExternalId,
    FirstStatus,
    JsonObject,
    Limit,
    MemoryQuota,
    NamePart,
    QpsQuota,
    Reason,
    Slug,
    Sort,
    Status,
    StorageQuota,
    TenantName,
    Version,
)
from akidb.domain.lifecycle import Access, TenantStatus
from akidb.domain.lists import TenantSort
from akidb.operations.declare import MANY, InTenant, Request, Work, operation

ALL = "/v1/tenants"
ONE = ALL + "/{tenant}"


@operation("tenant.create", "POST", ALL, status=201)
class CreateTenant(Request[Tenant], kw_only=True, frozen=True):
    """Create a tenant with status `active` or `provisioning`.

    If omitted, quotas have their defaults, and the slug is derived from the name, with a suffix if the slug
    belongs to a tenant with another name or to another external ID.
    """

    name: TenantName
    slug: Slug | None = None
    external_id: ExternalId | None = None
    status: FirstStatus = TenantStatus.ACTIVE
    memory_quota_bytes: MemoryQuota | UnsetType | None = UNSET
    storage_quota_bytes: StorageQuota | UnsetType | None = UNSET
    qps_quota: QpsQuota | UnsetType | None = UNSET
    metadata: JsonObject | None = None


@operation(
    "tenant.list",
    "GET",
    ALL,
    more_with={"limit": (MANY, Work.HEAVY), "name_contains": (0, Work.HEAVY)},
)
class ListTenants(Request[Page[Tenant]], kw_only=True, frozen=True):
    """List tenants, by default in order of creation; with `deleted`, only deleted ones."""

    status: Status | None = None
    external_id: ExternalId | None = None
    name: ExactName | None = None
    name_contains: NamePart | None = None
    sort: Sort = TenantSort.CREATED_AT
    deleted: Deleted = False
    limit: Limit = DEFAULT_PAGE_LIMIT
    cursor: Cursor | None = None


# Not under /v1/tenants, where `count` would be taken for a tenant's slug.
@operation(
    "tenant.count",
    "GET",
    "/v1/tenant-count",
    member="count",
    more_with={"name_contains": (0, Work.HEAVY)},
)
class CountTenants(Request[int], kw_only=True, frozen=True):
    """Count tenants; takes the same filters as the list."""

    status: Status | None = None
    external_id: ExternalId | None = None
    name: ExactName | None = None
    name_contains: NamePart | None = None
    deleted: Deleted = False


@operation("tenant.get", "GET", ONE)
class GetTenant(InTenant[Tenant], kw_only=True, frozen=True):
    """Get a tenant by its ID or slug."""


@operation("tenant.update", "PATCH", ONE, needs=Access.METADATA_WRITE)
class UpdateTenant(InTenant[Tenant], kw_only=True, frozen=True):
    """Update fields of a tenant; `metadata` is replaced as a whole."""

    name: TenantName | UnsetType = UNSET
    slug: Slug | UnsetType = UNSET
    external_id: ExternalId | UnsetType | None = UNSET
    memory_quota_bytes: MemoryQuota | UnsetType | None = UNSET
    storage_quota_bytes: StorageQuota | UnsetType | None = UNSET
    qps_quota: QpsQuota | UnsetType | None = UNSET
    metadata: JsonObject | UnsetType = UNSET
    if_version: Version | None = None


@operation("tenant.activate", "POST", ONE + "/activate", grows=False)
class ActivateTenant(InTenant[Tenant], kw_only=True, frozen=True):
    """Activate a provisioning or suspended tenant."""

    if_version: Version | None = None


@operation("tenant.suspend", "POST", ONE + "/suspend", grows=False)
class SuspendTenant(InTenant[Tenant], kw_only=True, frozen=True):
    """Suspend a tenant: only its metadata and audit log can be read. No write commits after the response."""

    reason: Reason | None = None
    if_version: Version | None = None


@operation("tenant.delete", "DELETE", ONE, status=204, grows=False)
class DeleteTenant(InTenant[None], kw_only=True, frozen=True):
    """Delete a tenant and everything in it; it can be restored until it is purged."""

    if_version: Version | None = None


@operation("tenant.restore", "POST", ONE + "/restore", grows=False)
class RestoreTenant(InTenant[Tenant], kw_only=True, frozen=True):
    """Restore a deleted tenant with its previous status."""

    if_version: Version | None = None


@operation("tenant.purge", "POST", ONE + "/purge", status=204, grows=False)
class PurgeTenant(InTenant[None], kw_only=True, frozen=True):
    """Permanently remove a deleted tenant and everything that it stored."""

    if_version: Version | None = None


@operation("tenant.usage", "GET", ONE + "/usage", needs=Access.METADATA_READ)
class GetUsage(InTenant[Usage], kw_only=True, frozen=True):
    """Get each quota with its limit and exact usage."""
