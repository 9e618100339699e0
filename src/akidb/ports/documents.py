"""What the services need of the tenant stores: documents, their counters, and the control row.

A store says by itself whether an operation is allowed: every transaction begins with the control row,
which holds the tenant's status and limits and its collections. So a write that is on its way while a
tenant is suspended sees the suspension, and fails.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Collection as AbstractCollection
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from akidb.domain.changes import DocumentChange, FeedSlice
from akidb.domain.documents import Document, Include
from akidb.domain.entities import Collection, Database, Metric, Tenant
from akidb.domain.filters import Filter
from akidb.domain.ids import CollectionId, StoreId, TenantId
from akidb.domain.lifecycle import Access, CollectionState, DatabaseState, TenantStatus
from akidb.observe.telemetry import StoreFigures
from akidb.ports.answers import Answers
from akidb.ports.archive import CollectionImage, StoreFiller, StoreImage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ControlState(NamedTuple):
    """What a tenant store knows of its tenant."""

    tenant_version: int
    """The version that the rest is from, 0 for a store that was told nothing yet."""
    tenant_status: TenantStatus
    storage_quota_bytes: int
    storage_used_bytes: int


class CollectionControl(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant store knows of one of its collections, and of the tenant."""

    collection_key: int
    """The collection's number within its store."""
    collection_id: CollectionId
    dimension: int
    metric: Metric
    sequence: int
    """Of the last write to the collection; 0 before the first."""
    tombstone_floor: int
    """Deletions up to this sequence are no longer remembered one by one."""
    document_count: int
    max_document_count: int
    tenant_status: TenantStatus
    database_state: DatabaseState
    state: CollectionState


class DocumentBatch(NamedTuple):
    """Checked documents, ready to be written: four columns of one length, and a matrix."""

    ids: Sequence[str]
    texts: Sequence[str | None]
    metadata: Sequence[str]
    """Each in canonical JSON."""
    sizes: Sequence[int]
    """Bytes that each takes of the storage quota."""
    vectors: "NDArray[np.float32]"
    """Shape `(n, dimension)`, C-contiguous, little-endian."""


class Selection(NamedTuple):
    """Which documents: those with these ids, or those that match."""

    ids: Sequence[str] | None = None
    filter: Filter | None = None


class Changes(NamedTuple):
    """What happened to a collection after some sequence, and what each row holds now."""

    deleted: Sequence[tuple[int, str]]
    """Sequence and id of each deletion."""
    rows: "Iterator[Row]"
    """Rows written, in the order of their sequences."""


class Row(NamedTuple):
    """A document as an index needs it."""

    document_key: int
    sequence: int
    id: str
    vector: bytes
    text: str | None
    metadata: str
    """JSON."""


class DocumentReader(Protocol):
    """Reads of one collection."""

    @property
    def control(self) -> CollectionControl:
        """The collection as it was when the reader was opened."""
        ...

    @property
    def answers(self) -> Answers:
        """Remembered answers of this store."""
        ...

    def get(self, ids: Sequence[str], include: AbstractCollection[Include]) -> list[Document]:
        """In the order of `ids`, unknown ones left out."""
        ...

    def scan(
        self,
        *,
        after: str | None,
        filter: Filter | None,
        include: AbstractCollection[Include],
        limit: int,
    ) -> tuple[list[Document], bool]:
        """Documents in the order of their ids after `after`, and whether there are more."""
        ...

    def count(self, filter: Filter | None) -> int:
        """How many there are, or match."""
        ...

    def fetch(
        self, keys: Sequence[int], include: AbstractCollection[Include]
    ) -> dict[int, tuple[int, Document]]:
        """By document key: the row's sequence and the document. Missing keys are missing."""
        ...

    def changes(self, since_sequence: int, *, contents: bool) -> Changes:
        """All that happened after a sequence; `contents` brings text and metadata too."""
        ...

    def feed(self, since: int, limit: int, include: AbstractCollection[Include]) -> FeedSlice[DocumentChange]:
        """Up to `limit` changes after a sequence, writes and deletions in their order."""
        ...


