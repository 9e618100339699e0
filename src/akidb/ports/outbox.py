"""The ports to the registry of tenant stores, and to the outbox of changes for them."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from akidb.domain.errors import Damaged
from akidb.domain.ids import EntityId, StoreId, TenantId
from akidb.ports.rows import Damages

OutboxSubject = Literal["tenant", "database", "collection", "collection_purge", "tenant_purge"]


class StoreRegistry(Protocol):
    """The store of each tenant."""

    def find(self, tenant_id: TenantId) -> StoreId | None:
        """Return the tenant's store, None if none was ever created."""

    def find_with_pending(self, tenant_id: TenantId) -> tuple[StoreId, bool] | None:
        """Return the tenant's store, and whether it has pending outbox entries."""

    def register(self, tenant_id: TenantId, store_id: StoreId) -> None:
        """Record that the store was created."""

    def forget(self, tenant_id: TenantId) -> None:
        """Record that the tenant has no store."""

    def list(self, damaged: Damages = None) -> list[tuple[TenantId, StoreId]]:
        """Return all stores."""


class OutboxEntry(NamedTuple):
    """A committed change that must be applied to a tenant store."""

    sequence: int
    tenant_id: TenantId
    subject: OutboxSubject
    subject_id: bytes


class Outbox(Protocol):
    """Pending changes from the metadata store to the tenant stores."""

    def add(self, tenant_id: TenantId, subject: OutboxSubject, subject_id: EntityId) -> None:
        """Record that this subject changed. Its current state is read when the entry is applied."""

    def pending(self, tenant_id: TenantId) -> list[OutboxEntry]:
        """Return the entries not yet applied to the tenant's store, oldest first."""

    def purges(self) -> list[OutboxEntry]:
        """Return the pending removals of stores."""

    def remove(self, tenant_id: TenantId, up_to_sequence: int) -> None:
        """Delete entries that were applied."""

    def waiting(self, damaged: Damages = None) -> Sequence[tuple[TenantId, int]]:
        """Return the tenants with pending entries, and the sequence of the first pending entry of each."""

    def faults(self) -> Sequence[Damaged]:
        """Return the errors of pending entries that cannot be read."""

    def depth(self) -> int:
        """Return the number of pending entries."""
