"""Columns of a part that does not change: packed into one array, which may be mapped from a file."""

from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from akidb.search.columns.entries import Entries
from akidb.search.columns.evaluation import Column
from akidb.search.columns.growing import GrowingColumns, loose_positions
from akidb.search.columns.reading import Columns
from akidb.search.columns.tables import GrowingTable, Numbers, StoredTable, Strings
from akidb.search.columns.values import FIRST

_ALIGNMENT: Final = 8
_Place: TypeAlias = tuple[str, int, int]
"""Type, offset in bytes and length of an array."""


class _StoredColumn(msgspec.Struct, array_like=True, frozen=True):
    bits: _Place
    is_float: _Place
    offsets: _Place
    blob: _Place
    codes: _Place
    positions: _Place | None


class _Header(msgspec.Struct, array_like=True, frozen=True):
    count: int
    columns: dict[str, _StoredColumn]
    rare_sums: _Place
    rare_positions: _Place
    wide: _Place


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(_Header)


class _Packer:
    """Lays arrays one after the other."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._length = 0

    def put(self, array: NDArray[Any]) -> _Place:
        body = array.tobytes()
        place = (array.dtype.str, self._length, len(array))
        padding = -len(body) % _ALIGNMENT
        self._parts += [body, bytes(padding)]
        self._length += len(body) + padding
        return place

    def body(self) -> NDArray[np.uint8]:
        return np.frombuffer(b"".join(self._parts), dtype=np.uint8)


class StoredColumns(Columns):
    """Read-only columns, from what `pack` returned."""

    def __init__(self, header: bytes, body: NDArray[np.uint8]) -> None:
        """Read the header alone. `body` begins at an address divisible by 8. Raises a MsgspecError."""
        self._header = _decoder.decode(header)
        self._header_bytes = len(header)
        self._body = body

    @property
    def count(self) -> int:
        """The number of rows."""
        return self._header.count

    @property
    def memory_bytes(self) -> int:
        """Bytes of the arrays, and about those of the header."""
        return self._body.nbytes + 4 * self._header_bytes

    def column(self, field: str) -> Column:
        header = self._header
        stored = header.columns.get(field)
        found = None
        if stored is not None:
            numbers = Numbers(self._array(stored.bits), self._array(stored.is_float))
            strings = Strings(self._array(stored.offsets), self._array(stored.blob))
            positions = None if stored.positions is None else self._array(stored.positions)
            found = StoredTable(numbers, strings), Entries(self._array(stored.codes), positions)
        rare = self._array(header.rare_sums), self._array(header.rare_positions)
        entries = None if found is None else found[1]
        return Column.of(found, loose_positions(field, *rare, self._array(header.wide), entries))

    def _array(self, place: _Place) -> NDArray[Any]:
        kind, offset, length = place
        dtype = np.dtype(kind)
        return self._body[offset : offset + length * dtype.itemsize].view(dtype)


def pack(columns: GrowingColumns) -> tuple[bytes, NDArray[np.uint8]]:
    """Return a header, and an array of bytes; no row may be appended meanwhile."""
    packer = _Packer()
    stored = {}
    for name, (table, entries) in columns.parts().items():
        stored[name] = _packed(packer, table, entries.packed(columns.count))
    sums, positions, wide = columns.noted()
    header = _Header(columns.count, stored, packer.put(sums), packer.put(positions), packer.put(wide))
    return _encode(header), packer.body()


def _packed(packer: _Packer, table: GrowingTable, entries: Entries) -> _StoredColumn:
    values = table.values
    texts = sorted(value for value in values if isinstance(value, str))
    numbers = sorted(value for value in values if not isinstance(value, str))
    places = {value: number for number, value in enumerate([*numbers, *texts], FIRST)}
    renumbered = np.arange(len(table), dtype=np.uint32)
    renumbered[FIRST:] = [places[value] for value in values]
    codes = renumbered[entries.codes >> 1] * 2 + (entries.codes & 1)
    packed_numbers, strings = Numbers.of(numbers), Strings.of(texts)
    return _StoredColumn(
        packer.put(packed_numbers.bits),
        packer.put(packed_numbers.is_float),
        packer.put(strings.offsets),
        packer.put(strings.blob),
        packer.put(codes.astype(entries.codes.dtype)),
        None if entries.positions is None else packer.put(entries.positions),
    )
