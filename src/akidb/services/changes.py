"""Change feeds: read the changes since a sequence number, and wait for new ones.

Writers of this process wake the waiting readers of their tenant; changes by other processes are found by
polling. A waiting reader is not counted as a running operation: closing does not wait for it.
"""

import threading
import time
from collections.abc import Callable, Iterator
from collections.abc import Collection as AbstractCollection
from contextlib import contextmanager
from typing import Generic, TypeVar

from akidb.domain import changes
from akidb.domain.changes import ChangePage, DocumentChange, FeedSlice, FeedState, MetadataChange
from akidb.domain.entities import Scope
from akidb.domain.errors import NotFound
from akidb.domain.ids import TenantId
from akidb.domain.lifecycle import Access
from akidb.observe.interrupts import Deferred, Interruptible
from akidb.operations import changes as ask
from akidb.ports.metadata import MetadataStore
from akidb.services.admission import Admission
from akidb.services.answer_limits import AnswerLimits
from akidb.services.dispatch import handles, on_collection
from akidb.services.retries import read_again
from akidb.services.scope_cache import tenant_for
from akidb.services.signals import Signals
from akidb.services.store_access import StoreAccess

TICK_SECONDS = 0.5
"""How soon a waiting reader notices that the process is closing."""
UNWOKEN_SECONDS = 5.0
"""Poll interval of a waiting reader when every writer sends notifications."""

ChangeT = TypeVar("ChangeT")


class Watch(Generic[ChangeT]):
    """A reader at one position of a feed. `look` may be called repeatedly."""

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
        """The admission that each `look` enters."""
        return self._service.admission

    def look(self) -> ChangePage[ChangeT]:
        """Return the changes up to now."""
        with Deferred(), self.admission:
            return read_again(self._read, "tenant")

    @contextmanager
    def listening(self, wake: Callable[[], None]) -> Iterator[None]:
        """Call `wake` after each change, while the block runs."""
        with self._service.signals.listening(self._tenant_id, wake):
            yield

    def wait(self, seconds: float) -> ChangePage[ChangeT]:
        """Wait for a change or the timeout. Raises Unavailable when the process closes."""
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
            with Interruptible():
                if woken.wait(min(left, TICK_SECONDS)):
                    return
            with self.admission:  # raises when the process closes
                pass


class ChangeService:
    """Implements `akidb.operations.changes`."""

    def __init__(
        self,
        *,
        admission: Admission,
        metadata: MetadataStore,
        stores: StoreAccess,
        signals: Signals,
        limits: AnswerLimits,
    ) -> None:
        self._limits = limits
        self.admission = admission
        self.signals = signals
        # Writes by other processes to a shared database do not notify this process: poll.
        self.unwoken_seconds = TICK_SECONDS if metadata.generation is None else UNWOKEN_SECONDS
        self._metadata = metadata
        self._stores = stores

    @on_collection(ask.GetCollectionChanges)
    def of_collection(self, scope: Scope, asked: ask.GetCollectionChanges) -> Watch[DocumentChange]:
        parts = asked.include
        return Watch(
            self,
            scope.tenant.tenant_id,
            lambda: self._read_collection(scope, asked.since, asked.feed, asked.limit, parts),
        )

    @handles(ask.GetTenantChanges)
    def of_tenant(self, asked: ask.GetTenantChanges) -> Watch[MetadataChange]:
        with self._metadata.read() as tx:
            tenant_id = tenant_for(tx, asked.tenant, Access.METADATA_READ).tenant_id
        return Watch(
            self, tenant_id, lambda: self._read_metadata(tenant_id, asked.since, asked.feed, asked.limit)
        )

    def _read_collection(
        self, scope: Scope, since: int, feed: str | None, limit: int, include: AbstractCollection[str]
    ) -> ChangePage[DocumentChange]:
        with self._stores.existing(scope.tenant.tenant_id) as store:
            if store is None:
                return _empty(since)
            with store.read(scope.collection.collection_id) as reader:
                control = reader.control
                state = FeedState(store.store_id.raw, control.sequence, control.tombstone_floor)
                token = changes.begin(state, since, feed)
                found = reader.feed(since, limit, include, most_bytes=self._limits.max_bytes)
                return _page(state, token, since, found)

    def _read_metadata(
        self, tenant_id: TenantId, since: int, feed: str | None, limit: int
    ) -> ChangePage[MetadataChange]:
        with self._metadata.snapshot() as tx:
            tx.tenants.get(tenant_id)
            state = tx.feed.state(tenant_id)
            if state is None:
                raise NotFound("tenant", tenant_id)
            token = changes.begin(state, since, feed)
            return _page(state, token, since, tx.feed.read(tenant_id, since, limit, self._limits.max_bytes))


def _empty(since: int) -> ChangePage[DocumentChange]:
    """Return the page of a tenant without a store."""
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
