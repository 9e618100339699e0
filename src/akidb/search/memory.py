"""What of a tenant's collections is in memory, within its quota."""

import threading
from collections import OrderedDict
from collections.abc import Iterable

from akidb.domain.ids import CollectionId, StoreId
from akidb.ports.documents import CollectionControl
from akidb.search.collection import LoadedCollection

ROW_OVERHEAD_BYTES = 120
"""What a row takes at least beside its vector: its id in a list and a dictionary, its key, its sequence."""


def needed_bytes(control: CollectionControl) -> int:
    """Return how many bytes a collection takes in memory at least."""
    return control.document_count * (4 * (control.dimension or 0) + ROW_OVERHEAD_BYTES)


class TenantMemory:
    """A tenant's loaded collections, least recently used first."""

    def __init__(self, store_id: StoreId) -> None:
        self.store_id = store_id
        self.memory_bytes = 0
        """The sum over the collections, kept up to date: a tenant may have thousands of them."""
        self._lock = threading.Lock()
        self._loaded: OrderedDict[CollectionId, LoadedCollection] = OrderedDict()
        self._too_large: dict[CollectionId, tuple[int, int]] = {}
        """The number of documents with which a collection took more than its quota, and what it took."""

    def is_empty(self) -> bool:
        """Return whether it knows of no collection."""
        return not self._loaded and not self._too_large

    def used(self, collection_id: CollectionId, quota_bytes: int) -> LoadedCollection | None:
        """Return a loaded collection, which is now the most recently used one."""
        with self._lock:
            found = self._loaded.get(collection_id)
            if found is None or found.memory_bytes > quota_bytes:
                return None
            self._loaded.move_to_end(collection_id)
            if self.memory_bytes > quota_bytes:
                self._make_room(quota_bytes)
            return found

    def take(self, control: CollectionControl, quota_bytes: int) -> LoadedCollection | None:
        """Return the collection, evicting others if needed; None if it alone exceeds the quota."""
        needed = needed_bytes(control)
        with self._lock:
            count, too_large_bytes = self._too_large.get(control.collection_id, (0, 0))
            if max(needed, too_large_bytes * (control.document_count >= count)) > quota_bytes:
                self._evict(control.collection_id)
                return None
            found = self._loaded.get(control.collection_id)
            if found is None:
                found = self._loaded[control.collection_id] = LoadedCollection(control)
            self._loaded.move_to_end(control.collection_id)
            self._resize(found, max(found.memory_bytes, needed))
            self._make_room(quota_bytes)
            return found

    def settle(self, collection_id: CollectionId, loaded: LoadedCollection, quota_bytes: int) -> None:
        """Account what a collection takes now, and evict the least recently used ones above the quota."""
        with self._lock:
            if self._loaded.get(collection_id) is loaded:
                self._resize(loaded, loaded.resident_bytes)
                self._make_room(quota_bytes)

    def note_too_large(self, control: CollectionControl, memory_bytes: int) -> None:
        """Note that a collection takes at least so many bytes, so that it is not loaded in vain again."""
        with self._lock:
            self._too_large[control.collection_id] = control.document_count, memory_bytes
            self._evict(control.collection_id)

    def evict(self, collections: Iterable[CollectionId]) -> None:
        """Evict these collections, if they are loaded."""
        with self._lock:
            for collection_id in collections:
                self._evict(collection_id)
                self._too_large.pop(collection_id, None)

    def _resize(self, loaded: LoadedCollection, memory_bytes: int) -> None:
        self.memory_bytes += memory_bytes - loaded.memory_bytes
        loaded.memory_bytes = memory_bytes

    def _evict(self, collection_id: CollectionId) -> None:
        evicted = self._loaded.pop(collection_id, None)
        if evicted is not None:
            self.memory_bytes -= evicted.memory_bytes

    def _make_room(self, quota_bytes: int) -> None:
        while self._loaded and self.memory_bytes > quota_bytes:
            self._evict(next(iter(self._loaded)))
