"""Writes documents as an Arrow IPC stream of one record batch."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from akidb.ports.arrow.flatbuffers import I16, I32, I64, U8, Pairs, Scalar, Written, write

_MARK: Final = b"\xff\xff\xff\xff"
_END: Final = _MARK + bytes(4)
_V5: Final = 4
_SCHEMA, _BATCH = 1, 3
_FLOAT, _TEXT, _LIST, _FIXED_LIST = 3, 5, 12, 16
_PRECISION: Final = {2: 0, 4: 1, 8: 2}
_MAX_OFFSET: Final = 2**31 - 1


class _Parts:
    """Nodes, and buffers one after the other, each aligned to 8 bytes."""

    def __init__(self) -> None:
        self.nodes: list[tuple[int, int]] = []
        self.places: list[tuple[int, int]] = []
        self.data: list[bytes | memoryview] = []
        self._size = 0

    @property
    def size(self) -> int:
        return self._size

    def add(self, data: bytes | memoryview) -> None:
        size = len(data)
        self.places.append((self._size, size))
        self.data.append(data)
        if padding := -size % 8:
            self.data.append(bytes(padding))
        self._size += size + padding

    def add_node(self, present: Sequence[bool]) -> None:
        """Add an array with a bitmap of the values that are not null, if any is."""
        nulls = len(present) - sum(present)
        self.nodes.append((len(present), nulls))
        self.add(np.packbits(np.array(present, np.bool_), bitorder="little").tobytes() if nulls else b"")


def encode(texts: Mapping[str, Sequence[bytes | None]], vectors: Sequence[NDArray[Any] | None]) -> bytes:
    """Return documents as a stream. `texts` are the columns of UTF-8 by name, each with a value at least.

    `vectors` are float32 or float64 arrays of shape `(m,)`, all of one type; nothing for no such column.
    """
    given = next((vector for vector in vectors if vector is not None), None)
    dtype, width = "", 0
    parts = _Parts()
    for values in texts.values():
        parts.add_node([value is not None for value in values])
        present = [value or b"" for value in values]
        parts.add(_offsets(list(map(len, present))))
        parts.add(b"".join(present))
    if given is not None:
        dtype = given.dtype.newbyteorder("<").str
        lengths = {len(vector) for vector in vectors if vector is not None}
        width = len(given) if len(lengths) == 1 else 0
        _add_vectors(parts, vectors, dtype, width)
    rows = parts.nodes[0][0]
    schema = _schema(tuple(texts), dtype, width)
    batch: Written = {
        0: Scalar(I64, rows),
        1: Pairs(parts.nodes),
        2: Pairs(parts.places),
    }
    head = _message(_BATCH, batch, parts.size)
    return b"".join([schema, head, *parts.data, _END])


def _add_vectors(parts: _Parts, vectors: Sequence[NDArray[Any] | None], dtype: str, width: int) -> None:
    parts.add_node([vector is not None for vector in vectors])
    if width:
        empty = np.zeros(width, dtype)
        rows = [empty if vector is None else vector for vector in vectors]
        number = width * len(rows)
    else:
        rows = [vector for vector in vectors if vector is not None]
        lengths = [0 if vector is None else len(vector) for vector in vectors]
        parts.add(_offsets(lengths))
        number = sum(lengths)
    parts.nodes.append((number, 0))
    parts.add(b"")
    parts.add(np.concatenate(rows).astype(dtype, copy=False).tobytes() if rows else b"")


def _offsets(lengths: Sequence[int]) -> bytes:
    ends = np.fromiter(accumulate(lengths, initial=0), np.int64, len(lengths) + 1)
    if ends[-1] > _MAX_OFFSET:
        raise ValueError("a column is too long")
    return ends.astype("<i4").tobytes()


@lru_cache(maxsize=64)
def _schema(names: tuple[str, ...], dtype: str, width: int) -> bytes:
    """Return the message with the schema: columns of text, and vectors of this NumPy type, unless empty."""
    fields: list[Any] = [{0: name, 1: Scalar(U8, 1), 2: Scalar(U8, _TEXT), 3: {}, 5: []} for name in names]
    if dtype:
        item: Written = {
            0: "item",
            1: Scalar(U8, 1),
            2: Scalar(U8, _FLOAT),
            3: {0: Scalar(I16, _PRECISION[np.dtype(dtype).itemsize])},
            5: [],
        }
        shape: Written = {0: Scalar(I32, width)} if width else {}
        kind = Scalar(U8, _FIXED_LIST if width else _LIST)
        fields.append({0: "vector", 1: Scalar(U8, 1), 2: kind, 3: shape, 5: [item]})
    return _message(_SCHEMA, {1: fields}, 0)


def _message(kind: int, header: Written, size: int) -> bytes:
    """Return a message without its data, which has `size` bytes."""
    table: Written = {
        0: Scalar(I16, _V5),
        1: Scalar(U8, kind),
        2: header,
        3: Scalar(I64, size),
    }
    metadata = write(table)
    return _MARK + I32.pack(len(metadata)) + metadata
