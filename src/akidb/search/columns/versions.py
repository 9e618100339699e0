"""The rows of a collection beside their columns: one for each version of a document, until compaction."""

from collections.abc import Sequence
from sys import getsizeof
from typing import Final

import numpy as np
from numpy.typing import NDArray

from akidb.ports.documents import Row
from akidb.search.columns.growing import GrowingColumns
from akidb.search.columns.masks import Masks

Numbers = NDArray[np.int64]

ALIVE: Final = np.iinfo(np.int64).max
"""The end of a row that was neither replaced nor deleted."""
MASKS_SHARE: Final = 32
"""Bytes for each row, of the masks that are kept."""
MASKS_LEAST: Final = 64 * 1024
"""Bytes of the masks that are kept at least."""


class Versions:
    """Rows by position, in the order of their sequences. For one writer; readers know how many they see.

    A row ends when it is replaced or deleted. The end of a row is later than all states that were read
    before, so to them it is alive as it was.
    """

    def __init__(self, columns: GrowingColumns) -> None:
        self.count = 0
        self.dead = 0
        self.last_end = 0
        """The last sequence at which a row ended."""
        self._keys: Numbers = np.empty(0, np.int64)
        self._sequences: Numbers = np.empty(0, np.int64)
        self._ends: Numbers = np.empty(0, np.int64)
        self.ids: list[str] = []
        self._position: dict[str, int] = {}
        self._bytes_of_ids = 0
        self.columns = columns
        self.masks = Masks()

    @property
    def memory_bytes(self) -> int:
        """Bytes in memory."""
        return (
            24 * len(self._keys)
            + getsizeof(self._position)
            + getsizeof(self.ids)
            + self._bytes_of_ids
            + 32 * len(self._position)
            + self.columns.memory_bytes
            + self.masks.memory_bytes
        )

    @property
    def masks_limit(self) -> int:
        """The bytes that kept masks may take."""
        return max(MASKS_LEAST, MASKS_SHARE * self.count)

    def arrays(self) -> tuple[Numbers, Numbers, Numbers]:
        """Return the keys, sequences and ends of all rows."""
        count = self.count
        return self._keys[:count], self._sequences[:count], self._ends[:count]

    def reserve(self, capacity: int) -> None:
        """Make room for so many rows in all."""
        added = capacity - len(self._keys)
        if added > 0:
            more = np.empty(added, np.int64)
            self._keys = np.concatenate([self._keys, more])
            self._sequences = np.concatenate([self._sequences, more])
            self._ends = np.concatenate([self._ends, more])

    def append(self, rows: Sequence[Row]) -> None:
        """Append rows, each in place of an earlier one with its id."""
        start, end = self.count, self.count + len(rows)
        if end > len(self._keys):
            self.reserve(max(end, len(self._keys) * 5 // 4))
        self.columns.append((row.text, row.metadata) for row in rows)
        self._keys[start:end] = [row.document_key for row in rows]
        self._sequences[start:end] = [row.sequence for row in rows]
        self._ends[start:end] = ALIVE
        for at, row in enumerate(rows, start):
            self.end(row.id, row.sequence)
            self._position[row.id] = at
            self.ids.append(row.id)
            self._bytes_of_ids += getsizeof(row.id)
        self.count = end

    def end(self, id: str, sequence: int) -> None:
        """Note at which sequence a document's row ended, if it has one."""
        at = self._position.pop(id, None)
        if at is not None:
            self._ends[at] = sequence
            self.dead += 1
            self.last_end = max(self.last_end, sequence)

    def end_keys(self, document_keys: Sequence[int], sequence: int) -> None:
        """Note that the rows with these keys ended."""
        found = np.flatnonzero(np.isin(self._keys[: self.count], document_keys))
        for at in found.tolist():
            if self._position.get(self.ids[at]) == at:
                self.end(self.ids[at], sequence)

    def has(self, document_key: int) -> bool:
        """Return whether there is a row alive with this key."""
        found = np.flatnonzero(self._keys[: self.count] == document_key)
        return bool(np.any(self._ends[found] == ALIVE))

    def compacted(self) -> "Versions":
        """Return the rows alone that are alive."""
        rows = np.flatnonzero(self._ends[: self.count] == ALIVE)
        made = Versions(self.columns.only(rows))
        made._keys, made._sequences, made._ends = (array[rows] for array in self.arrays())
        made.ids = [self.ids[at] for at in rows.tolist()]
        made._position = {id: at for at, id in enumerate(made.ids)}
        made._bytes_of_ids = sum(map(getsizeof, made.ids))
        made.masks = self.masks.only(rows)
        made.count = len(rows)
        made.last_end = self.last_end
        return made
