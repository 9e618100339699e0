"""Tenants: created, changed, suspended, deleted, restored, purged, measured."""

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET
from msgspec.structs import asdict

from akidb.domain.documents import DEFAULT_PAGE_LIMIT, MAX_PAGE_LIMIT, Page
from akidb.domain.entities import (
    DEFAULT_MEMORY_QUOTA_BYTES,
    DEFAULT_QPS_QUOTA,
    DEFAULT_STORAGE_QUOTA_BYTES,
    QuotaUsage,
    RateLimit,
    Tenant,
    Usage,
)
from akidb.domain.errors import InvalidArgument, InvalidState
from akidb.domain.ids import IdGenerator, TenantId
from akidb.domain.json import canonical, check_object
from akidb.domain.lifecycle import Access, TenantStatus, move, require
from akidb.domain.lists import TenantSort
from akidb.domain.names import (
    check_flag,
    check_integer,
    check_label,
    check_slug,
    check_text,
    check_word,
    derive_slug,
    parse_reference,
)
from akidb.ports.metadata import MetadataStore
from akidb.ports.operations import TenantChanges, TenantRef
from akidb.ports.search import VectorIndex
from akidb.services.admission import Admission, operation
from akidb.services.purging import Purging
from akidb.services.scope_cache import tenant_for
from akidb.services.store_access import StoreAccess
from akidb.services.transactions import Change, Transactions, check_version

MAX_REASON_BYTES = 4096


