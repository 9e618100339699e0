"""Change feeds: what changed since a reader looked last, and waiting until something does.

A writer of this process wakes those who wait at its tenant; what other processes write is found by looking
again. Who waits is not counted as an operation that runs: closing does not wait for it.
"""

import threading
import time
from collections.abc import Callable, Iterator
from collections.abc import Collection as AbstractCollection
from contextlib import contextmanager
from math import isfinite
from typing import Generic, TypeVar

from akidb.domain import changes
from akidb.domain.changes import (
    MAX_WAIT_SECONDS,
    ChangePage,
    DocumentChange,
    FeedSlice,
    FeedState,
    MetadataChange,
)
from akidb.domain.documents import DEFAULT_INCLUDE, DEFAULT_PAGE_LIMIT, MAX_PAGE_LIMIT, Include
from akidb.domain.entities import Scope
from akidb.domain.errors import InvalidArgument, NotFound
from akidb.domain.ids import TenantId
from akidb.domain.lifecycle import Access, require
from akidb.domain.names import check_integer, check_word
from akidb.ports.metadata import MetadataStore
from akidb.ports.operations import CollectionPath, TenantRef
from akidb.services.admission import Admission, operation
from akidb.services.rate import RateLimiter
from akidb.services.scope_cache import ScopeCache, tenant_for
from akidb.services.store_access import StoreAccess

TICK_SECONDS = 0.5
"""How soon one who waits sees that the process closes."""
UNWOKEN_SECONDS = 5.0
"""How often one who waits looks without being woken, where every writer wakes."""

ChangeT = TypeVar("ChangeT")


