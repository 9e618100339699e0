"""Reads documents from an Arrow IPC stream that a client has sent, which may contain anything.

https://arrow.apache.org/docs/format/Columnar.html. Nothing is allocated for a length that is only claimed:
buffers are parts of the body, whose size is limited; dictionaries, views and compression, by which a few
bytes become many values, are refused.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from akidb.domain.columns import COLUMN_OF, DocumentColumns
from akidb.domain.documents import MAX_BATCH_DOCUMENTS, MAX_ID_BYTES, MAX_TEXT_BYTES
from akidb.domain.errors import InvalidArgument
from akidb.domain.json import member_path
from akidb.domain.json_batch import decode_metadata
from akidb.domain.json_weight import check_batch_weight, collector_paused
from akidb.observe.right_of_way import give_way, giving_way
from akidb.ports.arrow.flatbuffers import I16, I32, I64, U8, FaultyBufferError, Table

_MARK: Final = b"\xff\xff\xff\xff"
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
_NULL, _FLOAT, _TEXT, _LIST, _FIXED_LIST, _LARGE_TEXT, _LARGE_LIST = 1, 3, 5, 12, 16, 20, 21
_FLOATS: Final = ("<f2", "<f4", "<f8")
_VERSIONS: Final = (3, 4)
"""V4 and V5 of the format, which differ only in what documents do not have."""
_MAX_FIELDS: Final = 64
_WHOLE_CHARACTERS: Final = 2**20
"""Columns of up to this size are decoded at once."""
_LIMITS: Final = {"id": MAX_ID_BYTES, "text": MAX_TEXT_BYTES}
_MEMBERS: Final = tuple(COLUMN_OF)

Body = bytes | bytearray
Vectors = NDArray[Any] | list[NDArray[Any] | None]


class _Field(NamedTuple):
    """A column of the schema."""

    name: str
    kind: int
    item: str = ""
    """The NumPy type of the numbers of vectors."""
    width: int = 0
    """The length of each vector, if that is fixed."""


class _Buffers:
    """The parts of one record batch, in the order of the schema."""

    def __init__(self, body: Body, start: int, end: int, batch: Table, fields: Sequence[_Field]) -> None:
        children = sum(field.kind in {_LIST, _LARGE_LIST, _FIXED_LIST} for field in fields)
        most = 3 * (len(fields) + children)
        self._body = body
        self._start, self._size = start, end - start
        self._nodes = iter(batch.pairs(1, most))
        self._places = iter(batch.pairs(2, most))

    def length(self) -> int:
        """Return how many values the next array has."""
        return _next(self._nodes)[0]

    def array(self, kind: str, count: int) -> NDArray[Any]:
        """Return the next buffer as `count` numbers."""
        start, size = self.place()
        if count * np.dtype(kind).itemsize > size:
            raise FaultyBufferError("a buffer is too short")
        return np.frombuffer(self._body, kind, count, start)

    def place(self) -> tuple[int, int]:
        """Return the place of the next buffer in the body, and its size."""
        offset, size = _next(self._places)
        if offset < 0 or size < 0 or offset + size > self._size:
            raise FaultyBufferError("a buffer is outside the body")
        return self._start + offset, size

    def valid(self, count: int) -> NDArray[np.bool_] | None:
        """Return which values are not null, None if all are."""
        start, size = self.place()
        if not size or not count:
            return None
        if size < (count + 7) // 8:
            raise FaultyBufferError("a bitmap is too short")
        bits = np.frombuffer(self._body, np.uint8, (count + 7) // 8, start)
        found = np.unpackbits(bits, count=count, bitorder="little").astype(np.bool_)
        return None if found.all() else found


def decode(body: Body) -> DocumentColumns:
    """Return the documents of a stream as columns. Values are as unchecked as after decoding JSON.

    Vectors are copied: an array of shape `(n, dimension)` if all have the same length and none is absent,
    else a list of arrays and None. Raises InvalidArgument with the path of the invalid value.
    """
    try:
        return _decode(body)
    except FaultyBufferError as error:
        raise InvalidArgument("body", f"malformed Arrow stream: {error}") from None


def _decode(body: Body) -> DocumentColumns:
    fields: list[_Field] | None = None
    texts: dict[str, list[Any]] = {}
    vectors: list[Vectors] = []
    count = batches = 0
    for message, start, end in _messages(body):
        give_way()
        kind, header = message.number(1, U8), message.table(2)
        if header is None or message.number(0, I16) not in _VERSIONS:
            raise FaultyBufferError("a message has no header of a known version")
        if fields is None:
            if kind != _SCHEMA:
                raise FaultyBufferError("it does not begin with a schema")
            fields = _schema(header)
            texts = {field.name: [] for field in fields if field.name != "vector"}
            continue
        batches += 1
        if kind != _BATCH or batches > MAX_BATCH_DOCUMENTS:
            raise FaultyBufferError(f"it must have record batches only, at most {MAX_BATCH_DOCUMENTS}")
        rows = header.number(0, I64)
        if not 0 <= rows <= MAX_BATCH_DOCUMENTS - count:
            raise InvalidArgument("documents", f"must contain 1 to {MAX_BATCH_DOCUMENTS} documents")
        if header.table(3) is not None:
            raise InvalidArgument("body", "must not have compressed buffers")
        buffers = _Buffers(body, start, end, header, fields)
        for field in fields:
            if buffers.length() != rows:
                raise FaultyBufferError("a column has not the length of its batch")
            if field.name == "vector":
                vectors.append(_vectors(field, buffers, rows, count))
            else:
                texts[field.name] += _texts(field, body, buffers, rows, count)
        count += rows
    if fields is None:
        raise InvalidArgument("body", "is required")
    columns: dict[str, Any] = {COLUMN_OF[name]: values for name, values in texts.items()}
    if vectors:
        columns["vectors"] = _joined(vectors)
    return DocumentColumns(columns or {"ids": []})


def _messages(body: Body) -> Iterator[tuple[Table, int, int]]:
    """Yield each message with the place of its data."""
    at, size = 0, len(body)
    while at < size:
        if bytes(body[at : at + 4]) != _MARK or at + 8 > size:
            raise FaultyBufferError("a message does not begin with its mark")
        length = I32.unpack_from(body, at + 4)[0]
        at += 8
        if length == 0:
            if at != size:
                raise FaultyBufferError("it goes on after its end")
            return
        if not 0 < length <= size - at:
            raise FaultyBufferError("it is truncated")
        message = Table.root(bytes(body[at : at + length]))
        at += length
        data = message.number(3, I64)
        if not 0 <= data <= size - at:
            raise FaultyBufferError("it is truncated")
        yield message, at, at + data
        at += data


def _schema(schema: Table) -> list[_Field]:
    if schema.number(0, I16):
        raise InvalidArgument("body", "must be little-endian")
    fields = [_field(field) for field in schema.tables(1, _MAX_FIELDS)]
    names = [field.name for field in fields]
    if len(set(names)) != len(names):
        raise InvalidArgument("body", "has two columns of one name")
    return fields


def _field(field: Table) -> _Field:
    name, kind = field.text(0), field.number(2, U8)
    if name not in _MEMBERS:
        raise InvalidArgument(member_path("documents[0]", name), "unknown field")
    if field.table(4) is not None:
        raise InvalidArgument(name, "must be a column without a dictionary")
    if kind == _NULL:
        return _Field(name, kind)
    if name != "vector":
        if kind not in {_TEXT, _LARGE_TEXT}:
            what = "JSON in UTF-8" if name == "metadata" else "UTF-8"
            raise InvalidArgument(name, f"must be a column of {what}")
        return _Field(name, kind)
    children = field.tables(5, _MAX_FIELDS)
    if kind not in {_LIST, _LARGE_LIST, _FIXED_LIST} or len(children) != 1:
        _refuse_vectors()
    (child,), shape = children, field.table(3)
    precision = child.table(3)
    if child.number(2, U8) != _FLOAT or precision is None or child.table(4) is not None or shape is None:
        _refuse_vectors()
    item = precision.number(0, I16)
    if not 0 <= item < len(_FLOATS):
        _refuse_vectors()
    width = shape.number(0, I32) if kind == _FIXED_LIST else 0
    if width < 0:
        _refuse_vectors()
    return _Field(name, kind, _FLOATS[item], width)


def _refuse_vectors() -> NoReturn:
    raise InvalidArgument("vector", "must be a column of lists of float16, float32 or float64")


def _texts(field: _Field, body: Body, buffers: _Buffers, rows: int, first: int) -> list[Any]:
    """Return the values of a column of text, or the decoded metadata; None where they are null."""
    if field.kind == _NULL:
        return [None] * rows
    valid = buffers.valid(rows)
    ends = _offsets(buffers, rows, large=field.kind == _LARGE_TEXT)
    start, size = buffers.place()
    if not rows:
        return []
    if ends[-1] > size:
        raise FaultyBufferError("a text ends outside its buffer")
    offsets = ends.tolist()
    if field.name == "metadata":
        whole = bytes(body[start + offsets[0] : start + offsets[-1]])
        pieces = [whole[a - offsets[0] : b - offsets[0]] for a, b in pairwise(offsets)]
        check_batch_weight(whole, give_way)  # decoding ends at the first piece that is malformed
        if valid is not None:
            pieces = [piece if good else b"null" for piece, good in zip(pieces, valid.tolist(), strict=True)]
        with collector_paused(whole):
            return [decode_metadata(piece, first + at) for at, piece in enumerate(giving_way(pieces))]
    most = _LIMITS[field.name]
    sizes = np.diff(ends)
    if valid is not None:
        sizes = np.where(valid, sizes, 0)
    if (longest := int(np.argmax(sizes > most))) or sizes[0] > most:
        path = f"documents[{first + longest}].{field.name}"
        raise InvalidArgument(path, f"must be at most {most} bytes of UTF-8, has {sizes[longest]}")
    found: list[Any]
    with memoryview(body) as view, view[start : start + offsets[-1]] as data:
        ascii = _whole(data)
        if ascii is not None:
            found = [ascii[a:b] for a, b in pairwise(offsets)]
        else:
            found = [
                _text(data[a:b], first + at, field.name) if valid is None or valid[at] else None
                for at, (a, b) in enumerate(giving_way(pairwise(offsets)))
            ]
    if valid is not None:
        return [text if good else None for text, good in zip(found, valid.tolist(), strict=True)]
    return found


def _whole(data: memoryview) -> str | None:
    """Return a column as one text, if it is short and each byte of it a character."""
    if len(data) > _WHOLE_CHARACTERS:
        return None
    try:
        return str(data, "ascii")
    except UnicodeDecodeError:
        return None


def _text(data: memoryview, place: int, name: str) -> str:
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        raise InvalidArgument(f"documents[{place}].{name}", "must be UTF-8") from None


def _offsets(buffers: _Buffers, rows: int, *, large: bool) -> NDArray[np.int64]:
    """Return where each value begins, and the last one ends."""
    if not rows:
        buffers.place()
        return np.zeros(1, np.int64)
    found = buffers.array("<i8" if large else "<i4", rows + 1).astype(np.int64)
    if found[0] < 0 or (found[1:] < found[:-1]).any():
        raise FaultyBufferError("offsets decrease")
    return found


def _vectors(field: _Field, buffers: _Buffers, rows: int, first: int) -> Vectors:
    if field.kind == _NULL:
        return [None] * rows
    valid = buffers.valid(rows)
    if field.kind == _FIXED_LIST:
        ends = None
        used = rows * field.width
        if buffers.length() != used:
            raise FaultyBufferError("vectors have not the length of their column")
    else:
        ends = _offsets(buffers, rows, large=field.kind == _LARGE_LIST)
        used = int(ends[-1])
        if used > buffers.length():
            raise FaultyBufferError("a vector ends outside its column")
    good = buffers.valid(used)
    numbers = buffers.array(field.item, used) if used else np.empty(0, field.item)
    if not used:
        buffers.place()
    if ends is None:
        ends = np.arange(rows + 1, dtype=np.int64) * field.width
    lengths = np.diff(ends)
    if good is not None:
        _check_numbers(good, ends, valid, first)
    if valid is None and rows and (lengths == lengths[0]).all():
        matrix: NDArray[Any] = numbers[ends[0] :].reshape(rows, int(lengths[0])).copy()
        return matrix
    numbers, offsets = numbers.copy(), ends.tolist()
    are_there = [True] * rows if valid is None else valid.tolist()
    places = zip(pairwise(offsets), are_there, strict=True)
    return [numbers[a:b] if there else None for (a, b), there in places]


def _check_numbers(
    good: NDArray[np.bool_], ends: NDArray[np.int64], valid: NDArray[np.bool_] | None, first: int
) -> None:
    """Raise InvalidArgument for the first null within a vector."""
    for at in range(len(ends) - 1):
        if valid is None or valid[at]:
            items = good[ends[at] : ends[at + 1]]
            if not items.all():
                path = f"documents[{first + at}].vector[{int(np.argmin(items))}]"
                raise InvalidArgument(path, "must be a number")


def _joined(parts: list[Vectors]) -> Vectors:
    if len(parts) == 1:
        return parts[0]
    filled = [part for part in parts if len(part)]
    matrices = [part for part in filled if isinstance(part, np.ndarray)]
    if matrices and len(matrices) == len(filled) and len({part.shape[1] for part in matrices}) == 1:
        return np.concatenate(matrices)
    return [row for part in filled for row in part]


def _next(pairs: Iterator[tuple[int, int]]) -> tuple[int, int]:
    try:
        return next(pairs)
    except StopIteration:
        raise FaultyBufferError("a batch has too few buffers") from None
