"""Some rows of a column, with a table of only the values that they have: small work for few rows."""

import numpy as np
from numpy.typing import NDArray

from akidb.search.columns.entries import Codes, Entries
from akidb.search.columns.evaluation import Column
from akidb.search.columns.reading import Columns
from akidb.search.columns.tables import GrowingTable, Table, value_cost
from akidb.search.columns.values import FIRST


def renumbered(table: Table, codes: Codes) -> tuple[GrowingTable, Codes]:
    """Return a table of the values that these codes name, and the codes in it."""
    numbers = codes >> 1
    used = np.unique(numbers)
    used = used[used >= FIRST]
    own = GrowingTable()
    for number in used.tolist():
        value = table.value(number)
        own.add(value, value_cost(value))
    places = np.where(numbers < FIRST, numbers, FIRST + np.searchsorted(used, numbers))
    return own, (2 * places + (codes & 1)).astype(np.uint32)


def kept(entries: Entries, places: NDArray[np.int64]) -> Entries:
    """Return the entries of the rows that have a place, at that place; -1 for rows to be left out."""
    codes, positions = entries
    if positions is None:
        return Entries(codes[places[: len(codes)] >= 0])
    at = places[positions]
    there = at >= 0
    return Entries(codes[there], at[there].astype(np.uint32))


class Window(Columns):
    """The rows of other columns from a position on; they count from 0 here."""

    def __init__(self, columns: Columns, start: int, count: int) -> None:
        """Take how many rows there are, the earlier ones included."""
        self._columns = columns
        self._start, self._end = start, count

    @property
    def count(self) -> int:
        """The number of rows."""
        return self._end - self._start

    @property
    def memory_bytes(self) -> int:
        """Bytes in memory: none of its own."""
        return 0

    def column(self, field: str) -> Column:
        table, entries, loose = self._columns.column(field)
        codes, positions = entries.until(self._end)
        if positions is None:
            codes = codes[self._start :]
        else:
            first = int(np.searchsorted(positions, self._start))
            codes, positions = codes[first:], positions[first:] - np.uint32(self._start)
        own, codes = renumbered(table, codes)
        loose = loose[np.searchsorted(loose, self._start) :] - np.uint32(self._start)
        return Column(own, Entries(codes, positions), loose)
