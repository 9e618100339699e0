"""The index of one collection: segments and a tail in memory, brought up to date from its rows."""

import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from akidb.domain.filters import Filter
from akidb.observe.right_of_way import give_way
from akidb.ports.documents import CollectionControl, DocumentReader, Row
from akidb.ports.limits import Deadline
from akidb.search.columns.collection import CollectionColumns
from akidb.search.columns.matching import Matching
from akidb.search.errors import TooLarge
from akidb.search.filters import Mask
from akidb.search.opening import covers, discard, found_in, is_of_store, open_segments, parts_of
from akidb.search.parts import FILTERS_KEPT, Part, PartView
from akidb.search.segments.files import SegmentDamaged
from akidb.search.segments.header import Expected
from akidb.search.segments.segment import Segment
from akidb.search.tail import Tail, View

CHUNK_ROWS = 256
ATTEMPTS = 3
"""How often vectors and columns are compared, while other threads change them."""


class State(NamedTuple):
    """What searches see: all rows up to a sequence."""

    sequence: int
    view: View
    damaged: int
    """The number of documents left out because they are damaged."""
    parts: tuple[PartView, ...]
    masks: dict[Filter, Mask]
    """Which rows of the tail match recent filters."""

    def mask(self, filter: Filter, matching: Matching) -> Mask:
        """Return which rows of the tail match, and keep that."""
        if len(self.masks) >= FILTERS_KEPT:
            self.masks.clear()
        found = self.masks[filter] = matching.of(self.view.sequences)
        return found

    @property
    def alive_count(self) -> int:
        """The number of documents with a vector."""
        return self.view.alive_count + sum(part.alive_count for part in self.parts)


class Place(NamedTuple):
    """Where the segments of a collection are."""

    directory: Path
    expected: Expected


