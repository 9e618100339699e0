"""The tenant stores of a data directory, opened on demand up to a limit."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path
from types import TracebackType

from akidb.documents.archive_image import filled
from akidb.documents.sqlite import SqliteTenantStore, is_used, remove_files, remove_unused
from akidb.documents.tenant_copy import Renamed, branch_file
from akidb.domain.errors import Overloaded, Unavailable
from akidb.domain.ids import StoreId, TenantId
from akidb.observe.telemetry import StoreFigures
from akidb.ports.archive import StoreFiller, StoreImage
from akidb.ports.stores import TenantStore
from akidb.sql.identity import FileIdentity
from akidb.sql.room import Room
from akidb.sql.schema_backups import SchemaBackups
from akidb.sql.telemetry import observed

NEW_STORE_BYTES = 256 * 1024
"""What an empty store takes, with its log."""


class _Entry:
    """The pool entry of a tenant. `lock` serialises opening, preparing and removing."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.users = 0
        self.store: SqliteTenantStore | None = None
        # The store is ready while `prepared_generation` equals the current generation.
        self.generation = 0
        self.prepared_generation = -1

    def ready(self, store_id: StoreId) -> SqliteTenantStore | None:
        """Return the store if it is open, prepared and has this ID."""
        store = self.store
        if store is None or store.store_id != store_id or self.prepared_generation != self.generation:
            return None
        return store


class _Opening:
    """One use of a store. A class, since a generator takes longer than some reads."""

    __slots__ = ("_entry", "_ready", "_stores", "_tenant_id")

    def __init__(
        self, stores: "SqliteTenantStores", tenant_id: TenantId, ready: Callable[[_Entry], TenantStore]
    ) -> None:
        self._stores = stores
        self._tenant_id = tenant_id
        self._ready = ready

    def __enter__(self) -> TenantStore:
        entry = self._entry = self._stores.begin(self._tenant_id)
        try:
            return self._ready(entry)
        except BaseException:
            self._stores.end(entry)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stores.end(self._entry)


