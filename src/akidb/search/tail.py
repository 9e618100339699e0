"""Vectors of a collection in memory that a search scans: append-only, so that searches need no lock."""

from collections.abc import Sequence
from sys import getsizeof
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from akidb.domain.entities import Metric
from akidb.ports.documents import Row
from akidb.search.filters import Mask
from akidb.search.scoring import Floats, Query, candidates, exact_scores, prepare_rows, scan, squared_norms

COMPACT_FROM = 64
"""Dead rows from which a tail is compacted, if they are more than the others."""
TRIM_BELOW = 4
"""If less than one in this many reserved rows is used, the rest is freed."""
GATHER_BELOW = 0.2
"""If a smaller share of the rows is allowed than this, only these are gathered and scanned."""
SCORED_DIRECTLY = 64
"""So few rows are scored exactly at once: selecting candidates first would take longer."""

Positions = NDArray[np.intp]


class View(NamedTuple):
    """What a search sees of a tail. It does not change: later rows have later positions."""

    rows: Floats
    """Prepared for scoring; shape `(size, dimension)`."""
    squares: Floats
    keys: NDArray[np.int64]
    sequences: NDArray[np.int64]
    ids: list[str]
    """Of at least so many documents."""
    alive: Mask | None
    """The rows that were neither replaced nor deleted; None for all of them."""
    alive_count: int

    @property
    def size(self) -> int:
        """The number of rows, with those that are not alive."""
        return len(self.rows)

    def best(self, query: Query, top_k: int, allowed: Mask | None) -> tuple[Positions, list[float]]:
        """Return the positions of the best rows, unordered and maybe more than `top_k`, and their scores."""
        chosen = self._chosen(query, top_k, allowed)
        return chosen, exact_scores(self.rows if len(chosen) == self.size else self.rows[chosen], query)

    def _chosen(self, query: Query, top_k: int, allowed: Mask | None) -> Positions:
        if allowed is None:
            if self.size <= SCORED_DIRECTLY or self.size <= top_k:
                return np.arange(self.size)
            return candidates(*scan(self.rows, self.squares, query), top_k)
        among = np.flatnonzero(allowed)
        if len(among) <= top_k:
            return among
        if len(among) < GATHER_BELOW * self.size:
            return among[candidates(*scan(self.rows[among], self.squares[among], query), top_k)]
        approximate, slack = scan(self.rows, self.squares, query)
        approximate[~allowed] = -np.inf
        return candidates(approximate, slack, top_k)


class Current(NamedTuple):
    """The rows that are alive."""

    positions: Positions
    sequences: NDArray[np.int64]


