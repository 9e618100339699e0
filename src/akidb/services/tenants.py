"""Tenants: create, update, suspend, delete, restore, purge, and report usage."""

from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

from msgspec import UnsetType

from akidb.domain.documents import Page
from akidb.domain.entities import (
    DEFAULT_MEMORY_QUOTA_BYTES,
    DEFAULT_QPS_QUOTA,
    DEFAULT_STORAGE_QUOTA_BYTES,
    QuotaUsage,
    RateLimit,
    Tenant,
    Usage,
)
from akidb.domain.errors import AlreadyExists, Damaged, InvalidState
from akidb.domain.ids import IdGenerator, TenantId
from akidb.domain.json import canonical
from akidb.domain.lifecycle import Access, TenantStatus, move, require
from akidb.domain.names import alternative_slugs, derive_slug
from akidb.operations import tenants as ask
from akidb.operations.declare import OPERATIONS, InTenant
from akidb.ports.metadata import MetadataStore, MetadataTransaction
from akidb.ports.search import VectorIndex
from akidb.services.answer_limits import AnswerLimits
from akidb.services.archive_conflicts import is_free_slug
from akidb.services.dispatch import handles, in_read, in_transaction
from akidb.services.purging import DAMAGED, Purging
from akidb.services.scope_cache import tenant_for
from akidb.services.store_access import StoreAccess
from akidb.services.transactions import Change, Transactions, check_version

MAX_SLUGS = 8
"""Slugs that are tried for a new tenant without one."""
_LIMITS = frozenset({"memory_quota_bytes", "storage_quota_bytes", "qps_quota"})


class TenantService:
    """Implements `akidb.operations.tenants`."""

    def __init__(
        self,
        metadata: MetadataStore,
        transactions: Transactions,
        stores: StoreAccess,
        index: VectorIndex,
        purging: Purging,
        ids: IdGenerator,
        limits: AnswerLimits,
    ) -> None:
        self._limits = limits
        self._metadata = metadata
        self._transactions = transactions
        self._stores = stores
        self._index = index
        self._purging = purging
        self._ids = ids

    def finish_purges(self) -> None:
        """Erase the remains of purged tenants from the store files."""
        self._purging.finish()

    @handles(ask.CreateTenant)
    def create(self, asked: ask.CreateTenant) -> Tenant:
        row = OPERATIONS[ask.CreateTenant]
        if asked.slug is not None:
            given = asked.slug
            return self._transactions.carry_out(row, asked, lambda change: self._add(change, asked, given))
        slugs = _slugs(asked)
        slug = next(slugs)
        while True:
            try:
                return self._transactions.carry_out(row, asked, lambda change: self._add(change, asked, slug))  # noqa: B023 - called at once
            except AlreadyExists as error:
                if error.fields["field"] != "slug":
                    raise
                if not self._is_free(slug):  # else it was purged meanwhile
                    another = None if self._is_same(slug, asked) else next(slugs, None)
                    if another is None:
                        raise
                    slug = another

    def _is_free(self, slug: str) -> bool:
        with self._metadata.read() as tx:
            return is_free_slug(tx, slug)

    def _is_same(self, slug: str, asked: ask.CreateTenant) -> bool:
        """Return whether the tenant that has a slug, deleted or not, is the one to be created again."""
        try:
            with self._metadata.read() as tx:
                holder = tx.tenants.find(slug) or tx.tenants.find(slug, deleted=True)
        except Damaged:
            return False
        return (
            holder is not None
            and holder.name == asked.name
            and asked.external_id in {None, holder.external_id}
        )

    def _add(self, change: Change, asked: ask.CreateTenant, slug: str) -> Tenant:
        tenant = Tenant(
            tenant_id=self._ids.new(TenantId),
            external_id=asked.external_id,
            name=asked.name,
            slug=slug,
            status=asked.status,
            memory_quota_bytes=_given(asked.memory_quota_bytes, DEFAULT_MEMORY_QUOTA_BYTES),
            storage_quota_bytes=_given(asked.storage_quota_bytes, DEFAULT_STORAGE_QUOTA_BYTES),
            qps_quota=_given(asked.qps_quota, DEFAULT_QPS_QUOTA),
            metadata=dict(asked.metadata or {}),
            created_at=change.now,
            updated_at=change.now,
        )
        change.tx.tenants.create(tenant)
        change.audit("tenant.create", tenant.tenant_id, tenant.tenant_id)
        return tenant

    @in_read(ask.GetTenant)
    def get(self, tx: MetadataTransaction, asked: ask.GetTenant) -> Tenant:
        return tx.tenants.get(asked.tenant)

    @in_read(ask.ListTenants)
    def list(self, tx: MetadataTransaction, asked: ask.ListTenants) -> Page[Tenant]:
        given = OPERATIONS[ask.ListTenants].given(asked)
        return tx.tenants.list(**given, most_bytes=self._limits.max_bytes)

    @in_read(ask.CountTenants)
    def count(self, tx: MetadataTransaction, asked: ask.CountTenants) -> int:
        return tx.tenants.count(**OPERATIONS[ask.CountTenants].given(asked))

    @in_transaction(ask.UpdateTenant)
    def update(self, change: Change, asked: ask.UpdateTenant) -> Tenant:
        values = OPERATIONS[ask.UpdateTenant].given(asked)
        found = _read(change, asked, asked.if_version)
        require(Access.METADATA_WRITE, found.status)
        # Compare as JSON: in Python 1 == True.
        if canonical({name: getattr(found, name) for name in values}) == canonical(values):
            return found
        changed = found.changed(change.now, **values)
        change.tx.tenants.update(changed)
        _record(change, "update", found, store=not _LIMITS.isdisjoint(values))
        return changed

    @in_transaction(ask.ActivateTenant)
    def activate(self, change: Change, asked: ask.ActivateTenant) -> Tenant:
        return _move(change, _read(change, asked, asked.if_version), TenantStatus.ACTIVE, "activate")

    @in_transaction(ask.SuspendTenant)
    def suspend(self, change: Change, asked: ask.SuspendTenant) -> Tenant:
        found = _read(change, asked, asked.if_version)
        return _move(change, found, TenantStatus.SUSPENDED, "suspend", reason=asked.reason)

    @in_transaction(ask.DeleteTenant)
    def delete(self, change: Change, asked: ask.DeleteTenant) -> None:
        found = _read(change, asked, asked.if_version)
        move(found.status, TenantStatus.DECOMMISSIONED)
        change.tx.tenants.delete(found, change.now)
        _record(change, "delete", found)

    @in_transaction(ask.RestoreTenant)
    def restore(self, change: Change, asked: ask.RestoreTenant) -> Tenant:
        found = _read(change, asked, asked.if_version, deleted=True)
        restored = change.tx.tenants.restore(found, change.now)
        _record(change, "restore", found)
        return restored

    @in_transaction(ask.PurgeTenant, after="finish_purges")
    def purge(self, change: Change, asked: ask.PurgeTenant) -> None:
        try:
            live = change.tx.tenants.find(asked.tenant)
            if live is not None:
                raise InvalidState("tenant", live.status, "purge", ["decommissioned"])
            found = _read(change, asked, asked.if_version, deleted=True)
        except Damaged:  # its state is not known, so its ID must be said
            if not isinstance(asked.tenant, TenantId) or asked.if_version is not None:
                raise
            self._purging.tenant_by_id(change, asked.tenant, reason=DAMAGED)
            return
        self._purging.tenant(change, found)

    @handles(ask.GetUsage)
    def usage(self, asked: ask.GetUsage) -> Usage:
        with self._metadata.snapshot() as tx:
            found = tenant_for(tx, asked.tenant, Access.METADATA_READ)
            databases = tx.databases.count(found.tenant_id)
            collections = tx.collections.count(found.tenant_id)
        with self._stores.existing(found.tenant_id) as store:
            used, documents = (0, 0) if store is None else store.usage()
        memory_bytes = self._index.memory_bytes(found.tenant_id)
        return Usage(
            storage_bytes=QuotaUsage(limit=found.storage_quota_bytes, used=used),
            memory_bytes=QuotaUsage(limit=found.memory_quota_bytes, used=memory_bytes),
            qps=RateLimit(limit=found.qps_quota),
            documents=documents,
            databases=databases,
            collections=collections,
        )


