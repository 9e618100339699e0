"""What of the tenants' collections is in memory, within their quotas: of each the parts that are used."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, NamedTuple, Protocol, TypeVar, cast

from akidb.domain.ids import CollectionId, StoreId, TenantId
from akidb.ports.documents import ANY_SIZE, CollectionControl
from akidb.search.collection import LoadedCollection, Place
from akidb.search.columns.collection import CollectionColumns
from akidb.search.opening import Sealed, sealed_in
from akidb.search.segments.header import Expected

SEGMENTS_NAME = "segments"

ROW_OVERHEAD_BYTES = 120
"""What a row takes at least beside its vector: its id in a list and a dictionary, its key, its sequence."""


class Resident(Protocol):
    """A part of a collection in memory."""

    memory_bytes: int
    """As last accounted."""
    is_retired: bool
    """Whether it was evicted: another one may take its place."""

    @property
    def resident_bytes(self) -> int:
        """Bytes in memory now."""


R = TypeVar("R", bound=Resident)


class Kind(NamedTuple, Generic[R]):
    """A kind of part that is evicted and accounted alone."""

    name: str
    make: "Callable[[TenantMemory, CollectionControl], R]"
    needed_bytes: "Callable[[TenantMemory, CollectionControl, R | None], int]"
    """Return how many bytes it takes at least, when it is up to date; None if it is not loaded."""


def _bytes_of_columns(
    _memory: "TenantMemory", control: CollectionControl, loaded: CollectionColumns | None
) -> int:
    known = 0 if loaded is None else loaded.memory_bytes
    return max(known, control.document_count * ROW_OVERHEAD_BYTES)


def _bytes_of_vectors(
    memory: "TenantMemory", control: CollectionControl, loaded: LoadedCollection | None
) -> int:
    each = 4 * (control.dimension or 0) + ROW_OVERHEAD_BYTES
    if loaded is None:
        place = memory.place(control)
        sealed = Sealed(0, 0) if place is None else sealed_in(place.directory)
        return sealed.memory_bytes + max(0, control.document_count - sealed.rows) * each
    if loaded.state.sequence >= control.sequence:
        return loaded.memory_bytes
    return loaded.memory_bytes + max(0, control.document_count - loaded.state.alive_count) * each


def _vectors(memory: "TenantMemory", control: CollectionControl) -> LoadedCollection:
    return LoadedCollection(control, memory.place(control), memory.measure_vectors)


VECTORS: Kind[LoadedCollection] = Kind("vectors", _vectors, _bytes_of_vectors)
COLUMNS: Kind[CollectionColumns] = Kind(
    "columns", lambda _memory, _control: CollectionColumns(), _bytes_of_columns
)
KINDS = (VECTORS.name, COLUMNS.name)

_Key = tuple[str, CollectionId]


class Total:
    """What the parts of all tenants take, least recently used first, and what they may take."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.memory_bytes = 0
        self.lock = threading.Lock()
        """Held for moments: while parts are found, accounted and evicted, not while they are read."""
        self._order: OrderedDict[Resident, TenantMemory] = OrderedDict()

    def use(self, part: Resident, owner: "TenantMemory") -> None:
        """Note that a part is used now."""
        self._order[part] = owner
        self._order.move_to_end(part)

    def drop(self, part: Resident) -> None:
        """Note that a part was evicted."""
        del self._order[part]

    def make_room(self) -> None:
        """Evict the least recently used parts of any tenant while they take too much."""
        while self.memory_bytes > self.limit_bytes and self._order:
            part, owner = next(iter(self._order.items()))
            owner.evict_part(part)


