"""The columns of one collection, brought up to date from its rows: all documents, also without a vector."""

import threading
from contextlib import closing
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from akidb.domain.documents import Include
from akidb.domain.errors import OperationTimeout
from akidb.domain.filters import Filter
from akidb.observe.right_of_way import give_way
from akidb.ports.documents import Changes, DocumentReader
from akidb.ports.limits import Deadline
from akidb.search.columns.contents import FETCHED_ROWS, Behind, Contents
from akidb.search.columns.entries import Mask
from akidb.search.columns.excerpts import Window
from akidb.search.columns.growing import GrowingColumns, Limits
from akidb.search.columns.masks import KeptMask
from akidb.search.columns.matching import Matching, State
from akidb.search.columns.seen import Seen
from akidb.search.columns.versions import Versions
from akidb.search.errors import TooLarge

COMPACT_FROM: Final = 64
"""Dead rows from which they are left out, if they are more than the others."""
CHUNK_ROWS: Final = 256
WINDOW_SHARE: Final = 4
"""If fewer rows than one in so many are new, a mask is extended with a look at these alone."""
WAIT_SECONDS: Final = 0.05
"""Between two looks at the deadline while another thread catches up."""


class CollectionColumns:
    """The columns of a collection. Readers use the state that was published last, without a lock."""

    def __init__(self, limits: Limits = Limits()) -> None:  # noqa: B008 - it is immutable
        self.memory_bytes = 0
        """As last accounted."""
        self.is_retired = False
        """Whether it was evicted."""
        self._limits = limits
        self._lock = threading.Lock()
        self._damaged: set[int] = set()
        self._reset()

    def _reset(self) -> None:
        self._versions = Versions(GrowingColumns(self._limits))
        self._read = 0
        """The sequence up to which rows were read; later than that of the state if reading was stopped."""
        self._deleted = 0
        """The sequence up to which deletions are known."""
        self._damaged.clear()
        self._publish(0, 0)

    @property
    def resident_bytes(self) -> int:
        """Bytes in memory now."""
        return self._versions.memory_bytes

    def matching(
        self, filter: Filter, documents: DocumentReader, most_bytes: int, deadline: Deadline | None
    ) -> Matching:
        """Return which documents match, in the reader's state or a later one.

        First reads what was written since the last time. Raises OperationTimeout, after which the next call
        goes on where this one stopped, and TooLarge above `most_bytes`.
        """
        while True:
            state = self.catch_up(documents, most_bytes, deadline)
            found = _matching(state, filter, documents, most_bytes, deadline)
            if found is not None and (found.complete_from <= found.sequence or state is self.state):
                return found

    @property
    def masks_bytes(self) -> int:
        """Bytes of the masks that are kept."""
        return self._versions.masks.memory_bytes

    def seen(
        self, filter: Filter | None, documents: DocumentReader, most_bytes: int, deadline: Deadline | None
    ) -> Seen | None:
        """Return which documents match in exactly the reader's state, all without a filter.

        None if the columns do not know that state any more, or some document is damaged. Raises the errors of
        `matching`.
        """
        documents.pin()
        if filter is None:
            state = self.catch_up(documents, most_bytes, deadline)
            everything = np.ones(state.size, np.bool_)
            found = Matching(state, state.ends > state.sequence, everything, state.since)
        else:
            found = self.matching(filter, documents, most_bytes, deadline)
        sequence = documents.control.sequence
        if found.damaged or not found.complete_from <= sequence <= found.sequence:
            return None
        return Seen(found, sequence)

    def catch_up(self, documents: DocumentReader, most_bytes: int, deadline: Deadline | None) -> State:
        """Return a state that is not older than the reader's. Raises OperationTimeout, and TooLarge."""
        state = self.state
        if state.sequence >= documents.control.sequence:
            return state
        documents.pin()
        while not self._lock.acquire(timeout=WAIT_SECONDS):
            if deadline is not None:
                deadline.check()
        try:
            if self.state.sequence < documents.control.sequence:
                self._apply(documents, most_bytes, deadline)
        except OperationTimeout:
            raise
        except BaseException:
            self._reset()
            raise
        else:
            return self.state
        finally:
            self._lock.release()

    def _apply(self, documents: DocumentReader, most_bytes: int, deadline: Deadline | None) -> None:
        control = documents.control
        if self._deleted < control.tombstone_floor:
            self._reset()  # older deletions are unknown
        before = self.state.sequence
        was_stopped = self._read != before
        changes = documents.changes(self._read, contents=True, vectors=False)
        if changes.deletions_damaged and self._read:
            changes.rows.close()
            self._reset()
            before, was_stopped = 0, False
            changes = documents.changes(0, contents=True, vectors=False)
        seen = len(changes.deleted) + self._put(changes, control.sequence, most_bytes, deadline)
        if changes.damaged:
            self._versions.end_keys(changes.damaged, control.sequence)
        if self._damaged and not self._find_damaged(documents):
            self._reset()
            self._apply(documents, most_bytes, deadline)
            return
        self._damaged.update(changes.damaged)
        hides = was_stopped or not before or seen < control.sequence - before
        self._read = control.sequence
        since = control.sequence if hides else self.state.since
        versions = self._versions
        if versions.dead >= COMPACT_FROM and versions.dead > versions.count - versions.dead:
            since = max(since, versions.last_end)
            self._versions = versions.compacted()
        self._publish(control.sequence, since)

    def _put(self, changes: Changes, sequence: int, most_bytes: int, deadline: Deadline | None) -> int:
        """Apply changes up to a sequence; return how many rows were written."""
        versions = self._versions
        with closing(changes.rows) as rows:
            for deleted_at, id in changes.deleted:
                versions.end(id, deleted_at)
            self._deleted = sequence
            written = 0
            while some := list(islice(rows, CHUNK_ROWS)):
                versions.append(some)
                self._read = some[-1].sequence
                written += len(some)
                if versions.memory_bytes > most_bytes:
                    raise TooLarge(versions.memory_bytes)
                if deadline is not None:
                    deadline.check()
                give_way()
        return written

    def _find_damaged(self, documents: DocumentReader) -> bool:
        """Keep those known to be damaged that still are; return False if one was repaired unnoticed."""
        left = sorted(self._damaged)
        self._damaged.clear()
        for at in range(0, len(left), FETCHED_ROWS):
            found = documents.fetch(left[at : at + FETCHED_ROWS], (Include.TEXT, Include.VECTOR))
            for key, (_sequence, document) in found.items():
                if document is None:
                    self._damaged.add(key)
                elif not self._versions.has(key):
                    return False
        return True

    def _publish(self, sequence: int, since: int) -> None:
        versions = self._versions
        self.state = State(versions, sequence, *versions.arrays(), since, len(self._damaged))