class LoadedCollection:
    """A collection in memory. Searches use the state that was published last, without a lock."""

    def __init__(
        self,
        control: CollectionControl,
        place: Place | None = None,
        measured: "Callable[[LoadedCollection], None] | None" = None,
    ) -> None:
        """Without a place there are no segments. `measured` accounts the memory that it takes."""
        self.collection_id = control.collection_id
        self._measured = measured
        self.memory_bytes = 0
        """As last accounted."""
        self.place = place
        self.is_retired = False
        """Whether it is no longer the index of its collection."""
        self.seal_after = 0.0
        """The time, of the monotonic clock, before which no segment is built: a build has failed."""
        self._lock = threading.Lock()
        self._dimension, self._metric = control.dimension or 0, control.metric
        self._segments: list[Segment] | None = None
        """Those on disk, once they are opened."""
        self._reset()

    def _reset(self) -> None:
        self._tail = Tail(self._dimension, self._metric)
        self._parts: list[Part] = []
        self._damaged: set[int] = set()
        self.state = State(0, self._tail.view(), 0, (), {})

    @property
    def resident_bytes(self) -> int:
        """Bytes in memory now."""
        return self._tail.memory_bytes + sum(part.memory_bytes for part in self._parts)

    def measure(self) -> None:
        """Account the memory that it takes now."""
        if self._measured is not None:
            self._measured(self)

    def catch_up(
        self, documents: DocumentReader, most_bytes: int, columns: CollectionColumns | None = None
    ) -> bool:
        """Apply the changes up to the reader's sequence; return whether the state was older.

        The columns of the collection, if they are loaded, are never behind what searches see.
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
            if columns is not None:
                with suppress(TooLarge):
                    columns.catch_up(documents, most_bytes, None)
            self._publish(control.sequence)
            return True

    def _publish(self, sequence: int) -> None:
        empty = [part for part in self._parts if not part.view().alive_count]
        if empty:
            self._parts = [part for part in self._parts if part not in empty]
            self._segments = [part.segment for part in self._parts]
            for part in empty:
                shutil.rmtree(part.segment.directory, ignore_errors=True)
        parts = tuple(part.view() for part in self._parts)
        self.state = State(sequence, self._tail.view(), len(self._damaged), parts, {})

    def _apply(self, documents: DocumentReader, most_bytes: int) -> bool:
        """Apply all changes; return False if a deletion among them is damaged.

        An empty index needs no deletions.
        """
        sequence = self.state.sequence
        since = sequence or self._open(documents, most_bytes)
        changes = documents.changes(since, contents=False)
        if changes.deletions_damaged and sequence:
            changes.rows.close()
            return False
        if sequence:
            self._remove([id for _sequence, id in changes.deleted])
        with closing(changes.rows) as written:
            for rows in chunks(written):
                self._put(rows, is_loading=not sequence)
                if self.resident_bytes > most_bytes:
                    raise TooLarge(self.resident_bytes)
                give_way()
        self._damaged.update(changes.damaged)
        return True

    def _open(self, documents: DocumentReader, most_bytes: int) -> int:
        """Take the segments into the empty index; return the sequence after which to read rows."""
        control = documents.control
        if self.place is not None and self._segments is None:
            self._segments = open_segments(self.place.directory, self.place.expected, control.sequence)
        if not self._segments:
            self._tail.reserve(control.document_count)
            return 0
        opened = parts_of(self._segments, documents.versions(), control.sequence)
        foreign = [part.segment for part in opened.parts if not is_of_store(part, documents)]
        if foreign:
            for segment in foreign:
                discard(
                    segment.directory, SegmentDamaged(segment.directory, "has writes that the store lost")
                )
            self._segments = [part.segment for part in opened.parts if part.segment not in foreign]
            return self._open(documents, most_bytes)
        self._parts = opened.parts
        self._segments = [part.segment for part in opened.parts]
        if self.resident_bytes > most_bytes:
            raise TooLarge(self.resident_bytes)
        return opened.since

    def _put(self, rows: Sequence[Row], *, is_loading: bool) -> None:
        if not is_loading:
            for part in self._parts:
                part.remove([row.id for row in rows])
        elif self._parts:
            sequences = np.array([row.sequence for row in rows])
            covered = np.zeros(len(rows), dtype=np.bool_)
            for part in self._parts:
                covered |= covers(part.segment, sequences)
            rows = [row for row, is_covered in zip(rows, covered.tolist(), strict=True) if not is_covered]
        self._tail.put(rows)

    def _remove(self, ids: list[str]) -> None:
        for id in ids:
            self._tail.remove(id)
        if ids:
            for part in self._parts:
                part.remove(ids)

    def install(self, segment: Segment, replaced: Sequence[Segment]) -> bool:
        """Use a new segment instead of those from which it was made, and of rows of the tail.

        Returns False, and changes nothing, if it does not have all that is current in those it replaces.
        """
        with self._lock:
            kept = [part for part in self._parts if part.segment not in replaced]
            old = [part.view() for part in self._parts if part.segment in replaced]
            tail = self._tail.current()
            current = [view.segment.sequences[view.alive] for view in old]
            wanted = np.sort(np.concatenate([tail.sequences, *current]))
            alive = found_in(wanted, segment.sequences)[1]
            own = np.sort(segment.sequences[alive])
            if any(not found_in(own, each)[1].all() for each in current):
                return False
            self._tail.keep(tail.positions[~found_in(own, tail.sequences)[1]])
            self._parts = sorted([*kept, Part(segment, alive)], key=lambda part: part.segment.header.after)
            self._segments = [part.segment for part in self._parts]
            self._publish(self.state.sequence)
            return True

    def discard(self, error: SegmentDamaged) -> None:
        """Stop using a damaged segment; its documents are read again."""
        directory = error.path.parent
        with self._lock:
            kept = [each for each in self._segments or () if each.directory != directory]
            if len(kept) < len(self._segments or ()):  # not yet discarded by another thread
                self._segments = kept
                discard(directory, error)
                self._reset()

    def matching(
        self,
        columns: CollectionColumns,
        filter: Filter,
        documents: DocumentReader,
        most_bytes: int,
        deadline: Deadline | None,
    ) -> tuple[State, Matching] | None:
        """Return a state, and which of its rows match; None if other threads are always ahead of the reader.

        Raises OperationTimeout, and TooLarge.
        """
        for _ in range(ATTEMPTS):
            found = columns.matching(filter, documents, most_bytes, deadline)
            state = self.state
            if found.complete_from <= state.sequence <= found.sequence:
                return state, found
            self.catch_up(documents, most_bytes, columns)
        return None


def chunks(rows: Iterator[Row]) -> Iterator[Sequence[Row]]:
    """Yield rows in lists."""
    while chunk := list(islice(rows, CHUNK_ROWS)):
        yield chunk
