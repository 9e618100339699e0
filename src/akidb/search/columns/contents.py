"""Reads the rows that columns must know by their contents, from a reader's snapshot."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from akidb.ports.documents import DocumentReader
from akidb.search.columns.matching import State

FETCHED_ROWS: Final = 32
"""Rows with contents, of up to 2 MiB each, that are read at a time."""


class Behind(Exception):
    """The reader was pinned to a later state than the columns have."""


class Contents:
    """`akidb.search.columns.Documents` of the rows from a position on."""

    def __init__(self, state: State, documents: DocumentReader, start: int = 0) -> None:
        self._state = state
        self._documents = documents
        self._start = start
        ids = state.versions.ids
        self.ids: Sequence[str] = ids[start : state.size] if start else ids
        self.unread: list[NDArray[np.intp]] = []
        """Positions of rows that were asked for, and are not in the reader's snapshot."""
        self.damaged = 0
        """The number of rows that are damaged there."""

    def contents(self, positions: NDArray[np.intp]) -> Iterator[tuple[str | None, str] | None]:
        """Yield text and metadata; None for a row that cannot be read."""
        state, documents = self._state, self._documents
        documents.pin()
        seen = documents.control.sequence
        if seen > state.sequence:
            raise Behind
        for first in range(0, len(positions), FETCHED_ROWS):
            at = positions[first : first + FETCHED_ROWS] + self._start
            is_there = (state.sequences[at] <= seen) & (state.ends[at] > seen)
            if not is_there.all():
                self.unread.append(at[~is_there])
            wanted = state.keys[at[is_there]].tolist()
            found = documents.contents(wanted)
            self.damaged += len(wanted) - len(found)
            for key, has_row in zip(state.keys[at].tolist(), is_there.tolist(), strict=True):
                yield found.get(key) if has_row else None