class SqliteTenantStores:
    """`akidb.ports.documents.TenantStores` in a directory: one `<tenant_id>.db` per tenant."""

    def __init__(
        self,
        directory: Path,
        *,
        max_open: int,
        synchronous: str = "full",
        copies: SchemaBackups | None = None,
        room: Room | None = None,
        within: Sequence[FileIdentity] = (),
    ) -> None:
        """Use the stores in `directory`. Changes require what it is `within` to be in place."""
        self._within = tuple(within)
        self._directory = directory
        self._room = room
        self._copies = copies
        self._max_open = max_open
        self._synchronous = synchronous
        self._lock = threading.Lock()
        self._entries: OrderedDict[TenantId, _Entry] = OrderedDict()
        self._altered: dict[TenantId, str] = {}

    def create(self, tenant_id: TenantId, store_id: StoreId) -> None:
        if self._room is not None:
            self._room.require(NEW_STORE_BYTES)
        with self._using(tenant_id) as entry, entry.lock:
            self._require_in_place()
            self._close_entry(entry)
            SqliteTenantStore.create(
                self._path(tenant_id), tenant_id, store_id, synchronous=self._synchronous
            )

    def open(
        self, tenant_id: TenantId, store_id: StoreId, prepare: Callable[[TenantStore], None]
    ) -> AbstractContextManager[TenantStore]:
        return _Opening(self, tenant_id, lambda entry: self._ready(entry, tenant_id, store_id, prepare))

    def _ready(
        self,
        entry: _Entry,
        tenant_id: TenantId,
        store_id: StoreId,
        prepare: Callable[[TenantStore], None],
    ) -> TenantStore:
        if self._altered and tenant_id in self._altered:
            raise Unavailable(f"{self._altered[tenant_id]}; stop AkiDB, and run `akidb doctor --repair`")
        store = entry.ready(store_id)
        if store is None:
            with entry.lock:
                store = entry.ready(store_id) or self._make_ready(entry, tenant_id, store_id, prepare)
        return observed("tenant", "store", store, "sqlite")

    @contextmanager
    def filling(self, tenant_id: TenantId, store_id: StoreId) -> Iterator[StoreFiller]:
        """Create and fill a store: durable when the block ends, removed if it raises."""
        with self._using(tenant_id) as entry, entry.lock:
            self._require_in_place()
            self._close_entry(entry)
            path = self._path(tenant_id)
            SqliteTenantStore.create(path, tenant_id, store_id, synchronous="off")
            try:
                with filled(path, self._room) as filler:
                    yield filler
            except BaseException:
                remove_files(path)
                raise

    def branch(self, tenant_id: TenantId, store_id: StoreId, image: StoreImage, renamed: Renamed) -> None:
        with self._using(tenant_id) as entry, entry.lock:
            self._require_in_place()
            branch_file(image, self._path(tenant_id), tenant_id, store_id, renamed, self._room)

    def _make_ready(
        self,
        entry: _Entry,
        tenant_id: TenantId,
        store_id: StoreId,
        prepare: Callable[[TenantStore], None],
    ) -> SqliteTenantStore:
        if entry.store is not None and entry.store.store_id != store_id:
            self._close_entry(entry)
        if entry.store is None:
            entry.store = SqliteTenantStore(
                self._path(tenant_id),
                tenant_id,
                store_id,
                synchronous=self._synchronous,
                copies=self._copies,
                room=self._room,
                within=self._within,
            )
        generation = entry.generation
        try:
            prepare(observed("tenant", "store", entry.store, "sqlite"))
        except BaseException:
            # Current users of the store must not continue with its stale state.
            self._close_entry(entry)
            raise
        entry.prepared_generation = generation
        return entry.store

    @contextmanager
    def exclusive(self, tenant_id: TenantId) -> Iterator[None]:
        """Lock this tenant's store against being opened, created, prepared or removed elsewhere."""
        with self._using(tenant_id) as entry, entry.lock:
            yield

    def mark_stale(self, tenant_id: TenantId) -> None:
        with self._lock:
            entry = self._entries.get(tenant_id)
            if entry is not None:
                entry.generation += 1

    def remove(self, tenant_id: TenantId) -> None:
        with self._using(tenant_id) as entry, entry.lock:
            self._require_in_place()  # the path may be that of another directory's store
            if entry.store is not None:
                try:
                    entry.store.retire()
                except Unavailable:  # damaged, or a full disk: a closed store refuses writes too
                    self._close_entry(entry)
                entry.store, entry.prepared_generation = None, -1
            self._altered.pop(tenant_id, None)
            if self._copies is not None:
                self._copies.remove(store=str(tenant_id))
            remove_files(self._path(tenant_id))

    def is_used(self, tenant_id: TenantId) -> bool:
        path = self._path(tenant_id)
        if not os.path.lexists(path):
            return False
        with self._using(tenant_id) as entry, entry.lock:
            return entry.store is not None or is_used(path)

    def remove_unused(self, tenant_id: TenantId) -> bool:
        """Remove a store that a crash left unfinished; return whether there is none now."""
        with self._using(tenant_id) as entry, entry.lock:
            self._require_in_place()
            return entry.store is None and remove_unused(self._path(tenant_id))

    def displacements(self) -> list[str]:
        with self._lock:
            stores = [entry.store for entry in self._entries.values() if entry.store is not None]
        return [problem for store in stores if (problem := store.displacement()) is not None]

    def altered(self) -> Mapping[TenantId, str]:
        with self._lock:
            entries = list(self._entries.items())
        for tenant_id, entry in entries:
            self._note_altered(tenant_id, entry.store)
        return dict(self._altered)

    def _note_altered(self, tenant_id: TenantId, store: SqliteTenantStore | None) -> None:
        if store is not None and store.altered is not None:
            self._altered[tenant_id] = store.altered

    def checkpoint_idle(self) -> int:
        with self._lock:
            stores = [entry.store for entry in self._entries.values() if entry.store is not None]
        return sum(_checkpointed(store) for store in stores)

    def names(self) -> list[str]:
        return sorted(path.stem for path in self._directory.glob("*.db"))

    def open_count(self) -> int:
        with self._lock:
            return sum(entry.store is not None for entry in self._entries.values())

    def figures(self) -> StoreFigures:
        with self._lock:
            stores = [entry.store for entry in self._entries.values() if entry.store is not None]
        return sum((store.figures() for store in stores), StoreFigures(open_stores=0))

    def close(self) -> None:
        with self._lock:
            entries, self._entries = list(self._entries.values()), OrderedDict()
        for entry in entries:
            with entry.lock:
                self._close_entry(entry)

    def _require_in_place(self) -> None:
        for identity in self._within:
            identity.require()

    def _path(self, tenant_id: TenantId) -> Path:
        return self._directory / f"{tenant_id}.db"

    @contextmanager
    def _using(self, tenant_id: TenantId) -> Iterator[_Entry]:
        entry = self.begin(tenant_id)
        try:
            yield entry
        finally:
            self.end(entry)

    def begin(self, tenant_id: TenantId) -> _Entry:
        """Return the tenant's entry, which is in use until `end`."""
        with self._lock:
            entry = self._entries.get(tenant_id)
            if entry is None:
                entry = self._entries[tenant_id] = _Entry()
            entry.users += 1
            self._entries.move_to_end(tenant_id)
            excess = len(self._entries) - self._max_open
            surplus = self._find_surplus(excess) if excess > 0 else ()
        for idle_id, idle in surplus:
            self._close_idle(idle_id, idle)
        return entry

    def end(self, entry: _Entry) -> None:
        """End one use of an entry."""
        with self._lock:
            entry.users -= 1

    def _find_surplus(self, excess: int) -> list[tuple[TenantId, _Entry]]:
        """Return so many of the least recently used idle entries."""
        idle = ((tenant_id, entry) for tenant_id, entry in self._entries.items() if entry.users == 0)
        return list(islice(idle, excess))

    def _close_idle(self, tenant_id: TenantId, entry: _Entry) -> None:
        """Close an unused store. Concurrent users wait: a file must have only one gate at a time."""
        if not entry.lock.acquire(blocking=False):
            return
        try:
            with self._lock:
                if entry.users:
                    return
                store, entry.store, entry.prepared_generation = entry.store, None, -1
            if store is not None:
                store.displacement()  # closing it would use what another program has written
                self._note_altered(tenant_id, store)
                store.close()
            with self._lock:
                if self._entries.get(tenant_id) is entry and not _is_wanted(entry):
                    del self._entries[tenant_id]
        finally:
            entry.lock.release()

    @staticmethod
    def _close_entry(entry: _Entry) -> None:
        if entry.store is not None:
            entry.store.close()
            entry.store, entry.prepared_generation = None, -1


def _checkpointed(store: SqliteTenantStore) -> bool:
    try:
        return store.checkpoint_idle()
    except (Overloaded, Unavailable):  # closed meanwhile, in use, or damaged: whoever uses it is told
        return False


def _is_wanted(entry: _Entry) -> bool:
    return entry.users > 0 or entry.store is not None