class Signals:
    """Who waits for changes of which tenant."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[TenantId, list[Callable[[], None]]] = {}

    @contextmanager
    def listening(self, tenant_id: TenantId, wake: Callable[[], None]) -> Iterator[None]:
        """Have `wake` called after each change, in the thread of its writer."""
        with self._lock:
            self._listeners.setdefault(tenant_id, []).append(wake)
        try:
            yield
        finally:
            with self._lock:
                left = self._listeners[tenant_id]
                left.remove(wake)
                if not left:
                    del self._listeners[tenant_id]

    def notify(self, tenant_id: TenantId | None) -> None:
        """Say that something of a tenant was committed."""
        if tenant_id not in self._listeners:  # nearly always
            return
        with self._lock:
            listeners = list(self._listeners.get(tenant_id, ()))
        for wake in listeners:
            wake()


class Watch(Generic[ChangeT]):
    """One reader at one place of a feed. `look` reads, and may be called again and again."""

    def __init__(
        self,
        service: "ChangeService",
        tenant_id: TenantId,
        read: Callable[[], ChangePage[ChangeT]],
    ) -> None:
        self._service = service
        self._read = read
        self._tenant_id = tenant_id
        self.unwoken_seconds = service.unwoken_seconds

    @property
    def admission(self) -> Admission:
        """What lets each look in."""
        return self._service.admission

    def look(self) -> ChangePage[ChangeT]:
        """What has changed until now."""
        with self.admission:
            return self._read()

    @contextmanager
    def listening(self, wake: Callable[[], None]) -> Iterator[None]:
        """Have `wake` called when it is time to look again."""
        with self._service.signals.listening(self._tenant_id, wake):
            yield

    def wait(self, seconds: float) -> ChangePage[ChangeT]:
        """Look until there is a change or the time is up. Raises Unavailable when the process closes."""
        found = self.look()
        deadline = time.monotonic() + seconds
        if found.changes or seconds == 0:
            return found
        woken = threading.Event()
        with self.listening(woken.set):
            while True:
                woken.clear()
                found = self.look()
                now = time.monotonic()
                if found.changes or now >= deadline:
                    return found
                self._sleep(woken, min(deadline, now + self.unwoken_seconds))

    def _sleep(self, woken: threading.Event, until: float) -> None:
        while (left := until - time.monotonic()) > 0:
            if woken.wait(min(left, TICK_SECONDS)):
                return
            with self.admission:  # which raises when the process closes
                pass


class ChangeService:
    """`akidb.ports.operations.ChangeOperations` in process."""

    def __init__(
        self,
        *,
        admission: Admission,
        metadata: MetadataStore,
        stores: StoreAccess,
        limiter: RateLimiter,
        signals: Signals,
    ) -> None:
        self.admission = admission
        self.signals = signals
        # Where other processes write to the database too, nobody wakes those who wait here.
        self.unwoken_seconds = TICK_SECONDS if metadata.generation is None else UNWOKEN_SECONDS
        self._metadata = metadata
        self._scopes = ScopeCache(metadata)
        self._stores = stores
        self._limiter = limiter

    def of_collection(
        self,
        path: CollectionPath,
        *,
        since: int = 0,
        feed: str | None = None,
        limit: int = DEFAULT_PAGE_LIMIT,
        wait_seconds: float = 0,
        include: AbstractCollection[Include] = DEFAULT_INCLUDE,
    ) -> ChangePage[DocumentChange]:
        """What happened to the documents of a collection after a sequence."""
        seconds = check_wait(wait_seconds)
        return self.watch_collection(path, since=since, feed=feed, limit=limit, include=include).wait(seconds)

    def of_tenant(
        self,
        tenant: TenantRef,
        *,
        since: int = 0,
        feed: str | None = None,
        limit: int = DEFAULT_PAGE_LIMIT,
        wait_seconds: float = 0,
    ) -> ChangePage[MetadataChange]:
        """What happened to a tenant's metadata after a sequence."""
        seconds = check_wait(wait_seconds)
        return self.watch_tenant(tenant, since=since, feed=feed, limit=limit).wait(seconds)

    @operation
    def watch_collection(
        self,
        path: CollectionPath,
        *,
        since: int,
        feed: str | None,
        limit: int,
        include: AbstractCollection[Include],
    ) -> Watch[DocumentChange]:
        """A reader of a collection's feed; it counts as one operation, however long it waits."""
        _check(since, feed, limit)
        parts = frozenset(check_word(Include, part, "include") for part in _several(include))
        scope = self._scopes.find(path)
        require(Access.DOCUMENT_READ, scope.tenant.status, scope.database.state, scope.collection.state)
        self._limiter.take(scope.tenant)
        return Watch(
            self, scope.tenant.tenant_id, lambda: self._read_collection(scope, since, feed, limit, parts)
        )

    @operation
    def watch_tenant(
        self, tenant: TenantRef, *, since: int, feed: str | None, limit: int
    ) -> Watch[MetadataChange]:
        """A reader of the feed of a tenant's metadata."""
        _check(since, feed, limit)
        with self._metadata.read() as tx:
            tenant_id = tenant_for(tx, tenant, Access.METADATA_READ).tenant_id
        return Watch(self, tenant_id, lambda: self._read_metadata(tenant_id, since, feed, limit))

    def _read_collection(
        self, scope: Scope, since: int, feed: str | None, limit: int, include: frozenset[Include]
    ) -> ChangePage[DocumentChange]:
        with self._stores.existing(scope.tenant.tenant_id) as store:
            if store is None:
                return _empty(since)
            with store.read(scope.collection.collection_id) as reader:
                control = reader.control
                state = FeedState(store.store_id.raw, control.sequence, control.tombstone_floor)
                token = changes.begin(state, since, feed)
                return _page(state, token, since, reader.feed(since, limit, include))

    def _read_metadata(
        self, tenant_id: TenantId, since: int, feed: str | None, limit: int
    ) -> ChangePage[MetadataChange]:
        with self._metadata.snapshot() as tx:
            tx.tenants.get(tenant_id)
            state = tx.feed.state(tenant_id)
            if state is None:
                raise NotFound("tenant", tenant_id)
            token = changes.begin(state, since, feed)
            return _page(state, token, since, tx.feed.read(tenant_id, since, limit))


def check_wait(value: object) -> float:
    """How long to wait, in seconds. Raises InvalidArgument(`wait_seconds`)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise InvalidArgument("wait_seconds", "must be a number of seconds")
    if not 0 <= value <= MAX_WAIT_SECONDS:
        raise InvalidArgument("wait_seconds", f"must be from 0 to {MAX_WAIT_SECONDS}")
    return float(value)


def _check(since: object, feed: object, limit: object) -> None:
    check_integer(since, "since")
    if feed is not None:
        changes.check_token(feed)
    check_integer(limit, "limit", 1, MAX_PAGE_LIMIT)


def _several(include: object) -> AbstractCollection[object]:
    if isinstance(include, str) or not isinstance(include, AbstractCollection):
        raise InvalidArgument("include", "must be a list of parts")
    return include


def _empty(since: int) -> ChangePage[DocumentChange]:
    """The feed of a collection whose tenant never wrote a document."""
    if since:
        raise changes.lost(since)
    return ChangePage(changes=[], next_since=0, feed=None, more=False, tombstone_floor=0)


def _page(state: FeedState, token: str, since: int, found: FeedSlice[ChangeT]) -> ChangePage[ChangeT]:
    return ChangePage(
        changes=found.changes,
        next_since=max(since, state.sequence) if found.last is None else found.last,
        feed=token,
        more=found.last is not None,
        tombstone_floor=state.tombstone_floor,
    )