class TenantMemory:
    """The parts of a tenant's collections, least recently used first."""

    def __init__(self, store_id: StoreId, directory: Path | None = None, total: Total | None = None) -> None:
        """`directory` is that of the tenant's segments, `total` that of all tenants."""
        self.store_id = store_id
        self._directory = directory
        self.memory_bytes = 0
        """The sum over the parts, kept up to date: a tenant may have thousands of collections."""
        self._total = total or Total(ANY_SIZE)
        self._lock = self._total.lock
        self._loaded: dict[_Key, Resident] = {}
        self._order: OrderedDict[Resident, _Key] = OrderedDict()
        self._too_large: dict[_Key, tuple[int, int]] = {}
        """The number of documents with which a part took more than its quota, and what it took."""
        self._asked: set[CollectionId] = set()
        """Collections that were asked about once, of which there are no columns."""
        self._is_closed = False

    def is_empty(self) -> bool:
        """Return whether it knows of no collection."""
        return not (self._loaded or self._too_large or self._asked)

    def used(self, kind: Kind[R], collection_id: CollectionId, most_bytes: int) -> R | None:
        """Return a loaded part of up to `most_bytes`, which is now the most recently used one."""
        with self._lock:
            found = cast("R | None", self._loaded.get((kind.name, collection_id)))
            if found is None or found.memory_bytes > most_bytes:
                return None
            self._order.move_to_end(found)
            self._total.use(found, self)
            return found

    def is_first_question(self, collection_id: CollectionId) -> bool:
        """Return whether nothing was asked about a collection before; notes it."""
        with self._lock:
            is_new = collection_id not in self._asked
            self._asked.add(collection_id)
            return is_new

    def room(self, kind: Kind[R], collection_id: CollectionId, quota_bytes: int) -> int:
        """Return how many bytes a part may take: columns what the vectors of their collection leave.

        Otherwise the two would take turns in memory if they did not fit together.
        """
        quota_bytes = min(quota_bytes, self._total.limit_bytes)
        return quota_bytes - (self.bytes_of(VECTORS, collection_id) if kind.name == COLUMNS.name else 0)

    def take(self, kind: Kind[R], control: CollectionControl, quota_bytes: int) -> R | None:
        """Return a part, evicting others if needed; None if it does not fit into its room."""
        key = (kind.name, control.collection_id)
        found = cast("R | None", self._loaded.get(key))
        needed = kind.needed_bytes(self, control, found)
        with self._lock:
            count, too_large_bytes = self._too_large.get(key, (0, 0)) if self._too_large else (0, 0)
            least = max(needed, too_large_bytes * (control.document_count >= count))
            if least > self.room(kind, control.collection_id, quota_bytes):
                self._evict(key)
                return None
            if found is None or found.is_retired:  # or loaded by another thread meanwhile
                found = cast("R | None", self._loaded.get(key))
            if found is None:
                found = kind.make(self, control)
                if self._is_closed:  # the tenant was forgotten while it was searched: only this search has it
                    return found
                self._loaded[key] = found
                self._order[found] = key
            self._order.move_to_end(found)
            self._total.use(found, self)
            self._resize(found, needed)
            self._make_room(quota_bytes)
            return found

    def peek(self, kind: Kind[R], collection_id: CollectionId) -> R | None:
        """Return a part if it is loaded."""
        return cast("R | None", self._loaded.get((kind.name, collection_id)))

    def loaded(self, kind: Kind[R]) -> list[R]:
        """Return the loaded parts of a kind."""
        with self._lock:
            return [cast("R", part) for (name, _), part in self._loaded.items() if name == kind.name]

    def place(self, control: CollectionControl) -> Place | None:
        """Return where the segments of a collection are; None for nowhere."""
        if self._directory is None or control.dimension is None:
            return None
        expected = Expected(
            store_id=self.store_id,
            collection_id=control.collection_id,
            dimension=control.dimension,
            metric=control.metric,
        )
        return Place(self._directory / str(control.collection_id) / SEGMENTS_NAME, expected)

    def measure_vectors(self, loaded: LoadedCollection) -> None:
        """Account what a collection's vectors take now; the next use makes room if that is too much."""
        with self._lock:
            if self._loaded.get((VECTORS.name, loaded.collection_id)) is loaded:
                self._resize(loaded, loaded.resident_bytes)

    def settle(self, kind: Kind[R], collection_id: CollectionId, loaded: R, quota_bytes: int) -> None:
        """Account what a part takes now, and evict the least recently used ones above the quota."""
        with self._lock:
            if self._loaded.get((kind.name, collection_id)) is loaded:
                self._resize(loaded, loaded.resident_bytes)
                self._make_room(quota_bytes)

    def note_too_large(self, kind: Kind[R], control: CollectionControl, memory_bytes: int) -> None:
        """Note that a part takes at least so many bytes, so that it is not loaded in vain again."""
        key = (kind.name, control.collection_id)
        with self._lock:
            self._too_large[key] = control.document_count, memory_bytes
            self._evict(key)

    def bytes_of(self, kind: Kind[R], collection_id: CollectionId) -> int:
        """Return what a part takes, 0 if it is not loaded."""
        found = self._loaded.get((kind.name, collection_id))
        return 0 if found is None else found.memory_bytes

    def close(self) -> None:
        """Evict all parts, and keep no more."""
        with self._lock:
            self._is_closed = True
        self.evict(None)

    def evict(self, collections: Iterable[CollectionId] | None) -> None:
        """Evict all parts of these collections, or of all."""
        with self._lock:
            if collections is None:
                collections = {collection_id for _, collection_id in [*self._loaded, *self._too_large]}
            for collection_id in collections:
                self._asked.discard(collection_id)
                for kind in KINDS:
                    self._evict((kind, collection_id))
                    self._too_large.pop((kind, collection_id), None)

    def _resize(self, loaded: Resident, memory_bytes: int) -> None:
        growth = memory_bytes - loaded.memory_bytes
        if growth:
            self.memory_bytes += growth
            self._total.memory_bytes += growth
            loaded.memory_bytes = memory_bytes

    def _evict(self, key: _Key) -> None:
        evicted = self._loaded.get(key)
        if evicted is not None:
            self.evict_part(evicted)

    def evict_part(self, part: Resident) -> None:
        """Evict a loaded part. Requires the lock."""
        part.is_retired = True
        del self._loaded[self._order.pop(part)]
        self._total.drop(part)
        self.memory_bytes -= part.memory_bytes
        self._total.memory_bytes -= part.memory_bytes

    def _make_room(self, quota_bytes: int) -> None:
        while self._order and self.memory_bytes > quota_bytes:
            self.evict_part(next(iter(self._order)))
        self._total.make_room()


