"""The index of one collection: what of it is in memory, brought up to date from its rows."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from akidb.domain.filters import Filter
from akidb.observe.right_of_way import give_way, giving_way
from akidb.ports.documents import CollectionControl, DocumentReader, Row
from akidb.ports.limits import Deadline
from akidb.ports.search import Hit
from akidb.search.columns import GrowingColumns
from akidb.search.errors import TooLarge
from akidb.search.filters import Mask
from akidb.search.scoring import Query
from akidb.search.tail import Tail, View

CHUNK_ROWS = 256
_NOTHING: tuple[str | None, str] = (None, "{}")
"""Stands for the contents of a row that is not alive."""


class State(NamedTuple):
    """What searches see: all rows up to a sequence."""

    sequence: int
    view: View
    damaged: int
    """The number of documents left out because they are damaged."""


class Found(NamedTuple):
    """The best rows of a collection, best first."""

    hits: list[Hit]
    scanned: int
    allowed: int
    damaged: int


class LoadedCollection:
    """A collection in memory. Searches use the state that was published last, without a lock."""

    def __init__(self, control: CollectionControl) -> None:
        self.memory_bytes = 0
        """As last accounted."""
        self._lock = threading.Lock()
        self._dimension, self._metric = control.dimension or 0, control.metric
        self._reset()

    def _reset(self) -> None:
        self._tail = Tail(self._dimension, self._metric)
        self._damaged: set[int] = set()
        self.state = State(0, self._tail.view(), 0)

    @property
    def resident_bytes(self) -> int:
        """Bytes in memory now."""
        return self._tail.memory_bytes

    def catch_up(self, documents: DocumentReader, most_bytes: int) -> bool:
        """Apply the changes up to the reader's sequence; return whether the state was older.

        Raises TooLarge, and is empty then, if it would take more than `most_bytes`.
        """
        if self.state.sequence >= documents.control.sequence:
            return False
        documents.pin()
        control = documents.control
        with self._lock:
            sequence = self.state.sequence
            if sequence >= control.sequence:
                return True
            try:
                if sequence < control.tombstone_floor or self._damaged:
                    self._reset()  # older deletions are unknown, or a damaged row may be gone
                if not self._apply(documents, most_bytes):
                    self._reset()
                    self._apply(documents, most_bytes)
            except BaseException:
                self._reset()
                raise
            self._publish(control.sequence)
            return True

    def _publish(self, sequence: int) -> None:
        self.state = State(sequence, self._tail.view(), len(self._damaged))

    def _apply(self, documents: DocumentReader, most_bytes: int) -> bool:
        """Apply all changes; return False if a deletion among them is damaged.

        An empty index needs no deletions.
        """
        tail, sequence = self._tail, self.state.sequence
        if not sequence:
            tail.reserve(documents.control.document_count)
        changes = documents.changes(sequence, contents=tail.filters.columns is not None)
        if changes.deletions_damaged and sequence:
            changes.rows.close()
            return False
        if sequence:
            for _sequence, id in changes.deleted:
                tail.remove(id)
        with closing(changes.rows) as written:
            for rows in chunks(written):
                tail.put(rows)
                if tail.memory_bytes > most_bytes:
                    raise TooLarge(tail.memory_bytes)
                give_way()
        self._damaged.update(changes.damaged)
        return True

    def masked(
        self, filter: Filter, documents: DocumentReader, deadline: Deadline | None
    ) -> tuple[State, Mask | None]:
        """Return the state, and which of its rows match.

        None if that takes rows that the reader does not have: of another state, or all of them.
        """
        state = self.state
        view = state.view
        with suppress(Outdated):
            contents = _Contents(state, documents)
            return state, view.filters.mask(filter, view.size, contents, view.alive, deadline)
        return state, None

    def read_columns(self, documents: DocumentReader, deadline: Deadline | None) -> None:
        """Read the columns of all rows, unless they are known or the pinned reader has another state."""
        with self._lock:
            sequence, view, _ = self.state
            if view.filters.columns is not None or documents.control.sequence != sequence:
                return
            columns = GrowingColumns()
            read: list[tuple[str | None, str]] = []
            changes = documents.changes(0, contents=True)
            with closing(changes.rows) as rows:
                for row in giving_way(rows):
                    if deadline is not None:
                        deadline.check()
                    at = self._tail.position_of(row.id)
                    if at is not None:  # in the order of sequences, as positions are
                        read += [_NOTHING] * (at - columns.count - len(read))
                        read.append((row.text, row.metadata))
                    if len(read) >= CHUNK_ROWS:
                        columns.append(read)
                        read.clear()
            columns.append([*read, *[_NOTHING] * (view.size - columns.count - len(read))])
            view.filters.columns = columns
            self._damaged.update(changes.damaged)
            self._tail.remove_keys(changes.damaged)
            self._publish(sequence)


class Outdated(Exception):
    """The reader has another state than the index."""


class _Contents:
    """`akidb.search.columns.Documents` of a state."""

    def __init__(self, state: State, documents: DocumentReader) -> None:
        self._state = state
        self._documents = documents
        self.ids = state.view.ids

    def contents(self, positions: NDArray[np.intp]) -> Iterator[tuple[str | None, str] | None]:
        """Yield text and metadata. Raises Outdated."""
        self._documents.pin()
        if self._documents.control.sequence != self._state.sequence:
            raise Outdated
        for at in range(0, len(positions), CHUNK_ROWS):
            keys = self._state.view.keys[positions[at : at + CHUNK_ROWS]].tolist()
            found = self._documents.contents(keys)
            for key in keys:
                yield found.get(key)


def search(state: State, query: Query, top_k: int, mask: Mask | None) -> Found:
    """Return the best rows of a state, of those in the mask if there is one."""
    view = state.view
    allowed, allowed_count = view.alive, view.alive_count
    if mask is not None:
        allowed = mask if allowed is None else mask & allowed
        allowed_count = int(np.count_nonzero(allowed))
    positions, scores = view.best(query, top_k, allowed)
    ids, at = view.ids, positions.tolist()
    best = sorted(zip([-score for score in scores], [ids[each] for each in at], at, strict=True))[:top_k]
    chosen = [each for _score, _id, each in best]
    keys, sequences = view.keys[chosen].tolist(), view.sequences[chosen].tolist()
    hits = [
        Hit(key, sequence, id, -score)
        for key, sequence, (score, id, _at) in zip(keys, sequences, best, strict=True)
    ]
    return Found(hits, view.alive_count, allowed_count, state.damaged)


def chunks(rows: Iterator[Row]) -> Iterator[Sequence[Row]]:
    """Yield rows in lists."""
    while chunk := list(islice(rows, CHUNK_ROWS)):
        yield chunk
