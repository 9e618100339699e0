"""Audit entries of operations that give away whole tenants: backup, export and copy."""

from collections.abc import Container, Sequence
from types import TracebackType
from typing import Self

from akidb.domain.archives import ByteSink
from akidb.domain.entities import AuditResult, Tenant
from akidb.domain.errors import AkiDBError, NotFound
from akidb.domain.fields import TenantRef
from akidb.domain.ids import TenantId
from akidb.observe.logs import logger
from akidb.ports.archive import TenantRecord
from akidb.ports.metadata import MetadataStore, MetadataTransaction
from akidb.services.retries import read_metadata
from akidb.services.transactions import Change, Transactions

ABORTED = "aborted"
"""Audit reason of an archive that was not sent to its end."""

TENANTS_AT_ONCE = 100
"""Tenants whose entries are committed together, before the first of them is sent."""

_log = logger("akidb.services")


class Departure:
    """A sink that records in the audit whose data goes through it. Use it as a context manager.

    An entry is committed before the first byte of a tenant is sent, so that it is there whatever happens
    then. A second one records that the archive ended early, such as when the client left, and how many bytes
    were sent.
    """

    def __init__(self, action: str, transactions: Transactions, sink: ByteSink) -> None:
        self._action = action
        self._transactions = transactions
        self._sink = sink
        self._sent_bytes = 0
        self._unfinished: list[TenantId] = []

    def write(self, data: bytes) -> object:
        """Write to the sink."""
        written = self._sink.write(data)
        self._sent_bytes += len(data)
        return written

    def begin(self, tenants: Sequence[TenantId]) -> None:
        """Record that the data of these tenants is about to be sent."""
        self._unfinished += tenants
        self._record(tenants)

    def finish(self, tenant_id: TenantId) -> None:
        """Note that the data of a tenant was sent."""
        self._unfinished.remove(tenant_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        code = error.code if isinstance(error, AkiDBError) else "interrupted"
        try:
            self._record(self._unfinished, ABORTED, {"code": code, "sent_bytes": self._sent_bytes})
        except AkiDBError as failure:  # must not hide the cause
            _log.warning("the end of a %s is not in the audit: %s", self._action, failure.message)

    def _record(
        self,
        tenants: Sequence[TenantId],
        reason: str | None = None,
        metadata: dict[str, object] | None = None,
    ) -> None:
        only = len(tenants) == 1
        for at in range(0, len(tenants), TENANTS_AT_ONCE):
            some = tenants[at : at + TENANTS_AT_ONCE]

            def effect(change: Change, some: Sequence[TenantId] = some) -> None:
                for each in some:
                    change.audit(self._action, each, each, reason=reason, metadata=metadata, is_subject=only)

            self._transactions.run(None, type(None), effect)


def tenants_in(tx: MetadataTransaction, without: Container[TenantId]) -> set[TenantId]:
    """Return all other tenants, also deleted ones; those that cannot be read are left out already."""
    return {
        row.tenant_id
        for part in tx.records.read("tenants", damaged=lambda _: None)
        for row in part.rows
        if isinstance(row, TenantRecord) and row.tenant_id not in without
    }


def origin(metadata: MetadataStore, transactions: Transactions, tenant: TenantRef, action: str) -> Tenant:
    """Return the tenant to take data from. Raises NotFound, and records it as denied for a deleted tenant."""
    found, deleted = read_metadata(
        metadata, lambda tx: (tx.tenants.find(tenant), tx.tenants.find(tenant, deleted=True))
    )
    if found is None:
        if deleted is not None:
            deny(transactions, deleted.tenant_id, action, NotFound.code)
        raise NotFound("tenant", tenant)
    return found


def deny(transactions: Transactions, tenant_id: TenantId, action: str, code: str) -> None:
    """Record that an operation was denied; `code` is that of the error."""
    transactions.run(
        None,
        type(None),
        lambda change: change.audit(action, tenant_id, tenant_id, reason=code, result=AuditResult.DENIED),
    )
