"""The port to the tenant stores: one for each tenant, opened when it is used.

A store decides by itself whether an operation is allowed: every transaction first reads the control row,
which contains the tenant's status and limits and its collections. So a write that is in progress while a
tenant is suspended sees the suspension, and fails.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from akidb.domain.entities import Collection, Database, Tenant
from akidb.domain.ids import CollectionId, DatabaseId, StoreId, TenantId
from akidb.domain.lifecycle import Access
from akidb.observe.telemetry import StoreFigures
from akidb.ports.archive import CollectionImage, StoreFiller, StoreImage
from akidb.ports.documents import CollectionControl, ControlState, DocumentReader, DocumentWriter


class TenantStore(Protocol):
    """The open store of one tenant."""

    @property
    def store_id(self) -> StoreId:
        """The ID of this incarnation."""

    def read(
        self, collection_id: CollectionId, operation: Access = Access.DOCUMENT_READ
    ) -> AbstractContextManager[DocumentReader]:
        """Read a consistent snapshot of a collection.

        Raises NotFound if it is deleted, InvalidState if a state forbids the operation.
        """

    def latest(
        self, collection_id: CollectionId, operation: Access = Access.DOCUMENT_READ
    ) -> AbstractContextManager[DocumentReader]:
        """Read a collection as `read` does, with a snapshot only once the reader is pinned or more is read.

        Until then, rows that are fetched may be newer than the reader's state.
        """

    def transaction(self, collection_id: CollectionId) -> AbstractContextManager[DocumentWriter]:
        """Write to a collection atomically; raises the errors of `read`."""

    def control_state(self) -> ControlState:
        """Return the tenant's state as last applied to the store."""

    def dimension(self, collection_id: CollectionId) -> int | None:
        """Return the dimension of a collection; None if it has none yet, or was not applied to the store."""

    def controls(self) -> Sequence[CollectionControl]:
        """Return the state of each collection as last applied to the store."""

    def apply(
        self,
        tenant: Tenant,
        collections: Sequence[tuple[Database, Collection]],
        purged: Sequence[CollectionId] = (),
    ) -> None:
        """Apply the state and limits of the tenant and of these collections; a known dimension is kept.

        Removes the documents of purged collections. Returns when the changes are durable.
        """

    def collection_count(self) -> int:
        """Return the number of collections that were applied to the store."""

    def is_compared(self) -> bool:
        """Return whether it was compared with the metadata since it was opened; always on PostgreSQL."""

    def note_compared(self) -> None:
        """Record that it was compared with the metadata."""

    def told(self) -> Mapping[CollectionId, tuple[DatabaseId, int]]:
        """Return the database and the version of each collection, as last applied to the store."""

    def usage(self) -> tuple[int, int]:
        """Return the bytes used, and the number of documents in collections that are not deleted."""

    def image(self) -> AbstractContextManager[StoreImage]:
        """Open a consistent snapshot of the whole store, for reads of any duration that block nothing."""

    def erase(self) -> bool:
        """Erase deleted data from the store's files; return whether that was possible now."""

    def check(self) -> list[str]:
        """Return the problems of the store; none if it is sound."""


class TenantStores(Protocol):
    """The stores of this machine's tenants. Keeps a limited number of them open."""

    def create(self, tenant_id: TenantId, store_id: StoreId) -> None:
        """Create an empty store, replacing an unused one left by a crash.

        Raises Unavailable if a used store without metadata exists at its path.
        """

    def open(
        self, tenant_id: TenantId, store_id: StoreId, prepare: Callable[[TenantStore], None]
    ) -> AbstractContextManager[TenantStore]:
        """Open the tenant's store.

        `prepare` runs once before the first use after the store was opened or became stale. Raises
        Unavailable if the file is missing, damaged, newer than this program or of another incarnation.
        """

    def filling(self, tenant_id: TenantId, store_id: StoreId) -> AbstractContextManager[StoreFiller]:
        """Create a store like `create`, and fill it; durable when the block ends, removed when it raises.

        The store counts as unused until a tenant is applied to it.
        """

    def branch(
        self,
        tenant_id: TenantId,
        store_id: StoreId,
        image: StoreImage,
        renamed: Mapping[CollectionId, CollectionImage],
    ) -> None:
        """Create a new tenant's store from the image of another, durably and atomically.

        `renamed` maps the ID of each copied collection to its new image; other collections are omitted.
        As with `filling`, the store counts as unused until a tenant is applied to it.
        """

    def exclusive(self, tenant_id: TenantId) -> AbstractContextManager[None]:
        """Lock this tenant's store against opening, creation, preparation and removal; reentrant."""

    def mark_stale(self, tenant_id: TenantId) -> None:
        """Mark the store as stale, so that it is prepared again before its next use."""

    def remove(self, tenant_id: TenantId) -> None:
        """Close the store permanently and remove its files, if any."""

    def is_used(self, tenant_id: TenantId) -> bool:
        """Return whether there is a store, known to the metadata or not, to which a tenant was applied.

        Cheap if there is none. Raises Unavailable if it cannot be read.
        """

    def remove_unused(self, tenant_id: TenantId) -> bool:
        """Remove a store to which no tenant was ever applied; return whether there is no store now."""

    def displacements(self) -> list[str]:
        """Return the open stores whose files were removed, moved or replaced, in words."""

    def altered(self) -> Mapping[TenantId, str]:
        """Return the stores to which another program has written while they were open, and what it did.

        They are not used again in this process. Always empty on PostgreSQL.
        """

    def checkpoint_idle(self) -> int:
        """Move the logs of open stores into their files, where nothing was written since the last call.

        Return the number of stores.
        """

    def names(self) -> list[str]:
        """Return the sorted names of all existing stores: tenant IDs, and names that are not tenant IDs."""

    def figures(self) -> StoreFigures:
        """Return the current gauges of the open stores: connections, queues and logs."""

    def open_count(self) -> int:
        """Return the number of open stores."""

    def close(self) -> None:
        """Close all stores."""
