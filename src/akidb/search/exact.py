"""Exact search: vectors of a collection are loaded on first use and cached within the memory quota."""

import threading
from collections import OrderedDict
from collections.abc import Iterable

from akidb.domain.documents import SearchStatistics
from akidb.domain.ids import CollectionId, StoreId, TenantId
from akidb.ports.documents import CollectionControl, DocumentReader
from akidb.ports.search import Hit, Hits, VectorQuery
from akidb.search.matrix import Matrix, ordered, row_bytes, search_rows
from akidb.search.scoring import prepare_query


class _Loaded:
    """A matrix and its lock, held by one search at a time."""

    def __init__(self, control: CollectionControl) -> None:
        self.lock = threading.Lock()
        self.matrix = Matrix(control)
        self.memory_bytes = 0


class _TenantMemory:
    """LRU cache of a tenant's loaded collections, least recently used first."""

    def __init__(self, store_id: StoreId) -> None:
        self.store_id = store_id
        self.lock = threading.Lock()
        self.loaded: OrderedDict[CollectionId, _Loaded] = OrderedDict()
        self.memory_bytes = 0
        """The sum over `loaded`, kept up to date: a tenant may have thousands of collections."""

    def take(self, control: CollectionControl, quota_bytes: int) -> _Loaded | None:
        """Return the collection's entry, evicting others if needed; None if it alone exceeds the quota."""
        needed = control.document_count * row_bytes(control.dimension or 0)
        with self.lock:
            if needed > quota_bytes:
                self._evict(control.collection_id)
                return None
            found = self.loaded.get(control.collection_id)
            if found is None:
                found = self.loaded[control.collection_id] = _Loaded(control)
            self.loaded.move_to_end(control.collection_id)
            self._resize(found, max(found.memory_bytes, needed))
            self._make_room(quota_bytes)
            return found

    def settle(self, collection_id: CollectionId, loaded: _Loaded, quota_bytes: int) -> None:
        """Update the entry's size after a search, and evict entries above the quota."""
        with self.lock:
            if self.loaded.get(collection_id) is loaded:
                self._resize(loaded, loaded.matrix.memory_bytes)
                self._make_room(quota_bytes)

    def evict(self, collections: Iterable[CollectionId]) -> None:
        """Evict these collections, if they are loaded."""
        with self.lock:
            for collection_id in collections:
                self._evict(collection_id)

    def _resize(self, loaded: _Loaded, memory_bytes: int) -> None:
        self.memory_bytes += memory_bytes - loaded.memory_bytes
        loaded.memory_bytes = memory_bytes

    def _evict(self, collection_id: CollectionId) -> None:
        evicted = self.loaded.pop(collection_id, None)
        if evicted is not None:
            self.memory_bytes -= evicted.memory_bytes

    def _make_room(self, quota_bytes: int) -> None:
        while self.loaded and self.memory_bytes > quota_bytes:
            self._evict(next(iter(self.loaded)))


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
        if control.dimension is None:  # no vector was ever written
            return Hits([], SearchStatistics(plan="exact", scanned=0, allowed=0))
        prepared = prepare_query(query.vector, control.metric)
        memory = self._memory(tenant_id, store_id)
        loaded = memory.take(control, memory_quota_bytes)
        if loaded is None:
            return _from_disk(documents, query)
        with loaded.lock:
            behind = loaded.matrix.sequence < control.sequence
            if loaded.matrix.sequence < control.tombstone_floor or (behind and loaded.matrix.damaged):
                # Rebuild: older deletions are unknown, or a damaged row may be gone.
                loaded.matrix = Matrix(control)
            if not loaded.matrix.catch_up(documents):
                loaded.matrix = Matrix(control)
                loaded.matrix.catch_up(documents)
            if loaded.matrix.sequence > control.sequence and query.filter is not None:
                # Another search loaded rows newer than this snapshot, so the filter cannot read them here.
                return _from_disk(documents, query)
            hits, allowed = loaded.matrix.search(
                prepared, query.top_k, query.filter, documents, query.deadline
            )
            scanned, damaged = loaded.matrix.count, len(loaded.matrix.damaged)
            memory.settle(control.collection_id, loaded, memory_quota_bytes)
        statistics = SearchStatistics(plan="exact", scanned=scanned, allowed=allowed, damaged=damaged)
        return _answer(hits, query, statistics)

    def memory_bytes(self, tenant_id: TenantId) -> int:
        """Return the bytes cached for a tenant."""
        memory = self._tenants.get(tenant_id)
        if memory is None:
            return 0
        return memory.memory_bytes

    def tenants(self) -> list[TenantId]:
        """Return the tenants with cached data."""
        with self._lock:
            return list(self._tenants)

    def forget(self, tenant_id: TenantId, collections: Iterable[CollectionId] | None = None) -> None:
        """Evict the cached data of a tenant, or of some of its collections."""
        with self._lock:
            memory = self._tenants.get(tenant_id)
            if memory is not None and collections is not None:
                memory.evict(collections)
            if memory is not None and (collections is None or not memory.loaded):
                del self._tenants[tenant_id]

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
    hits, allowed, damaged = search_rows(documents, prepared, query.top_k, query.filter, query.deadline)
    statistics = SearchStatistics(
        plan="exact_from_disk",
        scanned=documents.control.document_count,
        allowed=allowed,
        damaged=damaged,
    )
    return _answer(hits, query, statistics)


def _answer(hits: list[Hit], query: VectorQuery, statistics: SearchStatistics) -> Hits:
    best = ordered(hits)[: query.top_k]
    if query.score_threshold is not None:
        best = [hit for hit in best if hit.score >= query.score_threshold]
    return Hits(best, statistics)