class DocumentWriter(DocumentReader, Protocol):
    """A write transaction on one collection."""

    def upsert(self, batch: DocumentBatch) -> None:
        """Write all of them. Raises QuotaExceeded for storage or the number of documents."""
        ...

    def delete(self, selection: Selection) -> int:
        """Delete, leaving tombstones; gives how many there were."""
        ...

    def update(self, selection: Selection, change: Callable[[str, dict[str, Any]], str]) -> int:
        """Replace metadata by what `change(id, metadata)` makes of it (canonical JSON).

        Gives how many were chosen. Raises QuotaExceeded for storage.
        """
        ...


class TenantStore(Protocol):
    """The open store of one tenant."""

    @property
    def store_id(self) -> StoreId:
        """Which incarnation this is."""
        ...

    def read(
        self, collection_id: CollectionId, operation: Access = Access.DOCUMENT_READ
    ) -> AbstractContextManager[DocumentReader]:
        """Read a collection as of one instant.

        Raises NotFound when it is deleted, InvalidState when a state forbids the operation.
        """
        ...

    def transaction(self, collection_id: CollectionId) -> AbstractContextManager[DocumentWriter]:
        """Write to a collection, all or nothing; raises as `read` does."""
        ...

    def control_state(self) -> ControlState:
        """What the store was last told of its tenant."""
        ...

    def controls(self) -> Sequence[CollectionControl]:
        """What the store knows of each of its collections."""
        ...

    def apply(
        self,
        tenant: Tenant,
        collections: Sequence[tuple[Database, Collection]],
        purged: Sequence[CollectionId] = (),
    ) -> None:
        """Take over the state and limits of the tenant and of these collections.

        Removes the documents of purged ones. Returns when it is durable.
        """
        ...

    def usage(self) -> tuple[int, int]:
        """Bytes used, and documents in collections that are not deleted."""
        ...

    def image(self) -> AbstractContextManager[StoreImage]:
        """All of the store as of one instant, for as long as it takes to read it, in nobody's way."""
        ...

    def erase(self) -> bool:
        """Leave no trace of what was deleted in the store's files; tells whether that could be done now."""
        ...

    def check(self) -> list[str]:
        """What is wrong with the store: nothing, in a sound one."""
        ...


class TenantStores(Protocol):
    """The stores of this machine's tenants. Keeps a bounded number open."""

    def create(self, tenant_id: TenantId, store_id: StoreId) -> None:
        """Make an empty store in place of an unused one that a crash left.

        Raises Unavailable when a store that no metadata knows, but which was used, lies there.
        """
        ...

    def open(
        self, tenant_id: TenantId, store_id: StoreId, prepare: Callable[[TenantStore], None]
    ) -> AbstractContextManager[TenantStore]:
        """The tenant's store.

        `prepare` runs once before anybody gets the store after it was opened or went stale. Raises
        Unavailable when the file is missing, damaged, newer than this program or of another incarnation.
        """
        ...

    def filling(self, tenant_id: TenantId, store_id: StoreId) -> AbstractContextManager[StoreFiller]:
        """Make a store as `create` does, and fill it; durable when the block ends, gone when it raises.

        It was told of no tenant: until then it counts as unused.
        """
        ...

    def branch(
        self,
        tenant_id: TenantId,
        store_id: StoreId,
        image: StoreImage,
        renamed: Mapping[CollectionId, CollectionImage],
    ) -> None:
        """Make a new tenant's store of what an image of another's holds, durably or not at all.

        `renamed` says by the IDs that they have as what collections go on; others are left out. As with
        `filling` it counts as unused until it is told of its tenant.
        """
        ...

    def exclusive(self, tenant_id: TenantId) -> AbstractContextManager[None]:
        """Keep others from opening, creating, preparing or removing this tenant's store; reentrant."""
        ...

    def mark_stale(self, tenant_id: TenantId) -> None:
        """Have the store prepared again before the next use."""
        ...

    def remove(self, tenant_id: TenantId) -> None:
        """Close the store for good and remove its files; fine when there are none."""
        ...

    def remove_unused(self, tenant_id: TenantId) -> bool:
        """Remove a store that was never told of its tenant; tells whether there is none now."""
        ...

    def names(self) -> list[str]:
        """The tenant IDs of all stores that are here, in order; also names that are no tenant's."""
        ...

    def figures(self) -> StoreFigures:
        """How it stands with the open ones: their connections, queues and logs."""
        ...

    def open_count(self) -> int:
        """How many are open now."""
        ...

    def close(self) -> None:
        """Close all of them."""
        ...