class TenantService:
    """`akidb.ports.operations.TenantOperations` in process."""

    def __init__(
        self,
        *,
        admission: Admission,
        metadata: MetadataStore,
        changes: Transactions,
        stores: StoreAccess,
        index: VectorIndex,
        purging: Purging,
        ids: IdGenerator,
    ) -> None:
        self.admission = admission
        self._metadata = metadata
        self._changes = changes
        self._stores = stores
        self._index = index
        self._purging = purging
        self._ids = ids

    @operation
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
        """Create a tenant."""
        values = _checked(
            {
                "name": name,
                "slug": derive_slug(check_label(name, "name")) if slug is None else slug,
                "external_id": external_id,
                "memory_quota_bytes": _or(memory_quota_bytes, DEFAULT_MEMORY_QUOTA_BYTES),
                "storage_quota_bytes": _or(storage_quota_bytes, DEFAULT_STORAGE_QUOTA_BYTES),
                "qps_quota": _or(qps_quota, DEFAULT_QPS_QUOTA),
                "metadata": {} if metadata is None else metadata,
            }
        )
        status = check_word(TenantStatus, status, "status")
        if status not in {TenantStatus.ACTIVE, TenantStatus.PROVISIONING}:
            raise InvalidArgument("status", "must be active or provisioning for a new tenant")

        def effect(change: Change) -> Tenant:
            tenant = Tenant(
                tenant_id=self._ids.new(TenantId),
                status=status,
                created_at=change.now,
                updated_at=change.now,
                **values,
            )
            change.tx.tenants.create(tenant)
            change.audit("tenant.create", tenant.tenant_id, tenant.tenant_id)
            return tenant

        return self._changes.carry_out("tenants.create", (), {**values, "status": status}, Tenant, effect)

    @operation
    def get(self, tenant: TenantRef) -> Tenant:
        """One tenant that is not deleted."""
        reference = parse_reference(TenantId, tenant)
        with self._metadata.read() as tx:
            return tx.tenants.get(reference)

    @operation
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
        """Tenants in this order."""
        check_integer(limit, "limit", 1, MAX_PAGE_LIMIT)
        order = check_word(TenantSort, sort, "sort")
        wanted = _filter(status, external_id, name_contains, deleted)
        with self._metadata.read() as tx:
            return tx.tenants.list(**wanted, sort=order, limit=limit, cursor=cursor)

    @operation
    def count(
        self,
        *,
        status: TenantStatus | None = None,
        external_id: str | None = None,
        name_contains: str | None = None,
        deleted: bool = False,
    ) -> int:
        """How many tenants such a list has."""
        wanted = _filter(status, external_id, name_contains, deleted)
        with self._metadata.read() as tx:
            return tx.tenants.count(**wanted)

    @operation
    def update(self, tenant: TenantRef, changes: TenantChanges, *, if_version: int | None = None) -> Tenant:
        """Change fields of a tenant."""
        values = _checked({name: value for name, value in asdict(changes).items() if value is not UNSET})
        limits = {"memory_quota_bytes", "storage_quota_bytes", "qps_quota"} & values.keys()

        def effect(change: Change) -> Tenant:
            found = self._read(change, tenant, if_version)
            require(Access.METADATA_WRITE, found.status)
            # As JSON: to Python 1 and true are equal.
            if canonical({name: getattr(found, name) for name in values}) == canonical(values):
                return found
            changed = found.changed(change.now, **values)
            change.tx.tenants.update(changed)
            change.audit("tenant.update", found.tenant_id, found.tenant_id)
            if limits:
                change.add_to_outbox(found.tenant_id, "tenant", found.tenant_id)
            return changed

        return self._changes.carry_out("tenants.update", (tenant,), [values, if_version], Tenant, effect)

    @operation
    def activate(self, tenant: TenantRef, *, if_version: int | None = None) -> Tenant:
        """Let a provisioning or suspended tenant work."""
        return self._move(tenant, TenantStatus.ACTIVE, "activate", None, if_version)

    @operation
    def suspend(
        self, tenant: TenantRef, *, reason: str | None = None, if_version: int | None = None
    ) -> Tenant:
        """Stop all but reads of metadata and audit."""
        if reason is not None:
            check_text(reason, "reason", maximum_bytes=MAX_REASON_BYTES)
        return self._move(tenant, TenantStatus.SUSPENDED, "suspend", reason, if_version)

    @operation
    def delete(self, tenant: TenantRef, *, if_version: int | None = None) -> None:
        """Delete a tenant and all below it, until `restore` or `purge`."""

        def effect(change: Change) -> None:
            found = self._read(change, tenant, if_version)
            move(found.status, TenantStatus.DECOMMISSIONED)
            change.tx.tenants.delete(found, change.now)
            change.audit("tenant.delete", found.tenant_id, found.tenant_id)
            change.add_to_outbox(found.tenant_id, "tenant", found.tenant_id)

        self._changes.carry_out("tenants.delete", (tenant,), if_version, type(None), effect)

    @operation
    def restore(self, tenant: TenantRef, *, if_version: int | None = None) -> Tenant:
        """Bring a deleted tenant back."""

        def effect(change: Change) -> Tenant:
            found = self._read(change, tenant, if_version, deleted=True)
            restored = change.tx.tenants.restore(found, change.now)
            change.audit("tenant.restore", found.tenant_id, found.tenant_id)
            change.add_to_outbox(found.tenant_id, "tenant", found.tenant_id)
            return restored

        return self._changes.carry_out("tenants.restore", (tenant,), if_version, Tenant, effect)

    @operation
    def purge(self, tenant: TenantRef, *, if_version: int | None = None) -> None:
        """Remove a deleted tenant for good."""

        def effect(change: Change) -> None:
            reference = parse_reference(TenantId, tenant)
            live = change.tx.tenants.find(reference)
            if live is not None:
                raise InvalidState("tenant", live.status, "purge", ["decommissioned"])
            found = self._read(change, tenant, if_version, deleted=True)
            self._purging.tenant(change, found)

        self._changes.carry_out("tenants.purge", (tenant,), if_version, type(None), effect)
        self._purging.finish()

    @operation
    def usage(self, tenant: TenantRef) -> Usage:
        """Each quota with its limit and exact use."""
        with self._metadata.snapshot() as tx:
            found = tenant_for(tx, tenant, Access.METADATA_READ)
            databases, collections = (
                tx.databases.count(found.tenant_id),
                tx.collections.count(found.tenant_id),
            )
        with self._stores.existing(found.tenant_id) as store:
            used, documents = (0, 0) if store is None else store.usage()
        return Usage(
            storage_bytes=QuotaUsage(limit=found.storage_quota_bytes, used=used),
            memory_bytes=QuotaUsage(
                limit=found.memory_quota_bytes, used=self._index.memory_bytes(found.tenant_id)
            ),
            qps=RateLimit(limit=found.qps_quota),
            documents=documents,
            databases=databases,
            collections=collections,
        )

    def _move(
        self,
        tenant: TenantRef,
        target: TenantStatus,
        verb: str,
        reason: str | None,
        if_version: int | None,
    ) -> Tenant:
        def effect(change: Change) -> Tenant:
            found = self._read(change, tenant, if_version)
            if not move(found.status, target):
                return found
            changed = found.changed(change.now, status=target)
            change.tx.tenants.update(changed)
            change.audit(f"tenant.{verb}", found.tenant_id, found.tenant_id, reason=reason)
            change.add_to_outbox(found.tenant_id, "tenant", found.tenant_id)
            return changed

        return self._changes.carry_out(f"tenants.{verb}", (tenant,), [reason, if_version], Tenant, effect)

    @staticmethod
    def _read(change: Change, tenant: TenantRef, if_version: int | None, *, deleted: bool = False) -> Tenant:
        found = change.tx.tenants.get(parse_reference(TenantId, tenant), deleted=deleted)
        check_version(found, if_version)
        change.tenant_id = found.tenant_id
        return found


def _filter(status: object, external_id: object, name_contains: object, deleted: object) -> dict[str, Any]:
    """Check which tenants a caller wants."""
    return {
        "status": None if status is None else check_word(TenantStatus, status, "status"),
        "external_id": None if external_id is None else check_label(external_id, "external_id"),
        "name_contains": None if name_contains is None else check_label(name_contains, "name_contains"),
        "deleted": check_flag(deleted, "deleted"),
    }


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _checked(values: dict[str, Any]) -> dict[str, Any]:
    """Check the fields that a caller gave."""
    for name, value in values.items():
        if name == "slug":
            check_slug(value)
        elif name == "metadata":
            values[name] = check_object(value, name)
        elif name == "external_id":
            if value is not None:
                check_label(value, name)
        elif name == "name":
            check_label(value, name)
        else:
            check_integer(value, name)
    return values
