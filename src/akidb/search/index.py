"""The search indexes of this process: collections are loaded on first use, within the memory quotas."""

import shutil
from collections.abc import Iterable

from akidb.domain.documents import SearchStatistics
from akidb.domain.ids import CollectionId, StoreId, TenantId
from akidb.domain.index_state import IndexState
from akidb.observe.telemetry import IndexFigures
from akidb.ports.disk import Disk
from akidb.ports.documents import CollectionControl, DocumentReader
from akidb.ports.search import GraphSettings, Hits, VectorQuery
from akidb.search.collection import LoadedCollection, State
from akidb.search.errors import TooLarge
from akidb.search.from_disk import search_rows
from akidb.search.memory import COLUMNS, VECTORS, Memory, TenantMemory
from akidb.search.parts import Effort
from akidb.search.reports import state_in_memory, state_on_disk, steps_of
from akidb.search.scoring import prepare_query
from akidb.search.sealing import SEAL_FROM, Sealer, default_threads
from akidb.search.searching import Allowed, Found, allow, known, search
from akidb.search.segments.files import SegmentDamaged

_FROM_DISK = "exact_from_disk"
ATTEMPTS = 8
"""How many damaged segments one search may meet before it reads the rows."""


class LocalIndex:
    """`akidb.ports.search.VectorIndex`."""

    def __init__(
        self,
        memory: Memory | None = None,
        disk: Disk | None = None,
        *,
        threads: int | None = None,
        seal_from: int = SEAL_FROM,
    ) -> None:
        """Take the memory to share with other indexes, and the disk of its directory.

        `threads` are those of a build of a segment, and `seal_from` is the number of rows from which one is
        built.
        """
        self._memory = memory or Memory()
        self._sealer = Sealer(threads or default_threads(), disk, seal_from)

    def search(
        self,
        tenant_id: TenantId,
        store_id: StoreId,
        memory_quota_bytes: int,
        documents: DocumentReader,
        query: VectorQuery,
    ) -> Hits:
        """Search the collection's segments and scan its tail, from memory if they fit there."""
        control = documents.control
        if control.dimension is None:  # no vector was ever written
            return Hits([], SearchStatistics(plan="exact", scanned=0, allowed=0))
        prepared = prepare_query(query.vector, control.metric)
        memory = self._memory.of(tenant_id, store_id)
        memory_quota_bytes = min(memory_quota_bytes, self._memory.limit_bytes)
        for _ in range(ATTEMPTS):
            loaded = memory.take(VECTORS, control, memory_quota_bytes)
            if loaded is None:
                break
            try:
                found = self._seen(memory, loaded, memory_quota_bytes, documents, query)
                if found is None:
                    break
                state, allowed = found
                best = search(state, prepared, query.top_k, Effort(query.recall, query.ef_search), allowed)
                columns = None if allowed is None else memory.peek(COLUMNS, control.collection_id)
                if columns is not None and columns.state.damaged > best.damaged:  # of them contents were read
                    best = best._replace(damaged=columns.state.damaged)
                return _hits(best, query, best.plan)
            except TooLarge as error:
                memory.note_too_large(VECTORS, control, error.memory_bytes)
            except SegmentDamaged as error:  # the next attempt reads its documents from the rows
                loaded.discard(error)
        return _hits(search_rows(documents, prepared, query), query, _FROM_DISK)

    def _seen(
        self,
        memory: TenantMemory,
        loaded: LoadedCollection,
        quota: int,
        documents: DocumentReader,
        query: VectorQuery,
    ) -> tuple[State, Allowed | None] | None:
        """Return the state to search, and what the filter allows; None if it cannot tell in memory."""
        collection_id = loaded.collection_id
        has_changed = True
        columns = None
        try:
            if loaded.state.sequence < documents.control.sequence:
                columns = memory.peek(COLUMNS, collection_id)
            has_changed = loaded.catch_up(documents, quota, columns)
            if has_changed:
                self._sealer.look(loaded, query.graph)
            state, filter = loaded.state, query.filter
            if filter is None:
                return state, None
            allowed = known(state, filter)
            if allowed is not None:
                return state, allowed
            has_changed = True
            columns = memory.take(COLUMNS, documents.control, quota)
            if columns is None:
                return None
            try:
                room = memory.room(COLUMNS, collection_id, quota)
                found = loaded.matching(columns, filter, documents, room, query.deadline)
            except TooLarge as error:
                memory.note_too_large(COLUMNS, documents.control, error.memory_bytes)
                return None
            return None if found is None else (found[0], allow(found[0], filter, found[1]))
        finally:
            if columns is not None:
                memory.settle(COLUMNS, collection_id, columns, quota)
            if has_changed:
                memory.settle(VECTORS, collection_id, loaded, quota)

    def state(self, tenant_id: TenantId, store_id: StoreId, control: CollectionControl) -> IndexState:
        """Return the state of a collection's index, without loading it."""
        memory = self._memory.of(tenant_id, store_id)
        loaded = memory.peek(VECTORS, control.collection_id)
        if loaded is None or not loaded.state.sequence:
            return state_on_disk(control, memory.place(control))
        return state_in_memory(control, loaded, is_building=self._sealer.is_building(loaded))

    def rebuild(
        self,
        tenant_id: TenantId,
        store_id: StoreId,
        memory_quota_bytes: int,
        documents: DocumentReader,
        graph: GraphSettings,
    ) -> None:
        """Make a collection's index anew from its rows; segments are built in the background."""
        control = documents.control
        self.forget(tenant_id, [control.collection_id])
        memory = self._memory.of(tenant_id, store_id)
        place = memory.place(control)
        if place is None and control.dimension is None:
            return
        if place is not None:
            shutil.rmtree(place.directory, ignore_errors=True)
        loaded = memory.take(VECTORS, control, memory_quota_bytes)
        if loaded is None:
            return
        try:
            loaded.catch_up(documents, memory_quota_bytes)
        except TooLarge as error:
            memory.note_too_large(VECTORS, control, error.memory_bytes)
        else:
            memory.settle(VECTORS, control.collection_id, loaded, memory_quota_bytes)
            self._sealer.look(loaded, graph)

    def figures(self) -> IndexFigures:
        """Return gauges of all that is in memory."""
        loaded = [each.state for each in self._memory.loaded(VECTORS)]
        segments = [part for state in loaded for part in state.parts]
        return IndexFigures(
            memory_bytes=self._memory.total_bytes,
            limit_bytes=self._memory.limit_bytes,
            loaded=len(loaded),
            segments=len(segments),
            tail=sum(state.view.alive_count for state in loaded),
            deleted=sum(state.view.size - state.view.alive_count for state in loaded)
            + sum(part.segment.count - part.alive_count for part in segments),
            waiting=self._sealer.waiting,
        )

    def wait(self) -> None:
        """Wait until all that is built in the background is in use."""
        self._sealer.wait()

    def close(self) -> None:
        """End what is built in the background."""
        self._sealer.close()

    def memory_bytes(self, tenant_id: TenantId) -> int:
        """Return the bytes of memory that a tenant's collections use."""
        return self._memory.memory_bytes(tenant_id)

    def tenants(self) -> list[TenantId]:
        """Return the tenants with collections in memory."""
        return self._memory.tenants()

    def forget(self, tenant_id: TenantId, collections: Iterable[CollectionId] | None = None) -> None:
        """Evict a tenant's collections, or some of them, and end builds for them. Files stay."""
        self._memory.forget(tenant_id, collections)
        self._sealer.end_retired()


def _hits(found: Found, query: VectorQuery, plan: str) -> Hits:
    hits = found.hits
    threshold = query.score_threshold
    if threshold is not None:
        hits = [hit for hit in hits if hit.score >= threshold]
    statistics = SearchStatistics(
        plan=plan,
        scanned=found.scanned,
        allowed=found.allowed,
        damaged=found.damaged,
        steps=steps_of(found, plan) if query.explain else None,
    )
    return Hits(hits, statistics)
