"""Tenants and audit entries over HTTP."""

# ruff: noqa: D102 - the port says what each method does

from collections.abc import Mapping
from typing import Any

from akidb.client.http import checks
from akidb.client.http.caller import Caller
from akidb.client.http.checks import changed, checked, given
from akidb.client.http.paths import TENANT_COUNT, TENANTS, Count, page_query, tenant_path
from akidb.domain.documents import DEFAULT_PAGE_LIMIT, Page
from akidb.domain.entities import AuditEntry, Tenant, Usage
from akidb.domain.lifecycle import TenantStatus
from akidb.domain.lists import TenantSort
from akidb.domain.names import check_flag, check_word
from akidb.ports.operations import TenantChanges, TenantRef


def _filter(status: object, external_id: object, name_contains: object, deleted: object) -> dict[str, object]:
    """Which tenants, as a query."""
    wanted = {"status": status, "external_id": external_id, "name_contains": name_contains}
    return {"deleted": check_flag(deleted, "deleted") or None, **checked(given(wanted), checks.TENANT)}


class HttpTenants:
    """`akidb.ports.operations.TenantOperations` of a server."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def create(
        self,
        name: str,
        *,
        slug: str | None = None,
        external_id: str | None = None,
        status: TenantStatus = TenantStatus.ACTIVE,
        memory_quota_bytes: int | None = None,
        storage_quota_bytes: int | None = None,
        qps_quota: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Tenant:
        options = {
            "slug": slug,
            "external_id": external_id,
            "memory_quota_bytes": memory_quota_bytes,
            "storage_quota_bytes": storage_quota_bytes,
            "qps_quota": qps_quota,
            "metadata": metadata,
        }
        fields = {"name": name, **given(options), "status": status}
        return self._caller.post(Tenant, TENANTS, checked(fields, checks.TENANT))

    def get(self, tenant: TenantRef) -> Tenant:
        return self._caller.get(Tenant, tenant_path(tenant))

    def list(
        self,
        *,
        status: TenantStatus | None = None,
        external_id: str | None = None,
        name_contains: str | None = None,
        sort: TenantSort = TenantSort.CREATED_AT,
        deleted: bool = False,
        limit: int = DEFAULT_PAGE_LIMIT,
        cursor: str | None = None,
    ) -> Page[Tenant]:
        order = check_word(TenantSort, sort, "sort")
        wanted = _filter(status, external_id, name_contains, deleted)
        return self._caller.get(Page[Tenant], TENANTS, page_query(limit, cursor, sort=order, **wanted))

    def count(
        self,
        *,
        status: TenantStatus | None = None,
        external_id: str | None = None,
        name_contains: str | None = None,
        deleted: bool = False,
    ) -> int:
        wanted = _filter(status, external_id, name_contains, deleted)
        return self._caller.get(Count, TENANT_COUNT, wanted).count

    def update(self, tenant: TenantRef, changes: TenantChanges, *, if_version: int | None = None) -> Tenant:
        fields = checked(changed(changes), checks.TENANT)
        return self._caller.patch(Tenant, tenant_path(tenant), fields, if_version=if_version)

    def activate(self, tenant: TenantRef, *, if_version: int | None = None) -> Tenant:
        return self._caller.post(Tenant, f"{tenant_path(tenant)}/activate", if_version=if_version)

    def suspend(
        self, tenant: TenantRef, *, reason: str | None = None, if_version: int | None = None
    ) -> Tenant:
        fields = checked(given({"reason": reason}), checks.TENANT)
        return self._caller.post(Tenant, f"{tenant_path(tenant)}/suspend", fields, if_version=if_version)

    def delete(self, tenant: TenantRef, *, if_version: int | None = None) -> None:
        self._caller.delete(tenant_path(tenant), if_version=if_version)

    def restore(self, tenant: TenantRef, *, if_version: int | None = None) -> Tenant:
        return self._caller.post(Tenant, f"{tenant_path(tenant)}/restore", if_version=if_version)

    def purge(self, tenant: TenantRef, *, if_version: int | None = None) -> None:
        self._caller.command(f"{tenant_path(tenant)}/purge", if_version=if_version)

    def usage(self, tenant: TenantRef) -> Usage:
        return self._caller.get(Usage, f"{tenant_path(tenant)}/usage")


class HttpAudit:
    """`akidb.ports.operations.AuditOperations` of a server."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(
        self, tenant: TenantRef, *, limit: int = DEFAULT_PAGE_LIMIT, cursor: str | None = None
    ) -> Page[AuditEntry]:
        query = page_query(limit, cursor)
        return self._caller.get(Page[AuditEntry], f"{tenant_path(tenant)}/audit", query)
