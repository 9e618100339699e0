"""What the services need of a vector index: search over whatever the rows hold now.

An index is derived. It is told nothing when documents are written: each search brings it up to the
collection's sequence from the rows, so a write is found by the very next search, and an index that was
lost is made again. How it keeps the vectors (one matrix, segments, nothing) is its own affair.
"""

from typing import TYPE_CHECKING, NamedTuple, Protocol

from akidb.domain.documents import SearchStatistics
from akidb.domain.filters import Filter
from akidb.domain.ids import StoreId, TenantId
from akidb.ports.documents import DocumentReader

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class VectorQuery(NamedTuple):
    """A question to an index."""

    vector: "NDArray[np.float32]"
    """Shape `(dimension,)`, finite; not zero when the metric is cosine."""
    top_k: int
    filter: Filter | None = None
    score_threshold: float | None = None
    ef_search: int | None = None


class Hit(NamedTuple):
    """A row that was found."""

    document_key: int
    sequence: int
    id: str
    score: float


class Hits(NamedTuple):
    """The best rows, by falling score, then by id."""

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
        """Search the collection that `documents` reads, as of the reader's sequence or a later one."""
        ...

    def memory_bytes(self, tenant_id: TenantId) -> int:
        """What is kept in memory for a tenant."""
        ...

    def tenants(self) -> list[TenantId]:
        """For whom something is kept."""
        ...

    def forget(self, tenant_id: TenantId) -> None:
        """Let go of all that is kept for a tenant."""
        ...
