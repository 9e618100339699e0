"""In-memory vectors of one collection, updated incrementally from its rows."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from akidb.domain.filters import Filter
from akidb.observe.right_of_way import give_way
from akidb.ports.documents import CollectionControl, DocumentReader, Row
from akidb.ports.limits import Deadline
from akidb.ports.search import Hit
from akidb.search.scoring import Floats, Query, candidates, exact_scores, prepare_rows, scan, squared_norms

ROW_OVERHEAD_BYTES = 250
"""Memory per row beside its vector: its id in a list and a dictionary, its key and its sequence."""
FILTERS_KEPT = 16
GATHER_BELOW = 0.2
"""If a filter matches a smaller share than this, only its rows are gathered and scanned."""
CHUNK_ROWS = 256
TRIM_BELOW = 4
"""If less than one in this many reserved rows is used, the rest is freed."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def row_bytes(dimension: int) -> int:
    """Return the bytes of a row in memory: its vector, the square of its norm, and overhead."""
    return 4 * dimension + 4 + ROW_OVERHEAD_BYTES


class Matrix:
    """Dense rows: a deleted row is replaced by the last one. Not thread-safe."""

    def __init__(self, control: CollectionControl) -> None:
        self.metric = control.metric
        self.sequence = 0
        self.count = 0
        self._rows: Floats = np.empty((0, control.dimension or 0), dtype=np.float32)
        self._squares: Floats = np.empty(0, dtype=np.float32)
        self._keys: list[int] = []
        self._sequences: list[int] = []
        self._ids: list[str] = []
        self._position: dict[str, int] = {}
        self.damaged: set[int] = set()
        """The keys of rows that are left out because they are damaged."""
        self._allowed: OrderedDict[Filter, NDArray[np.bool_]] = OrderedDict()

    @property
    def memory_bytes(self) -> int:
        """Bytes in memory; ids are estimated."""
        masks = sum(mask.nbytes for mask in self._allowed.values())
        return self._rows.nbytes + self._squares.nbytes + masks + self.count * ROW_OVERHEAD_BYTES

    def catch_up(self, documents: DocumentReader) -> bool:
        """Apply all changes up to the reader's sequence; return False if a deletion among them is damaged.

        An empty matrix needs no deletions.
        """
        control = documents.control
        if self.sequence >= control.sequence:
            return True
        if not self.count:
            self._reserve(control.document_count)
        for filter in [filter for filter in self._allowed if filter.has_patterns]:
            del self._allowed[filter]  # rows are compared with the others here, without a deadline
        changes = documents.changes(self.sequence, contents=bool(self._allowed))
        if changes.deletions_damaged and self.count:
            changes.rows.close()
            return False
        if self.count:
            for _sequence, id in changes.deleted:
                self._remove(id)
        with closing(changes.rows) as written:
            for rows in _chunks(written):
                self._put(rows)
                give_way()
        self.damaged.update(changes.damaged)
        self.sequence = control.sequence
        self._trim()
        return True

    def search(
        self,
        query: Query,
        top_k: int,
        filter: Filter | None,
        documents: DocumentReader,
        deadline: Deadline | None = None,
    ) -> tuple[list[Hit], int]:
        """Return the best rows, unordered and possibly more than `top_k`, and the number of matches."""
        rows, squares = self._rows[: self.count], self._squares[: self.count]
        if filter is None:
            chosen = candidates(*scan(rows, squares, query), top_k)
            return self._hits(chosen, query), self.count
        mask = self._mask(filter, documents, deadline)[: self.count]
        allowed = np.flatnonzero(mask)
        if len(allowed) < GATHER_BELOW * self.count:
            chosen = allowed[candidates(*scan(rows[allowed], squares[allowed], query), top_k)]
        else:
            approximate, slack = scan(rows, squares, query)
            approximate[~mask] = -np.inf
            chosen = candidates(approximate, slack, min(top_k, len(allowed)))
            chosen = chosen[mask[chosen]]
        return self._hits(chosen, query), len(allowed)

    def _hits(self, chosen: NDArray[np.intp], query: Query) -> list[Hit]:
        if self.damaged:
            chosen = np.array([at for at in chosen if self._keys[at] not in self.damaged], dtype=np.intp)
        scores = exact_scores(self._rows[chosen], query)
        return [
            Hit(self._keys[at], self._sequences[at], self._ids[at], score)
            for at, score in zip(chosen.tolist(), scores, strict=True)
        ]

    def _mask(
        self, filter: Filter, documents: DocumentReader, deadline: Deadline | None
    ) -> NDArray[np.bool_]:
        """Return the mask of the rows that match the filter; cached."""
        mask = self._allowed.get(filter)
        if mask is None:
            mask = np.zeros(len(self._rows), dtype=np.bool_)
            changes = documents.changes(0, contents=True)
            with closing(changes.rows) as rows:
                for row in rows:
                    if deadline is not None:
                        deadline.check()
                    mask[self._position[row.id]] = filter.matches(row.id, row.text, _decode(row.metadata))
            self.damaged.update(changes.damaged)
            self._allowed[filter] = mask
            if len(self._allowed) > FILTERS_KEPT:
                self._allowed.popitem(last=False)
        self._allowed.move_to_end(filter)
        return mask

    def _reserve(self, capacity: int) -> None:
        if capacity <= len(self._rows):
            return
        added = capacity - len(self._rows)
        self._rows = np.concatenate([self._rows, np.empty((added, self._rows.shape[1]), np.float32)])
        self._squares = np.concatenate([self._squares, np.empty(added, np.float32)])
        for filter, mask in self._allowed.items():
            self._allowed[filter] = np.concatenate([mask, np.zeros(added, np.bool_)])

    def _trim(self) -> None:
        """Free the memory of deleted rows."""
        if self.count * TRIM_BELOW >= len(self._rows):
            return
        self._rows, self._squares = self._rows[: self.count].copy(), self._squares[: self.count].copy()
        for filter, mask in self._allowed.items():
            self._allowed[filter] = mask[: self.count].copy()

    def _put(self, rows: list[Row]) -> None:
        if self.count + len(rows) > len(self._rows):
            self._reserve(max(self.count + len(rows), len(self._rows) * 3 // 2))
        prepared = prepare_rows(as_matrix(rows), self.metric)
        places = [self._place(row) for row in rows]
        self._rows[places] = prepared
        self._squares[places] = squared_norms(prepared)
        for filter, mask in self._allowed.items():
            mask[places] = [filter.matches(r.id, r.text, _decode(r.metadata)) for r in rows]

    def _place(self, row: Row) -> int:
        """Return the position of a row, appending it if it is new."""
        at = self._position.get(row.id)
        if at is None:
            at = self._position[row.id] = self.count
            self.count += 1
            self._ids.append(row.id)
            self._keys.append(row.document_key)
            self._sequences.append(row.sequence)
        else:
            self._keys[at], self._sequences[at] = row.document_key, row.sequence
        return at

    def _remove(self, id: str) -> None:
        at = self._position.pop(id, None)
        if at is None:
            return
        last = self.count - 1
        if at != last:
            for column in (self._rows, self._squares, *self._allowed.values()):
                column[at] = column[last]
            self._ids[at] = self._ids[last]
            self._keys[at], self._sequences[at] = self._keys[last], self._sequences[last]
            self._position[self._ids[at]] = at
        del self._ids[last], self._keys[last], self._sequences[last]
        self.count = last


def search_rows(
    documents: DocumentReader,
    query: Query,
    top_k: int,
    filter: Filter | None,
    deadline: Deadline | None = None,
) -> tuple[list[Hit], int, int]:
    """Return the same result without caching, and the number of damaged rows: reads every row, in chunks."""
    best: list[Hit] = []
    allowed = 0
    changes = documents.changes(0, contents=filter is not None)
    with closing(changes.rows) as rows:
        for chunk in _chunks(rows if filter is None else _matching(rows, filter, deadline)):
            allowed += len(chunk)
            scores = exact_scores(prepare_rows(as_matrix(chunk), query.metric), query)
            best += [
                Hit(row.document_key, row.sequence, row.id, score)
                for row, score in zip(chunk, scores, strict=True)
            ]
            best = ordered(best)[:top_k]
    return best, allowed, len(changes.damaged)


def _matching(rows: Iterator[Row], filter: Filter, deadline: Deadline | None) -> Iterator[Row]:
    for row in rows:
        if deadline is not None:
            deadline.check()
        if filter.matches(row.id, row.text, _decode(row.metadata)):
            yield row


def ordered(hits: list[Hit]) -> list[Hit]:
    """Sort by descending score, then by id."""
    return sorted(hits, key=lambda hit: (-hit.score, hit.id))


def as_matrix(rows: list[Row]) -> Floats:
    """Return the vectors of rows, shape `(n, dimension)`."""
    joined = np.frombuffer(b"".join([row.vector for row in rows]), dtype="<f4")
    return joined.reshape(len(rows), -1)


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(islice(rows, CHUNK_ROWS)):
        yield chunk