def _matching(
    state: State, filter: Filter, documents: DocumentReader, most_bytes: int, deadline: Deadline | None
) -> Matching | None:
    """Return which rows of a state match; None if the reader was pinned to a later one."""
    versions, count = state.versions, state.size
    known = versions.masks.find(filter.canonical)
    if known is not None and known.sequence == state.sequence:
        return Matching(state, known.mask, known.content, max(state.since, known.since))
    content, since = (None, 0) if known is None else (known.content[:count], known.since)
    if content is None or len(content) < count:
        try:
            content, unread, damaged = _content(state, filter, content, documents, deadline)
        except Behind:
            return None
        state = state._replace(damaged=state.damaged + damaged)
        if len(unread):
            if (state.ends[unread] > state.sequence).any():
                return _earlier(state, content, unread, since, documents.control.sequence)
            since = max(since, int(state.ends[unread].max()))
        if damaged:
            return Matching(state, content & (state.ends > state.sequence), content, max(state.since, since))
    mask = content & (state.ends > state.sequence)
    free = most_bytes - versions.memory_bytes + versions.masks.memory_bytes
    kept = KeptMask(content, since, state.sequence, mask)
    versions.masks.keep(filter.canonical, kept, min(free, versions.masks_limit))
    return Matching(state, mask, content, max(state.since, since))


def _content(
    state: State, filter: Filter, known: Mask | None, documents: DocumentReader, deadline: Deadline | None
) -> tuple[Mask, NDArray[np.intp], int]:
    """Return which rows match, those of which it is not known, and how many of these are damaged."""
    count, start = state.size, 0 if known is None else len(known)
    columns = state.versions.columns
    if known is None:
        contents = Contents(state, documents, 0)
        content = columns.mask(filter, count, contents, deadline=deadline)
    elif (count - start) * WINDOW_SHARE < count:
        contents = Contents(state, documents, start)
        window = Window(columns, start, count)
        added = window.mask(filter, count - start, contents, deadline=deadline)
        content = np.concatenate([known, added])
    else:
        contents = Contents(state, documents, 0)
        among = np.arange(count) >= start
        content = columns.mask(filter, count, contents, among=among, deadline=deadline)
        content[:start] = known
    unread = np.concatenate(contents.unread) if contents.unread else np.empty(0, np.intp)
    return content, unread, contents.damaged


def _earlier(state: State, content: Mask, unread: NDArray[np.intp], since: int, sequence: int) -> Matching:
    """Return what matched at an earlier sequence, that of the reader."""
    count = int(np.searchsorted(state.sequences, sequence, side="right"))
    unread = unread[unread < count]
    complete_from = max(state.since, since, int(state.ends[unread].max(initial=0)))
    then = state._replace(
        sequence=sequence,
        keys=state.keys[:count],
        sequences=state.sequences[:count],
        ends=state.ends[:count],
    )
    return Matching(then, content[:count] & (then.ends > sequence), content[:count], complete_from)
