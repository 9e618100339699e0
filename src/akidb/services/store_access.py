"""Access to tenant stores, and propagation of metadata changes to them.

A change that concerns a store commits an outbox entry; `apply_pending` applies it before the change is
acknowledged. Entries left by a crash are applied when the store is next opened. An entry names what
changed, not the new state: the state is read when the entry is applied, so that applying it twice or late
is harmless.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from types import TracebackType

from akidb.domain.entities import Collection, Database, Tenant, limit_of
from akidb.domain.errors import AkiDBError, Damaged, NotFound, Unavailable
from akidb.domain.ids import CollectionId, DatabaseId, IdGenerator, StoreId, TenantId
from akidb.observe.logs import logger
from akidb.ports.documents import ControlState
from akidb.ports.keywords import KeywordIndexes
from akidb.ports.metadata import MetadataStore, MetadataTransaction
from akidb.ports.outbox import OutboxEntry
from akidb.ports.search import VectorIndex
from akidb.ports.stores import TenantStore, TenantStores
from akidb.services.retries import read_metadata, retried

_log = logger("akidb.stores")


class _Use:
    """One use of a store. A class, since a generator takes longer than some reads."""

    __slots__ = ("_note_unavailable", "_opening")

    def __init__(
        self, opening: AbstractContextManager[TenantStore], note_unavailable: Callable[[], None]
    ) -> None:
        self._opening = opening
        self._note_unavailable = note_unavailable

    def __enter__(self) -> TenantStore:
        try:
            return self._opening.__enter__()
        except Unavailable:
            self._note_unavailable()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opening.__exit__(kind, error, trace)
        if isinstance(error, Unavailable):
            self._note_unavailable()


class StoreAccess:
    """Opens tenant stores for the other services, with pending outbox entries applied."""

    def __init__(
        self,
        metadata: MetadataStore,
        stores: TenantStores,
        index: VectorIndex,
        keywords: KeywordIndexes,
        ids: IdGenerator,
    ) -> None:
        self._metadata = metadata
        self._stores = stores
        self._index = index
        self._keywords = keywords
        self._ids = ids
        self._known: dict[TenantId, StoreId] = {}
        self._disowned: set[TenantId] = set()
        self._announced: Counter[TenantId] = Counter()
        self._announcing = threading.Lock()

    def existing(self, tenant_id: TenantId) -> AbstractContextManager[TenantStore | None]:
        """Open the tenant's store; None if it has none because no document was ever written.

        Raises Unavailable for a store that was written to, but is unknown to the metadata.
        """
        store_id = self._find(tenant_id)
        if store_id is None and self._stores.is_used(tenant_id):
            store_id = self._find(tenant_id)  # it may have been made in between
            if store_id is None:
                raise self._unknown(tenant_id)
        if store_id is None:
            return nullcontext()
        if self._announced and tenant_id in self._announced:
            self._stores.mark_stale(tenant_id)
        opening = self._stores.open(tenant_id, store_id, partial(self._prepare, tenant_id))
        return _Use(opening, partial(self._note_unavailable, tenant_id, store_id))

    def _note_unavailable(self, tenant_id: TenantId, store_id: StoreId) -> None:
        """Raise NotFound in place of Unavailable for a store that was purged."""
        # A purge commits to the metadata before it closes and removes the store.
        if not self._is_registered(tenant_id, store_id):
            raise NotFound("tenant", tenant_id) from None
        self._disown_altered()

    @contextmanager
    def made(self, tenant_id: TenantId) -> Iterator[TenantStore]:
        """Yield the tenant's store; create it if it does not exist."""
        if self._find(tenant_id) is None:
            retried(lambda: self._make(tenant_id), "metadata")
        with self.existing(tenant_id) as store:
            if store is None:  # purged in between
                raise NotFound("tenant", tenant_id)
            yield store

    def apply_pending(self, tenant_id: TenantId) -> None:
        """Apply the tenant's pending outbox entries. The change may be acknowledged after this."""
        self._stores.mark_stale(tenant_id)
        with self.existing(tenant_id):
            pass

    def checkpoint_idle(self) -> None:
        """Move the logs of idle stores and of the metadata into their files: losing one loses nothing."""
        self._stores.checkpoint_idle()
        self._metadata.checkpoint_idle()

    def mark_stale(self, tenant_id: TenantId) -> None:
        """Make the store check the outbox before its next use."""
        self._stores.mark_stale(tenant_id)

    def begin_change(self, tenant_id: TenantId) -> None:
        """Check the outbox before every use of the store, until `end_change`.

        Called before the commit: a reader that sees the change in the metadata must also see it in the store.
        """
        with self._announcing:
            self._announced[tenant_id] += 1

    def end_change(self, tenant_id: TenantId) -> None:
        """Undo one `begin_change`."""
        with self._announcing:
            self._announced[tenant_id] -= 1
            if not self._announced[tenant_id]:
                del self._announced[tenant_id]

    def finish_purges(self) -> None:
        """Remove the stores and indexes of purged tenants, including those left by a crash.

        Raises Unavailable if one cannot be removed.
        """
        purges = read_metadata(self._metadata, lambda tx: tx.outbox.purges())
        done: list[OutboxEntry] = []
        for entry in purges:
            self._stores.remove(entry.tenant_id)
            self._known.pop(entry.tenant_id, None)
            if self._forget_indexes(entry.tenant_id):
                done.append(entry)
        if done:
            retried(lambda: self._forget_purges(done), "metadata")
        if len(done) < len(purges):
            raise Unavailable("the search indexes of purged tenants cannot be removed now")

    def displacements(self) -> list[str]:
        """Return the open stores whose files were removed, moved, replaced or altered, in words."""
        found = self._stores.displacements()
        self._disown_altered()
        return found

    def _disown_altered(self) -> None:
        """Let the metadata no longer name stores to which another program has written.

        What their files hold is not what was acknowledged, also after a restart: then `akidb doctor --repair`
        is needed.
        """
        for tenant_id, problem in self._stores.altered().items():
            if tenant_id in self._disowned:
                continue
            with suppress(AkiDBError), self._metadata.transaction() as tx:
                if tx.stores.find(tenant_id) is not None:
                    tx.stores.forget(tenant_id)
                    tx.stores.register(tenant_id, self._ids.new(StoreId))
                self._disowned.add(tenant_id)
                self._known.pop(tenant_id, None)
                _log.error("the store of tenant %s is not used any more: %s", tenant_id, problem)

    def forget_absent(self, *, files: bool) -> None:
        """Evict the indexes of tenants that another process deleted or purged; with `files` also closed ones.

        And those of collections: of this process's own deletions none is left.
        """
        for tenant_id in {*self._index.tenants(), *(self._keywords.tenants() if files else ())}:
            collections = self._keywords.collections(tenant_id) if files else ()
            with self._metadata.read() as tx:
                found = tx.tenants.find(tenant_id)
                absent = [each for each in collections if _is_absent(tx, tenant_id, each)]
            if found is None:
                self._forget_indexes(tenant_id)
            elif absent:
                self._forget_indexes(tenant_id, absent)

    def _forget_indexes(self, tenant_id: TenantId, collections: Sequence[CollectionId] | None = None) -> bool:
        """Remove the indexes of a tenant or of some collections; return whether no file of them is left."""
        self._index.forget(tenant_id, collections)
        return self._keywords.forget(tenant_id, collections)

    def remove_unused(self, tenant_id: TenantId) -> bool:
        """Remove an unregistered store left by a crash; return whether no stray store remains."""
        with self._stores.exclusive(tenant_id):
            return self._find(tenant_id) is not None or self._stores.remove_unused(tenant_id)

    def _forget_purges(self, purges: Sequence[OutboxEntry]) -> None:
        with self._metadata.transaction() as tx:
            for entry in purges:
                tx.outbox.remove(entry.tenant_id, entry.sequence)

    def _find(self, tenant_id: TenantId) -> StoreId | None:
        if self._metadata.generation is None:
            return self._find_shared(tenant_id)
        store_id = self._known.get(tenant_id)
        if store_id is None:
            store_id = read_metadata(self._metadata, lambda tx: tx.stores.find(tenant_id))
            if store_id is not None:
                self._known[tenant_id] = store_id
        return store_id

    def _unknown(self, tenant_id: TenantId) -> AkiDBError:
        """Return the error for a used store that the metadata does not name: they lost its row."""
        with self._metadata.read() as tx:
            if tx.tenants.find(tenant_id) is None and tx.tenants.find(tenant_id, deleted=True) is None:
                return NotFound("tenant", tenant_id)  # a purge removes the store after its commit
        return Unavailable(
            f"the store of tenant {tenant_id} is unknown to the metadata; restore both from the same backup,"
            " or let `akidb doctor --repair` use it as it is"
        )

    def _is_registered(self, tenant_id: TenantId, store_id: StoreId) -> bool:
        """Return whether the metadata still names that store."""
        try:
            with self._metadata.read() as tx:
                return tx.stores.find(tenant_id) == store_id
        except AkiDBError:
            return True

    def _find_shared(self, tenant_id: TenantId) -> StoreId | None:
        """Find a store that other processes may purge, or leave with pending entries when killed."""
        found = read_metadata(self._metadata, lambda tx: tx.stores.find_with_pending(tenant_id))
        if found is None:
            return None
        store_id, pending = found
        if pending:
            self._stores.mark_stale(tenant_id)
        return store_id

    def _make(self, tenant_id: TenantId) -> None:
        """Create the file, then register it in the metadata; an unregistered file is left by a crash."""
        with self._stores.exclusive(tenant_id):
            if self._find(tenant_id) is not None:
                return
            store_id = self._ids.new(StoreId)
            self._stores.create(tenant_id, store_id)
            try:
                with self._metadata.transaction() as tx:
                    tx.tenants.get(tenant_id)
                    tx.stores.register(tenant_id, store_id)
                    tx.outbox.add(tenant_id, "tenant", tenant_id)
            except NotFound:  # deleted or purged in between; nothing else would remove the file
                self._stores.remove(tenant_id)
                raise

    def _prepare(self, tenant_id: TenantId, store: TenantStore) -> None:
        retried(lambda: self._bring_up_to_date(tenant_id, store), "tenant")

    def _bring_up_to_date(self, tenant_id: TenantId, store: TenantStore) -> None:
        with self._metadata.snapshot() as tx:
            pending = tx.outbox.pending(tenant_id)
            compared = store.is_compared()
            if not pending and compared:
                return
            tenant = tx.tenants.find(tenant_id) or tx.tenants.get(tenant_id, deleted=True)
            collections = 0 if compared else tx.collections.number_of_tenant(tenant_id)
            if not pending:
                _compare(tenant, collections, store)
                return
            new = store.control_state().tenant_version == 0
            changed = tx.collections.states(tenant_id) if new else _changed(tx, tenant, pending)
        purged = [CollectionId(e.subject_id) for e in pending if e.subject == "collection_purge"]
        store.apply(tenant, changed, purged)
        if not compared:
            _compare(tenant, collections, store)
        # Deleted entities must not use the tenant's memory quota.
        gone = [c.collection_id for database, c in changed if database.deleted_at or c.deleted_at]
        removed = True
        if tenant.deleted_at:
            removed = self._forget_indexes(tenant_id)
        elif gone or purged:
            removed = self._forget_indexes(tenant_id, [*gone, *purged])
        if purged and not (store.erase() and removed):
            return  # still being read: the next use or maintenance retries
        with self._metadata.transaction() as tx:
            tx.outbox.remove(tenant_id, pending[-1].sequence)


