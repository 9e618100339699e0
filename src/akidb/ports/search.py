"""The port to a vector index: search over the current rows.

An index is derived data. Writes of documents do not update it: each search first brings it up to the
collection's sequence from the rows, so the next search finds every write, and a lost index is rebuilt.
How it stores the vectors (one matrix, segments, not at all) is an implementation detail.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from akidb.domain.documents import SearchStatistics
from akidb.domain.filters import Filter
from akidb.domain.ids import CollectionId, StoreId, TenantId
from akidb.domain.index_state import IndexState
from akidb.domain.search_fields import DEFAULT_RECALL
from akidb.ports.documents import CollectionControl, DocumentReader
from akidb.ports.limits import Deadline

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class GraphSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a graph is built."""

    m: int
    ef_construction: int


class VectorQuery(NamedTuple):
    """A query to an index."""

    vector: "NDArray[np.float32]"
    """Shape `(dimension,)`, finite; not zero when the metric is cosine."""
    top_k: int
    filter: Filter | None = None
    score_threshold: float | None = None
    ef_search: int | None = None
    """The number of candidates in a graph; None for as many as reach `recall`."""
    deadline: Deadline | None = None
    """When comparing with the filter must end."""
    recall: float = DEFAULT_RECALL
    """The share of the best rows that a search in a graph should find."""
    graph: GraphSettings = GraphSettings(m=16, ef_construction=128)
    """How graphs of the collection are to be built."""
    explain: bool = False
    """Whether the statistics say what was done in each part of the index."""


class Hit(msgspec.Struct, frozen=True, gc=False):
    """A matching row."""

    document_key: int
    sequence: int
    id: str
    score: float


class Hits(NamedTuple):
    """The best rows, by descending score, then by id."""

    hits: list[Hit]
    statistics: SearchStatistics


class VectorIndex(Protocol):
    """The search indexes of all tenants of this process."""

    def search(
        self,
        tenant_id: TenantId,
        store_id: StoreId,
        memory_quota_bytes: int,
        documents: DocumentReader,
        query: VectorQuery,
    ) -> Hits:
        """Search the collection that `documents` reads, at the reader's sequence or a later one.

        Pins the reader before it reads rows.

        Raises OperationTimeout if the filter takes too long.
        """

    def state(self, tenant_id: TenantId, store_id: StoreId, control: CollectionControl) -> IndexState:
        """Return the state of a collection's index, without loading it."""

    def rebuild(
        self,
        tenant_id: TenantId,
        store_id: StoreId,
        memory_quota_bytes: int,
        documents: DocumentReader,
        graph: GraphSettings,
    ) -> None:
        """Make a collection's index anew from its rows; segments are built in the background."""

    def wait(self) -> None:
        """Wait until all that is built in the background is in use."""

    def close(self) -> None:
        """End what is built in the background."""

    def memory_bytes(self, tenant_id: TenantId) -> int:
        """Return the bytes of memory that a tenant's indexes use."""

    def tenants(self) -> list[TenantId]:
        """Return the tenants that have indexes in memory."""

    def forget(self, tenant_id: TenantId, collections: Iterable[CollectionId] | None = None) -> None:
        """Release all indexes of a tenant, or those of some of its collections."""
