"""FlatBuffers, in which Arrow writes the description of each message: tables, strings, vectors of both.

https://flatbuffers.dev/internals: a table begins with the distance back to its vtable, which has the place of
each field in it; offsets point forward.
"""

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import NamedTuple, Union

I16, I32, I64 = Struct("<h"), Struct("<i"), Struct("<q")
U8, U16, U32 = Struct("<B"), Struct("<H"), Struct("<I")
_PAIR = Struct("<qq")


class FaultyBufferError(ValueError):
    """Bytes that are not a flatbuffer of the expected kind."""


class Table:
    """A table in a buffer; absent fields have their default. Raises FaultyBufferError outside the buffer."""

    __slots__ = ("_at", "_data", "_fields", "_vtable")

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        self._vtable = at - _number(data, I32, at)
        self._fields = (_number(data, U16, self._vtable) - 4) // 2

    @classmethod
    def root(cls, data: bytes) -> "Table":
        """Return the outermost table."""
        return cls(data, _number(data, U32, 0))

    def number(self, field: int, kind: Struct, default: int = 0) -> int:
        """Return a number."""
        at = self._place(field)
        return default if at is None else _number(self._data, kind, at)

    def table(self, field: int) -> "Table | None":
        """Return a table."""
        at = self._target(field)
        return None if at is None else Table(self._data, at)

    def text(self, field: int) -> str:
        """Return a string."""
        start, length = self._vector(field, 1)
        try:
            return self._data[start : start + length].decode()
        except UnicodeDecodeError:
            raise FaultyBufferError("a name is not UTF-8") from None

    def tables(self, field: int, most: int) -> "list[Table]":
        """Return a vector of tables."""
        start, length = self._vector(field, U32.size)
        if length > most:
            raise FaultyBufferError(f"more than {most} entries")
        places = range(start, start + length * U32.size, U32.size)
        return [Table(self._data, at + _number(self._data, U32, at)) for at in places]

    def pairs(self, field: int, most: int) -> list[tuple[int, int]]:
        """Return a vector of structs, each of which is two 64-bit numbers."""
        start, length = self._vector(field, _PAIR.size)
        if length > most:
            raise FaultyBufferError(f"more than {most} entries")
        return list(_PAIR.iter_unpack(self._data[start : start + length * _PAIR.size]))

    def _vector(self, field: int, item_bytes: int) -> tuple[int, int]:
        at = self._target(field)
        if at is None:
            return 0, 0
        length = _number(self._data, U32, at)
        start = at + U32.size
        if start + length * item_bytes > len(self._data):
            raise FaultyBufferError("a vector ends outside the buffer")
        return start, length

    def _target(self, field: int) -> int | None:
        at = self._place(field)
        return None if at is None else at + _number(self._data, U32, at)

    def _place(self, field: int) -> int | None:
        if field >= self._fields:
            return None
        offset = _number(self._data, U16, self._vtable + 4 + 2 * field)
        return self._at + offset if offset else None


def _number(data: bytes, kind: Struct, at: int) -> int:
    if at < 0 or at + kind.size > len(data):
        raise FaultyBufferError("an offset points outside the buffer")
    found: int = kind.unpack_from(data, at)[0]
    return found


class Scalar(NamedTuple):
    """A number to write."""

    kind: Struct
    value: int


class Pairs(NamedTuple):
    """A vector of structs of two 64-bit numbers to write."""

    items: Sequence[tuple[int, int]]


Written = dict[int, Union[Scalar, Pairs, str, list["Written"], "Written"]]
"""A table to write: its fields by number."""


def write(table: Written) -> bytes:
    """Return a buffer with this table as its root, of a multiple of 8 bytes."""
    out = bytearray(U32.size)
    U32.pack_into(out, 0, _table(out, table))
    _align(out, 8)
    return bytes(out)


def _table(out: bytearray, fields: Written) -> int:
    """Append a table and what it refers to; return its place."""
    number = max(fields, default=-1) + 1
    _align(out, 2)
    vtable = len(out)
    out += bytes(4 + 2 * number)
    _align(out, 8)
    at, size = len(out), I32.size
    places: dict[int, int] = {}
    for field, value in fields.items():
        width = value.kind.size if isinstance(value, Scalar) else U32.size
        size += -size % width
        places[field] = size
        size += width
    out += bytes(size)
    U16.pack_into(out, vtable, 4 + 2 * number)
    U16.pack_into(out, vtable + 2, size)
    I32.pack_into(out, at, at - vtable)
    for field, value in fields.items():
        U16.pack_into(out, vtable + 4 + 2 * field, places[field])
        place = at + places[field]
        if isinstance(value, Scalar):
            value.kind.pack_into(out, place, value.value)
        else:
            U32.pack_into(out, place, _child(out, value) - place)
    return at


def _child(out: bytearray, value: "Pairs | str | list[Written] | Written") -> int:
    if isinstance(value, dict):
        return _table(out, value)
    if isinstance(value, str):
        text = value.encode()
        at = _align(out, U32.size)
        out += U32.pack(len(text)) + text + b"\0"
        return at
    if isinstance(value, Pairs):
        _align(out, 8)
        out += bytes(U32.size)  # so that the pairs are aligned
        at = len(out)
        out += U32.pack(len(value.items)) + b"".join(_PAIR.pack(*pair) for pair in value.items)
        return at
    at = _align(out, U32.size)
    out += U32.pack(len(value)) + bytes(U32.size * len(value))
    for place, table in _places(at, value):
        U32.pack_into(out, place, _table(out, table) - place)
    return at


def _places(at: int, tables: "Sequence[Written]") -> "Iterator[tuple[int, Written]]":
    return zip(range(at + U32.size, at + U32.size * (len(tables) + 1), U32.size), tables, strict=True)


def _align(out: bytearray, to: int) -> int:
    out += bytes(-len(out) % to)
    return len(out)
