"""Columns of a part that grows: filled from each row's metadata, for all its fields at once."""

import sys
import threading
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray

from akidb.domain.field_values import as_value
from akidb.search.columns.entries import Entries, GrowingEntries, Positions
from akidb.search.columns.evaluation import Column
from akidb.search.columns.excerpts import kept, renumbered
from akidb.search.columns.paths import below
from akidb.search.columns.reading import TEXT_FIELD, Columns
from akidb.search.columns.tables import GrowingTable, value_cost
from akidb.search.columns.values import EMPTY, FALSE, NULL, OBJECT, TRUE, UNREAD


class Limits(NamedTuple):
    """What is kept in memory."""

    columns: int = 512
    """Fields with a column in the long run; there are at most twice as many."""
    name_characters: int = 512
    row_values: int = 256
    """Values of a row."""
    table_bytes: int = 2**20
    """Of the distinct values of all fields, beside `table_row_bytes` for each row."""
    table_row_bytes: int = 1024
    pending: int = 1024
    """Entries of a column that wait in a list before they are put into arrays."""


FREQUENT_ROWS: Final = 8
"""If there are many columns, a field gets one after this many rows."""
MAX_SEEN: Final = 4096
COLUMN_BYTES: Final = 1200
"""Of a column without rows, and its place in a dictionary."""
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class GrowingColumn:
    """A field's table, and its entries."""

    __slots__ = ("_entries", "codes", "positions", "table")

    def __init__(self, table: GrowingTable | None = None, entries: GrowingEntries | None = None) -> None:
        self.table = table or GrowingTable()
        self.positions: list[int] = []
        self.codes: list[int] = []
        """The newest entries, not yet in arrays."""
        self._entries = entries or GrowingEntries()

    @property
    def entries(self) -> Entries:
        """All entries; the newest are put into arrays."""
        if self.codes:
            self._entries.extend(self.positions, self.codes)
            self.positions.clear()
            self.codes.clear()
        return self._entries.entries

    @property
    def count(self) -> int:
        """The number of entries."""
        return self._entries.count + len(self.codes)

    @property
    def memory_bytes(self) -> int:
        """Bytes in memory."""
        lists = sys.getsizeof(self.positions) + sys.getsizeof(self.codes)
        return COLUMN_BYTES + self.table.memory_bytes + self._entries.nbytes + lists