def _compare(tenant: Tenant, collections: int, store: TenantStore) -> None:
    """Compare an opened store with the metadata. Raises Unavailable if it has lost what it was told."""
    if is_behind(tenant, collections, store.control_state(), store.collection_count()):
        raise Unavailable(
            f"the store of tenant {tenant.tenant_id} is older than the metadata: its log (-wal) is missing,"
            " or its file was replaced by an older one. Put them back, restore a backup, or go on with what"
            " the file has by `akidb doctor --repair`"
        )
    store.note_compared()


def is_behind(tenant: Tenant, collections: int, state: ControlState, known: int) -> bool:
    """Return whether a store with this state, and `known` collections, lacks what the metadata know.

    All changes in the outbox must have been applied to it. A store may be ahead of restored metadata.
    """
    told = (state.tenant_status, state.storage_quota_bytes)
    return (
        state.tenant_version == 0
        or known < collections
        or (
            state.tenant_version < tenant.version
            and told != (tenant.status, limit_of(tenant.storage_quota_bytes))
        )
    )


def _is_absent(tx: MetadataTransaction, tenant_id: TenantId, collection_id: CollectionId) -> bool:
    """Return whether a collection is deleted or purged; False if its row is damaged."""
    with suppress(Damaged):
        found = tx.collections.find_with_database(tenant_id, collection_id)
        return found is None or any(each.deleted_at for each in found)
    return False


def _changed(
    tx: MetadataTransaction, tenant: Tenant, pending: Sequence[OutboxEntry]
) -> list[tuple[Database, Collection]]:
    """Return the current state of the collections that the entries name."""
    found: list[tuple[Database, Collection]] = []
    for subject, subject_id in {(entry.subject, entry.subject_id) for entry in pending}:
        if subject == "database":
            found += tx.collections.states(tenant.tenant_id, DatabaseId(subject_id))
        elif subject == "collection":
            pair = tx.collections.find_with_database(tenant.tenant_id, CollectionId(subject_id))
            if pair is not None:
                found.append(pair)
    return found
