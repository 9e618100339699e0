"""Exact search: the vectors of each collection that is asked for, loaded once, within the tenant's quota."""

import threading
from collections import OrderedDict

from akidb.domain.documents import SearchStatistics
from akidb.domain.ids import CollectionId, StoreId, TenantId
from akidb.ports.documents import CollectionControl, DocumentReader
from akidb.ports.search import Hit, Hits, VectorQuery
from akidb.search.matrix import Matrix, ordered, row_bytes, search_rows
from akidb.search.scoring import prepare_query


class _Loaded:
    """A matrix and the lock that one search at a time holds."""

    def __init__(self, control: CollectionControl) -> None:
        self.lock = threading.Lock()
        self.matrix = Matrix(control)
        self.memory_bytes = 0


class _TenantMemory:
    """What is loaded for a tenant, the longest unused first."""

    def __init__(self, store_id: StoreId) -> None:
        self.store_id = store_id
        self.lock = threading.Lock()
        self.loaded: OrderedDict[CollectionId, _Loaded] = OrderedDict()

    def memory_bytes(self) -> int:
        return sum(each.memory_bytes for each in self.loaded.values())

    def take(self, control: CollectionControl, quota_bytes: int) -> _Loaded | None:
        """The collection's place, making room for it; None when it alone does not fit."""
        needed = control.document_count * row_bytes(control.dimension)
        with self.lock:
            if needed > quota_bytes:
                self.loaded.pop(control.collection_id, None)
                return None
            found = self.loaded.get(control.collection_id)
            if found is None:
                found = self.loaded[control.collection_id] = _Loaded(control)
            self.loaded.move_to_end(control.collection_id)
            found.memory_bytes = max(found.memory_bytes, needed)
            self._make_room(quota_bytes)
            return found

    def settle(self, collection_id: CollectionId, loaded: _Loaded, quota_bytes: int) -> None:
        """Account for what a search has loaded; let go of it if it turned out too large."""
        with self.lock:
            loaded.memory_bytes = loaded.matrix.memory_bytes
            if self.loaded.get(collection_id) is loaded:
                self._make_room(quota_bytes)

    def _make_room(self, quota_bytes: int) -> None:
        while self.loaded and self.memory_bytes() > quota_bytes:
            self.loaded.popitem(last=False)


class ExactIndex:
    """`akidb.ports.search.VectorIndex` by scanning."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tenants: dict[TenantId, _TenantMemory] = {}

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
        prepared = prepare_query(query.vector, control.metric)
        memory = self._memory(tenant_id, store_id)
        loaded = memory.take(control, memory_quota_bytes)
        if loaded is None:
            return _from_disk(documents, query)
        with loaded.lock:
            if loaded.matrix.sequence < control.tombstone_floor:
                loaded.matrix = Matrix(control)  # deletions in between are forgotten: start anew
            loaded.matrix.catch_up(documents)
            if loaded.matrix.sequence > control.sequence and query.filter is not None:
                # Another search has seen newer rows than this snapshot, which the filter must read.
                return _from_disk(documents, query)
            hits, allowed = loaded.matrix.search(prepared, query.top_k, query.filter, documents)
            scanned = loaded.matrix.count
        memory.settle(control.collection_id, loaded, memory_quota_bytes)
        return _answer(hits, query, SearchStatistics(plan="exact", scanned=scanned, allowed=allowed))

    def memory_bytes(self, tenant_id: TenantId) -> int:
        """What is kept in memory for a tenant."""
        memory = self._tenants.get(tenant_id)
        if memory is None:
            return 0
        with memory.lock:
            return memory.memory_bytes()

    def tenants(self) -> list[TenantId]:
        """For whom something is kept."""
        with self._lock:
            return list(self._tenants)

    def forget(self, tenant_id: TenantId) -> None:
        """Let go of all that is kept for a tenant."""
        with self._lock:
            self._tenants.pop(tenant_id, None)

    def _memory(self, tenant_id: TenantId, store_id: StoreId) -> _TenantMemory:
        memory = self._tenants.get(tenant_id)
        if memory is None or memory.store_id != store_id:
            with self._lock:
                memory = self._tenants.get(tenant_id)
                if memory is None or memory.store_id != store_id:
                    memory = self._tenants[tenant_id] = _TenantMemory(store_id)
        return memory


def _from_disk(documents: DocumentReader, query: VectorQuery) -> Hits:
    prepared = prepare_query(query.vector, documents.control.metric)
    hits, allowed = search_rows(documents, prepared, query.top_k, query.filter)
    statistics = SearchStatistics(
        plan="exact_from_disk", scanned=documents.control.document_count, allowed=allowed
    )
    return _answer(hits, query, statistics)


def _answer(hits: list[Hit], query: VectorQuery, statistics: SearchStatistics) -> Hits:
    best = ordered(hits)[: query.top_k]
    if query.score_threshold is not None:
        best = [hit for hit in best if hit.score >= query.score_threshold]
    return Hits(best, statistics)