class Tail:
    """Rows by position. A replaced or deleted row is marked dead, and left out when the tail is compacted.

    One thread at a time may change it; a search uses the `View` that was published last.
    """

    def __init__(self, dimension: int, metric: Metric, capacity: int = 0) -> None:
        self._metric = metric
        self._count = 0
        self._alive_count = 0
        self._rows: Floats = np.empty((capacity, dimension), dtype=np.float32)
        self._squares: Floats = np.empty(capacity, dtype=np.float32)
        self._keys = np.empty(capacity, dtype=np.int64)
        self._sequences = np.empty(capacity, dtype=np.int64)
        self._alive = np.ones(capacity, dtype=np.bool_)
        self._is_published = False
        """Whether a view has the array of what is alive, so that it must not be changed."""
        self._ids: list[str] = []
        self._position: dict[str, int] = {}
        self._bytes_of_ids = 0

    @property
    def memory_bytes(self) -> int:
        """Bytes in memory."""
        arrays = (self._rows, self._squares, self._keys, self._sequences, self._alive)
        return (
            sum(array.nbytes for array in arrays)
            + getsizeof(self._position)
            + getsizeof(self._ids)
            + self._bytes_of_ids
            + 32 * len(self._ids)
        )

    def reserve(self, capacity: int) -> None:
        """Make room for so many rows in all."""
        added = capacity - len(self._rows)
        if added <= 0:
            return
        self._rows = np.concatenate([self._rows, np.empty((added, self._rows.shape[1]), np.float32)])
        self._squares = np.concatenate([self._squares, np.empty(added, np.float32)])
        self._keys = np.concatenate([self._keys, np.empty(added, np.int64)])
        self._sequences = np.concatenate([self._sequences, np.empty(added, np.int64)])
        self._alive = np.concatenate([self._alive, np.ones(added, np.bool_)])
        self._is_published = False

    def put(self, rows: Sequence[Row]) -> None:
        """Append rows, each in place of an earlier one with its id; those without a vector only remove it."""
        if not all(row.vector for row in rows):
            for row in rows:
                if not row.vector:
                    self.remove(row.id)
            rows = [row for row in rows if row.vector]
            if not rows:
                return
        start, end = self._count, self._count + len(rows)
        if end > len(self._rows):
            self.reserve(max(end, len(self._rows) * 3 // 2))
        prepared = prepare_rows(as_matrix(rows), self._metric)
        self._rows[start:end] = prepared
        self._squares[start:end] = squared_norms(prepared)
        self._keys[start:end] = [row.document_key for row in rows]
        self._sequences[start:end] = [row.sequence for row in rows]
        for at, row in enumerate(rows, start):
            self.remove(row.id)
            self._position[row.id] = at
            self._ids.append(row.id)
            self._bytes_of_ids += getsizeof(row.id)
        self._count = end
        self._alive_count += len(rows)

    def remove(self, id: str) -> None:
        """Mark a document's row as dead, if it has one."""
        at = self._position.pop(id, None)
        if at is None:
            return
        if self._is_published:
            self._alive = self._alive.copy()
            self._is_published = False
        self._alive[at] = False
        self._alive_count -= 1

    def remove_keys(self, document_keys: Sequence[int]) -> None:
        """Mark the rows with these keys as dead."""
        if document_keys:
            for at in np.flatnonzero(np.isin(self._keys[: self._count], document_keys)).tolist():
                if self._position.get(self._ids[at]) == at:
                    self.remove(self._ids[at])

    def position_of(self, id: str) -> int | None:
        """Return the position of a document's current row, if it has one."""
        return self._position.get(id)

    def view(self) -> View:
        """Return the current state for searches."""
        dead = self._count - self._alive_count
        if dead >= COMPACT_FROM and dead > self._alive_count:
            self._compact()
        elif self._count * TRIM_BELOW < len(self._rows):
            self._take(slice(0, self._count))
        count = self._count
        alive = None
        if self._alive_count < count:
            alive, self._is_published = self._alive[:count], True
        return View(
            self._rows[:count],
            self._squares[:count],
            self._keys[:count],
            self._sequences[:count],
            self._ids,
            alive,
            self._alive_count,
        )

    def current(self) -> Current:
        """Return the rows that are alive."""
        positions = np.flatnonzero(self._alive[: self._count])
        return Current(positions, self._sequences[positions])

    def _compact(self) -> None:
        self.keep(np.flatnonzero(self._alive[: self._count]))

    def keep(self, kept: Positions) -> None:
        """Leave out all other rows, in new arrays and lists: views keep theirs. These must be alive."""
        self._ids = [self._ids[at] for at in kept.tolist()]
        self._bytes_of_ids = sum(map(getsizeof, self._ids))
        self._position = {id: at for at, id in enumerate(self._ids)}
        self._take(kept)
        self._count = self._alive_count = len(kept)
        self._alive = np.ones(len(kept), np.bool_)
        self._is_published = False

    def _take(self, kept: Positions | slice) -> None:
        self._rows, self._squares = self._rows[kept].copy(), self._squares[kept].copy()
        self._keys, self._sequences = self._keys[kept].copy(), self._sequences[kept].copy()
        self._alive = self._alive[kept].copy()
        self._is_published = False


def as_matrix(rows: Sequence[Row]) -> Floats:
    """Return the vectors of rows, shape `(n, dimension)`."""
    joined = np.frombuffer(b"".join([row.vector for row in rows]), dtype="<f4")
    return joined.reshape(len(rows), -1)
