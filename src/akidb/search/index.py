"""The search indexes of this process: collections are loaded on first use, within the memory quotas."""

from collections.abc import Iterable

from akidb.domain.documents import SearchStatistics
from akidb.domain.ids import CollectionId, StoreId, TenantId
from akidb.ports.documents import DocumentReader
from akidb.ports.search import Hits, VectorQuery
from akidb.search.collection import Found, search
from akidb.search.errors import TooLarge
from akidb.search.from_disk import search_rows
from akidb.search.memory import VECTORS, Memory
from akidb.search.scoring import prepare_query


class LocalIndex:
    """`akidb.ports.search.VectorIndex`."""

    def __init__(self, memory: Memory | None = None) -> None:
        """Take the memory to share with other indexes."""
        self._memory = memory or Memory()

    def search(
        self,
        tenant_id: TenantId,
        store_id: StoreId,
        memory_quota_bytes: int,
        documents: DocumentReader,
        query: VectorQuery,
    ) -> Hits:
        """Scan the collection's vectors, from memory if they fit there."""
        control = documents.control
        if control.dimension is None:  # no vector was ever written
            return Hits([], SearchStatistics(plan="exact", scanned=0, allowed=0))
        prepared = prepare_query(query.vector, control.metric)
        memory = self._memory.of(tenant_id, store_id)
        loaded = memory.take(VECTORS, control, memory_quota_bytes)
        if loaded is None:
            return _hits(search_rows(documents, prepared, query), query, "exact_from_disk")
        has_changed = True
        try:
            has_changed = loaded.catch_up(documents, memory_quota_bytes)
            state, mask = loaded.state, None
            if query.filter is not None:
                mask = state.view.filters.find(query.filter, state.view.size)
            if query.filter is not None and mask is None:
                has_changed = True
                state, mask = loaded.masked(query.filter, documents, query.deadline)
                if mask is None:
                    documents.pin()
                    loaded.catch_up(documents, memory_quota_bytes)
                    loaded.read_columns(documents, query.deadline)
                    state, mask = loaded.masked(query.filter, documents, query.deadline)
        except TooLarge as error:
            memory.note_too_large(VECTORS, control, error.memory_bytes)
            return _hits(search_rows(documents, prepared, query), query, "exact_from_disk")
        finally:
            if has_changed:
                memory.settle(VECTORS, control.collection_id, loaded, memory_quota_bytes)
        if query.filter is not None and mask is None:
            # The state is newer than the snapshot, which cannot tell what matches.
            return _hits(search_rows(documents, prepared, query), query, "exact_from_disk")
        return _hits(search(state, prepared, query.top_k, mask), query, "exact")

    def memory_bytes(self, tenant_id: TenantId) -> int:
        """Return the bytes of memory that a tenant's collections use."""
        return self._memory.memory_bytes(tenant_id)

    def tenants(self) -> list[TenantId]:
        """Return the tenants with collections in memory."""
        return self._memory.tenants()

    def forget(self, tenant_id: TenantId, collections: Iterable[CollectionId] | None = None) -> None:
        """Evict a tenant's collections, or some of them."""
        self._memory.forget(tenant_id, collections)


def _hits(found: Found, query: VectorQuery, plan: str) -> Hits:
    hits = found.hits
    threshold = query.score_threshold
    if threshold is not None:
        hits = [hit for hit in hits if hit.score >= threshold]
    statistics = SearchStatistics(
        plan=plan, scanned=found.scanned, allowed=found.allowed, damaged=found.damaged
    )
    return Hits(hits, statistics)