class Memory:
    """What all tenants have in memory."""

    def __init__(self, directory: Path | None = None, limit_bytes: int = ANY_SIZE) -> None:
        """Keep segments in a directory of this process alone; without one there are none.

        The parts of all tenants together take up to `limit_bytes`: beyond, the least recently used are
        evicted, as within the quota of each tenant.
        """
        self._directory = directory
        self._total = Total(limit_bytes)
        self._lock = threading.Lock()
        self._tenants: dict[TenantId, TenantMemory] = {}

    def of(self, tenant_id: TenantId, store_id: StoreId) -> TenantMemory:
        """Return the memory of a tenant; of another store it is forgotten."""
        memory = self._tenants.get(tenant_id)
        if memory is None or memory.store_id != store_id:
            with self._lock:
                memory = self._tenants.get(tenant_id)
                if memory is not None and memory.store_id != store_id:
                    memory.close()
                    memory = None
                if memory is None:
                    memory = self._tenants[tenant_id] = TenantMemory(
                        store_id,
                        None if self._directory is None else self._directory / str(tenant_id),
                        self._total,
                    )
        return memory

    def loaded(self, kind: Kind[R]) -> list[R]:
        """Return the loaded parts of a kind, of all tenants."""
        with self._lock:
            tenants = list(self._tenants.values())
        return [part for tenant in tenants for part in tenant.loaded(kind)]

    @property
    def limit_bytes(self) -> int:
        """What all tenants together may take."""
        return self._total.limit_bytes

    @property
    def total_bytes(self) -> int:
        """What all tenants together take."""
        return self._total.memory_bytes

    def memory_bytes(self, tenant_id: TenantId) -> int:
        """Return the bytes of memory that a tenant's collections use."""
        memory = self._tenants.get(tenant_id)
        return 0 if memory is None else memory.memory_bytes

    def tenants(self) -> list[TenantId]:
        """Return the tenants with collections in memory."""
        with self._lock:
            return list(self._tenants)

    def forget(self, tenant_id: TenantId, collections: Iterable[CollectionId] | None = None) -> None:
        """Evict a tenant's collections, or some of them."""
        with self._lock:
            memory = self._tenants.get(tenant_id)
            if memory is None:
                return
            if collections is not None:
                memory.evict(collections)
            if collections is None or memory.is_empty():
                memory.close()
                del self._tenants[tenant_id]