class GrowingColumns(Columns):
    """Columns of documents that are appended. For one writer and many readers at a time.

    What is in few rows or takes too much memory is not kept: fields without a column, a row's values beyond
    `row_values`, values beyond the size of the tables. Such rows are noted: with a checksum of the field's
    name, or as wide (of which only the fields in columns are known). Their contents are read when needed.
    """

    def __init__(self, limits: Limits = Limits()) -> None:  # noqa: B008 - it is immutable
        self._limits = limits
        self._count = 0
        self._lock = threading.Lock()
        self._columns: dict[str, GrowingColumn] = {}
        self._table_bytes = 0
        self._name_bytes = 0
        self._seen: dict[int, int] = {}
        """Rows of fields without a column, by the checksum of their names."""
        self._rare_sums = array("I")
        self._rare_positions = array("I")
        self._wide = array("I")

    @property
    def count(self) -> int:
        """The number of rows; a reader takes it first."""
        return self._count

    @property
    def memory_bytes(self) -> int:
        """Bytes in memory."""
        with self._lock:
            noted = sum(map(sys.getsizeof, (self._seen, self._rare_sums, self._rare_positions, self._wide)))
            columns = sum(column.memory_bytes for column in self._columns.values())
            return columns + noted + self._name_bytes + sys.getsizeof(self._columns)

    def append(self, rows: Iterable[tuple[str | None, str]]) -> None:
        """Append documents: text, and metadata as JSON."""
        with self._lock:
            for text, stored in rows:
                self._append(text, _decode(stored))

    def _append(self, text: str | None, metadata: dict[str, Any]) -> None:
        position = self._count
        columns = self._columns
        if text is not None:
            self._put_code(TEXT_FIELD, position, 2 * UNREAD)
        room = self._limits.row_values
        structured = False
        for name, value in metadata.items():
            if name[:1] == "$":  # not a field of a filter
                structured = structured or type(value) in (dict, list)
                continue
            room -= 1
            if room < 0:
                self._wide.append(position)
                break
            column = columns.get(name)
            if column is None:
                column = self._new(name)
                if column is None:
                    self._note_rare(name, position)
                    structured = structured or type(value) in (dict, list)
                    continue
            kind = type(value)
            if kind is str or kind is int or kind is float:
                code = column.table.codes.get(value)
                if code is None:
                    code = self._code_of(column, value)
            elif kind is bool:
                code = 2 * TRUE if value else 2 * FALSE
            elif value is None:
                code = 2 * NULL
            elif kind is dict:
                structured = True
                code = 2 * OBJECT
            else:
                structured = structured or any(type(item) is dict for item in value)
                codes = self._codes_of(column, value, room)
                if codes is None:
                    self._note_rare(name, position)
                else:
                    room -= len(codes)
                    self._put_codes(column, position, codes)
                continue
            if code is None:
                self._note_rare(name, position)
                continue
            column.positions.append(position)
            column.codes.append(code)
            if len(column.codes) >= self._limits.pending:
                _ = column.entries
        else:
            if structured and not self._put_nested(position, metadata, room):
                self._wide.append(position)
        self._count += 1

    def _put_nested(self, position: int, metadata: Mapping[str, Any], room: int) -> bool:
        """Put the fields with paths of several keys; return False, having put none, if there is no room."""
        found = below(metadata, room)
        if found is None:
            return False
        for name, values in found.items():
            if name[0] == "$":
                continue
            column = self._columns.get(name) or self._new(name)
            codes = None if column is None else self._codes_of_all(column, values)
            if column is None or codes is None:
                self._note_rare(name, position)
            else:
                self._put_codes(column, position, codes)
        return True

    def _codes_of_all(self, column: GrowingColumn, values: list[Any]) -> set[int] | None:
        codes = set()
        for value in values:
            if type(value) is str or type(value) is int:
                code = column.table.codes.get(value) or self._code_of(column, value)
                if code is None:
                    return None
                codes.add(code)
            else:
                more = self._codes_of(column, value, self._limits.row_values)
                if more is None:
                    return None
                codes |= more
        return codes

    def _put_codes(self, column: GrowingColumn, position: int, codes: set[int]) -> None:
        if len(codes) == 1:
            column.positions.append(position)
            column.codes += codes
        else:
            column.positions += [position] * len(codes)
            column.codes += sorted(codes)  # `reading` finds there a value that comes twice
        if len(column.codes) >= self._limits.pending:
            _ = column.entries

    def _put_code(self, name: str, position: int, code: int) -> None:
        column = self._columns.get(name)
        if column is None:
            column = self._columns[name] = GrowingColumn()
        self._put_codes(column, position, {code})

    def _codes_of(self, column: GrowingColumn, value: object, room: int) -> set[int] | None:
        """Return the codes of a value; None if they would take too much memory."""
        kind = type(value)
        if kind is dict:
            return {2 * OBJECT}
        if kind is not list:
            code = self._scalar_code(column, value)
            return None if code is None else {code}
        items: Sequence[Any] = value  # type: ignore[assignment]
        if not items:
            return {2 * EMPTY}
        if len(items) > room:
            return None
        codes = set()
        for item in items:
            kind = type(item)
            if kind is str or kind is int:
                code = column.table.codes.get(item) or self._code_of(column, item)
            else:
                code = 2 * OBJECT if kind in (dict, list) else self._scalar_code(column, item)
            if code is None:
                return None
            codes.add(code + 1)
        return codes

    def _scalar_code(self, column: GrowingColumn, value: Any) -> int | None:
        if value is None:
            return 2 * NULL
        if type(value) is bool:
            return 2 * TRUE if value else 2 * FALSE
        return self._code_of(column, value)

    def _code_of(self, column: GrowingColumn, value: float | str) -> int | None:
        """Return the code of a number or a string, a new one if needed; None if the tables are full."""
        known = as_value(value)
        table = column.table
        code = table.codes.get(known)
        if code is not None:
            return code
        size = value_cost(known)
        if self._table_bytes + size > self._limits.table_bytes + self._limits.table_row_bytes * self._count:
            return None
        self._table_bytes += size
        return table.add(known, size)

    def _note_rare(self, name: str, position: int) -> None:
        # The sum goes last: a reader looks at as many positions as there are sums.
        self._rare_positions.append(position)
        self._rare_sums.append(crc32(name.encode()))

    def _new(self, name: str) -> GrowingColumn | None:
        if len(name) > self._limits.name_characters:
            return None
        if len(self._columns) >= self._limits.columns and not self._is_frequent(name):
            return None
        if len(self._columns) >= 2 * self._limits.columns:
            self._drop_small()
        column = self._columns[name] = GrowingColumn()
        self._name_bytes += sys.getsizeof(name)
        return column

    def _is_frequent(self, name: str) -> bool:
        """Return whether a field without a column comes again and again; it counts its rows."""
        if len(self._seen) >= MAX_SEEN:
            self._seen.clear()
        checksum = crc32(name.encode())
        seen = self._seen[checksum] = self._seen.get(checksum, 0) + 1
        return seen >= FREQUENT_ROWS

    def _drop_small(self) -> None:
        """Keep the columns with the most entries; of the others the rows are noted."""
        by_count = sorted(self._columns, key=lambda name: self._columns[name].count, reverse=True)
        for name in by_count[self._limits.columns :]:
            if name == TEXT_FIELD:
                continue
            column = self._columns[name]
            for position in column.entries.rows().tolist():
                self._note_rare(name, position)
            self._table_bytes -= column.table.cost
            self._name_bytes -= sys.getsizeof(name)
            del self._columns[name]

    def only(self, rows: NDArray[np.intp]) -> "GrowingColumns":
        """Return columns of these rows alone, in ascending order; no row may be appended meanwhile."""
        made = GrowingColumns(self._limits)
        made._count = len(rows)
        places = np.full(self._count, -1, dtype=np.int64)
        places[rows] = np.arange(len(rows))
        with self._lock:
            for name, column in self._columns.items():
                entries = kept(column.entries, places)
                if not np.any(entries.codes):
                    continue
                table, codes = renumbered(column.table, entries.codes)
                packed = Entries(codes, entries.positions).packed(len(rows))
                made._columns[name] = GrowingColumn(table, GrowingEntries.of(packed))
                made._table_bytes += table.cost
                made._name_bytes += sys.getsizeof(name)
            made._seen = dict(self._seen)
            sums, positions, wide = self._noted()
        there = places[positions] >= 0
        made._rare_sums = _as_array(sums[there])
        made._rare_positions = _as_array(places[positions[there]])
        made._wide = _as_array(places[wide[places[wide] >= 0]])
        return made

    def parts(self) -> dict[str, tuple[GrowingTable, Entries]]:
        """Return the table and the entries of each field that has a column."""
        with self._lock:
            return {name: (column.table, column.entries) for name, column in self._columns.items()}

    def noted(self) -> tuple[Positions, Positions, Positions]:
        """Return the rows to be read: checksums of names with the positions, and the wide ones."""
        with self._lock:
            return self._noted()

    def _noted(self) -> tuple[Positions, Positions, Positions]:
        arrays = self._rare_sums, self._rare_positions, self._wide
        sums, positions, wide = (np.array(one, dtype=np.uint32) for one in arrays)
        return sums, positions, wide

    def column(self, field: str) -> Column:
        with self._lock:
            column = self._columns.get(field)
            found = None if column is None else (column.table, column.entries)
            noted = self._noted()
        return Column.of(found, loose_positions(field, *noted, None if found is None else found[1]))


def _as_array(numbers: NDArray[np.integer[Any]]) -> "array[int]":
    return array("I", numbers.astype(np.uint32).tobytes())


def loose_positions(
    field: str, sums: Positions, positions: Positions, wide: Positions, entries: Entries | None
) -> Positions:
    """Return the rows of which only their contents tell the values of a field, sorted."""
    rare = positions[sums == crc32(field.encode())] if len(sums) else positions
    if not len(wide):
        return np.unique(rare)
    if entries is not None:
        if entries.positions is not None:
            wide = wide[~np.isin(wide, entries.positions)]
        else:
            inside = wide < len(entries.codes)
            known = np.zeros(len(wide), dtype=np.bool_)
            known[inside] = entries.codes[wide[inside]] != 0
            wide = wide[~known]
    return np.unique(np.concatenate([rare, wide]))