def _slugs(asked: ask.CreateTenant) -> Iterator[str]:
    """Yield slugs for a new tenant: derived from its name, then with suffixes.

    A slug is not an identity: `Müller` and `Muller` have the same one. Two requests for the same tenant yield
    the same slugs, so that they clash.
    """
    slug = derive_slug(asked.name)
    key = asked.name if asked.external_id is None else f"{asked.name}\n{asked.external_id}"
    return islice(chain([slug], alternative_slugs(slug, key.encode())), MAX_SLUGS)


def _move(
    change: Change, found: Tenant, target: TenantStatus, verb: str, *, reason: str | None = None
) -> Tenant:
    if not move(found.status, target):
        return found
    changed = found.changed(change.now, status=target)
    change.tx.tenants.update(changed)
    _record(change, verb, found, reason=reason)
    return changed


def _read(change: Change, asked: InTenant[Any], if_version: int | None, *, deleted: bool = False) -> Tenant:
    """Return the tenant to change, after checking `if_version`."""
    found = change.tx.tenants.get(asked.tenant, deleted=deleted)
    check_version(found, if_version)
    change.tenant_id = found.tenant_id
    return found


def _record(
    change: Change, verb: str, tenant: Tenant, *, reason: str | None = None, store: bool = True
) -> None:
    change.audit(f"tenant.{verb}", tenant.tenant_id, tenant.tenant_id, reason=reason)
    if store:
        change.add_to_outbox(tenant.tenant_id, "tenant", tenant.tenant_id)


def _given(value: int | UnsetType | None, default: int) -> int | None:
    return default if isinstance(value, UnsetType) else value
