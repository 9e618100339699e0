"""Execution of metadata changes.

One transaction commits the change, its audit entry, its outbox entry and the response stored for its
idempotency key; then the outbox entry is applied to the tenant's store.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

from akidb.domain.entities import AuditEntry, AuditResult, Collection, Database, Tenant, User
from akidb.domain.errors import AlreadyExists, Damaged, PreconditionFailed, Unavailable
from akidb.domain.ids import AuditEntryId, EntityId, IdGenerator, TenantId
from akidb.observe import context
from akidb.operations.declare import Operation, Request
from akidb.ports import wire
from akidb.ports.answers import RequestKey
from akidb.ports.clock import Clock
from akidb.ports.metadata import MetadataStore, MetadataTransaction
from akidb.ports.outbox import OutboxSubject
from akidb.services.idempotency import KeptValue, expiry, recalled, request_key
from akidb.services.name_holders import explained
from akidb.services.retries import retried
from akidb.services.signals import Signals
from akidb.services.store_access import StoreAccess

A = TypeVar("A")


class Change:
    """The change that a transaction is making."""

    tx: MetadataTransaction

    def __init__(self, now: datetime, ids: IdGenerator) -> None:
        self.now = now
        self._ids = ids
        self.tenant_id: TenantId | None = None
        """The tenant of the stored response and of the outbox entries."""
        self.concerns_store = False

    def audit(
        self,
        action: str,
        tenant_id: TenantId,
        resource: EntityId,
        *,
        reason: str | None = None,
        result: AuditResult = AuditResult.ALLOWED,
        metadata: Mapping[str, Any] | None = None,
        is_subject: bool = True,
    ) -> None:
        """Add an audit entry, such as `tenant.suspend`; `metadata` contains only IDs, codes and numbers.

        The tenant is the one that the change is about, if it `is_subject`.
        """
        if is_subject:
            self.tenant_id = tenant_id
            context.note_tenant(tenant_id)
        request = context.current()
        self.tx.audit.add(
            AuditEntry(
                audit_entry_id=self._ids.new(AuditEntryId),
                tenant_id=tenant_id,
                action=action,
                resource_type=resource.entity,
                resource_id=str(resource),
                result=result,
                reason=reason,
                metadata=dict(metadata or {}),
                ip_address=request.ip_address,
                user_agent=request.user_agent,
                request_id=request.request_id,
                created_at=self.now,
            )
        )

    def add_to_outbox(self, tenant_id: TenantId, subject: OutboxSubject, subject_id: EntityId) -> None:
        """Add an outbox entry, if the tenant has a store; it is applied before the change is acknowledged."""
        if self.tx.stores.find(tenant_id) is not None:
            self.tx.outbox.add(tenant_id, subject, subject_id)
            self.concerns_store = True


class Transactions:
    """Executes metadata changes."""

    def __init__(
        self,
        metadata: MetadataStore,
        stores: StoreAccess,
        ids: IdGenerator,
        clock: Clock,
        signals: Signals,
        retention: timedelta,
    ) -> None:
        self._retention = retention
        self._metadata = metadata
        self._stores = stores
        self._ids = ids
        self._clock = clock
        self._signals = signals

    def carry_out(self, row: Operation, request: Request[A], effect: Callable[[Change], A]) -> A:
        """Run `effect` in a transaction, then apply its outbox entries to the tenant's store.

        If the idempotency key was used before, return the stored response.
        """
        key = request_key(row, request) if row.changes else None
        try:
            return self.run(key, row.answer, effect, tenant=getattr(request, "tenant", None))
        except AlreadyExists as error:
            raise self.explained(error, request) from None

    def explained(self, error: AlreadyExists, request: Any) -> AlreadyExists:
        """Return the error for a conflict of a request, which says so if a deleted entity is in its way."""
        return explained(error, self._metadata, request, self._retention)

    def run(
        self,
        key: RequestKey | None,
        kind: Any,
        effect: Callable[[Change], A],
        *,
        tenant: TenantId | str | None = None,
    ) -> A:
        """Like `carry_out`, with a given key; `kind` is the response type, `tenant` the request's tenant."""
        change, result = retried(lambda: self._attempt(key, tenant, kind, effect), "metadata")
        if change.concerns_store and change.tenant_id is not None:
            try:
                self._apply_pending(change.tenant_id)
            finally:
                self._stores.end_change(change.tenant_id)
        self._signals.notify(change.tenant_id)
        return result

    def _apply_pending(self, tenant_id: TenantId) -> None:
        """Apply pending outbox entries. Raises Unavailable on failure; the change stays committed."""
        try:
            self._stores.apply_pending(tenant_id)
        except Unavailable as error:
            before = "the change is committed, but not yet applied to the tenant's store"
            message, public = f"{before}: {error.message}", f"{before}: {error.public}"
            raise Unavailable(message, public=public) from error

    def _attempt(
        self,
        key: RequestKey | None,
        tenant: TenantId | str | None,
        kind: Any,
        effect: Callable[[Change], A],
    ) -> tuple[Change, A]:
        """Run one attempt of the transaction."""
        now = self._clock.now()
        change = Change(now, self._ids)
        announced: TenantId | None = None
        try:
            with self._metadata.transaction() as tx:
                change.tx = tx
                known = None if key is None else tx.answers.find(key, expiry(self._clock))
                if known is None:
                    result = effect(change)
                    if key is not None:
                        tx.answers.add(key, wire.encode(result), change.tenant_id, now, expiry(self._clock))
                else:
                    assert key is not None
                    result = recalled(KeptValue(kind), known, key)
                    # The first request may not have applied its outbox entry yet, or may have crashed before.
                    change.tenant_id, change.concerns_store = _tenant_of(tx, tenant, result), True
                if change.concerns_store and change.tenant_id is not None:
                    self._stores.begin_change(change.tenant_id)
                    announced = change.tenant_id
        except BaseException as error:
            if isinstance(error, Damaged) and change.tenant_id is not None:
                error.fields["tenant_id"] = error.fields.get("tenant_id") or str(change.tenant_id)
            if announced is not None:
                self._stores.end_change(announced)
            if change.concerns_store and change.tenant_id is not None:
                # An interrupt may arrive after the commit: the store must check the outbox.
                self._stores.mark_stale(change.tenant_id)
            raise
        return change, result


def _tenant_of(tx: MetadataTransaction, tenant: TenantId | str | None, result: object) -> TenantId | None:
    """Return the tenant that a change was about, from its result or else its request."""
    tenant_id: TenantId | None = getattr(result, "tenant_id", None)
    if tenant_id is None and tenant is not None:
        found = tx.tenants.find(tenant) or tx.tenants.find(tenant, deleted=True)
        tenant_id = None if found is None else found.tenant_id
    return tenant_id


def check_version(entity: Tenant | Database | Collection | User, if_version: int | None) -> None:
    """Raise PreconditionFailed if the entity's version is not `if_version`."""
    if if_version is not None and if_version != entity.version:
        raise PreconditionFailed(type(entity).__name__.lower(), if_version, entity.version)
