"""Documents as Arrow streams: read as pyarrow writes them, written as it reads them."""

import io
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from akidb.domain.columns import DocumentColumns
from akidb.domain.errors import InvalidArgument
from akidb.ports import arrow
from akidb.ports.arrow import flatbuffers

VECTORS = np.random.default_rng(3).standard_normal((4, 5)).astype(np.float32)
FULL: dict[str, list[Any]] = {
    "id": ["a", "ä", None, "d"],
    "text": ["one", None, "drei é", ""],
    "metadata": ['{"n":1}', None, "null", '{"tags":["é",2.5,null]}'],
    "vector": VECTORS.tolist(),
}


def stream(table: pa.Table, *, rows: int | None = None, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=rows)
    return sink.getvalue()


def vectors_of(found: DocumentColumns) -> list[list[float] | None]:
    return [None if row is None else row.tolist() for row in found.columns["vectors"]]


def test_written_stream_is_valid_and_has_every_value() -> None:
    texts: dict[str, list[bytes | None]] = {
        "id": [b"a", b"b", b"\xc3\xa4"],
        "text": [None, b"", b"x"],
        "metadata": [b'{"a":1}', None, b"{}"],
    }
    body = arrow.encode(texts, list(VECTORS[:3]))
    table = pa.ipc.open_stream(body).read_all()
    table.validate(full=True)
    assert table.schema.field("vector").type == pa.list_(pa.float32(), 5)
    assert table.to_pydict() == {
        "id": ["a", "b", "ä"],
        "text": [None, "", "x"],
        "metadata": ['{"a":1}', None, "{}"],
        "vector": VECTORS[:3].tolist(),
    }
    assert arrow.decode(body).columns["metadatas"] == [{"a": 1}, None, {}]


@pytest.mark.parametrize("numpy_type", [np.float32, np.float64])
def test_vectors_may_be_absent_or_of_several_lengths(numpy_type: Any) -> None:
    for rows in ([VECTORS[0], None, VECTORS[2]], [VECTORS[0], None, VECTORS[2][:2]], [VECTORS[0][:0]] * 2):
        vectors = [None if row is None else row.astype(numpy_type) for row in rows]
        body = arrow.encode({}, vectors)
        table = pa.ipc.open_stream(body).read_all()
        table.validate(full=True)
        wanted = [None if row is None else row.tolist() for row in vectors]
        assert table["vector"].to_pylist() == wanted
        assert vectors_of(arrow.decode(body)) == wanted


@pytest.mark.parametrize("number", [pa.float16(), pa.float32(), pa.float64()], ids=str)
@pytest.mark.parametrize("listed", [pa.list_, pa.large_list, lambda of: pa.list_(of, 5)])
@pytest.mark.parametrize("text", [pa.string(), pa.large_string()], ids=str)
@pytest.mark.parametrize("rows", [None, 3])
def test_streams_of_pyarrow_are_read(number: Any, listed: Callable[[Any], Any], text: Any, rows: int) -> None:
    types = {"id": text, "text": text, "metadata": text, "vector": listed(number)}
    rounded = VECTORS.astype(number.to_pandas_dtype())
    table = pa.table(
        {
            name: pa.array(rounded.tolist() if name == "vector" else FULL[name], type=types[name])
            for name in FULL
        }
    )
    found = arrow.decode(stream(table.slice(1), rows=rows)).columns
    assert found["ids"] == FULL["id"][1:]
    assert found["texts"] == FULL["text"][1:]
    assert found["metadatas"] == [None, None, {"tags": ["é", 2.5, None]}]
    assert found["vectors"].dtype == rounded.dtype
    assert np.array_equal(found["vectors"], rounded[1:])


def test_values_are_copies() -> None:
    body = bytearray(arrow.encode({}, list(VECTORS)))
    found = arrow.decode(body)
    body.clear()  # fails while something refers to it
    assert np.array_equal(found.columns["vectors"], VECTORS)


def test_long_column_of_ascii_and_null_columns() -> None:
    texts = ["x" * 700_000, None, "y" * 700_000]
    table = pa.table({"text": texts, "id": pa.nulls(3), "vector": pa.nulls(3)})
    found = arrow.decode(stream(table)).columns
    assert found["texts"] == texts
    assert found["ids"] == found["vectors"] == [None] * 3


def test_no_rows_are_no_documents() -> None:
    for table in (pa.table({"vector": pa.array([], pa.list_(pa.float32(), 3))}), pa.table({})):
        assert len(arrow.decode(stream(table))) == 0


def compressed(codec: str) -> bytes:
    return stream(pa.table({"text": ["x" * 10_000]}), compression=codec)


def typed(name: str, kind: Any, values: list[Any] | None = None) -> bytes:
    return stream(pa.table({name: pa.array(values or [], kind)}))


REFUSED: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "body", "is required"),
    "JSON": (b'{"documents": [{"id": "a"}]}', "body", "malformed Arrow stream: .* mark"),
    "Arrow file": (b"ARROW1\0\0" + stream(pa.table({"id": ["a"]})), "body", "malformed Arrow stream"),
    "more": (stream(pa.table({"id": ["a"]})) + b"x", "body", "goes on after its end"),
    "zstd": (compressed("zstd"), "body", "must not have compressed buffers"),
    "lz4": (compressed("lz4"), "body", "must not have compressed buffers"),
    "dictionary": (
        typed("text", pa.dictionary(pa.int8(), pa.string()), ["x" * 2**20]),
        "text",
        "must be a column without a dictionary",
    ),
    "views": (typed("text", pa.string_view(), ["x"]), "text", "must be a column of UTF-8"),
    "numbers as ids": (typed("id", pa.int64(), [1]), "id", "must be a column of UTF-8"),
    "struct": (
        typed("metadata", pa.struct({"a": pa.int8()})),
        "metadata",
        "must be a column of JSON in UTF-8",
    ),
    "integers": (typed("vector", pa.list_(pa.int32())), "vector", "must be a column of lists of float16"),
    "list views": (
        typed("vector", pa.list_view(pa.float32())),
        "vector",
        "must be a column of lists of float",
    ),
    "unknown": (typed("embedding", pa.list_(pa.float32())), r"documents\[0\].embedding", "unknown field"),
    "null number": (
        typed("vector", pa.list_(pa.float32()), [[1], [1, None]]),
        r"documents\[1\].vector\[1\]",
        "a num",
    ),
    "long id": (
        typed("id", pa.string(), ["a", "ä" * 257]),
        r"documents\[1\].id",
        "at most 512 bytes .* has 514",
    ),
    "long first id": (
        typed("id", pa.string(), ["a" * 513]),
        r"documents\[0\].id",
        "at most 512 bytes .* has 513",
    ),
    "metadata list": (
        typed("metadata", pa.string(), ["{}", "[]"]),
        r"documents\[1\].metadata",
        "expected object",
    ),
    "metadata NaN": (typed("metadata", pa.string(), ['{"a": NaN}']), r"documents\[0\].metadata.a", "NaN"),
    "duplicate key": (
        typed("metadata", pa.string(), ['{"a": 1, "a": 2}']),
        r"documents\[0\].metadata.a",
        "duplicate key",
    ),
    "no JSON": (typed("metadata", pa.string(), [""]), r"documents\[0\].metadata", "malformed JSON"),
    "many containers": (
        typed("metadata", pa.string(), ['{"a":[' + "[]," * 300_000 + "[]]}"] * 4),
        "documents",
        "at most 1000000 lists",
    ),
    "many rows": (
        typed("id", pa.string(), [str(n) for n in range(10_001)]),
        "documents",
        "must contain 1 to 10000 documents",
    ),
    "twice": (
        stream(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["id", "id"])),
        "body",
        "has two columns of one name",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_streams(name: str) -> None:
    body, field, reason = REFUSED[name]
    with pytest.raises(InvalidArgument, match=f"^{field}: .*{reason}"):
        arrow.decode(body)


def test_invalid_text_is_named() -> None:
    body = stream(pa.table({"text": ["aaaa", "é"]})).replace("é".encode(), b"\xff\xfe")
    with pytest.raises(InvalidArgument, match=r"^documents\[1\].text: must be UTF-8"):
        arrow.decode(body)


def test_every_truncation_is_refused_or_ends_between_batches() -> None:
    whole = stream(pa.table(FULL), rows=2)
    lengths = set()
    for end in range(len(whole)):
        try:
            lengths.add(len(arrow.decode(whole[:end])))
        except InvalidArgument:
            continue
    assert lengths == {0, 2, 4}  # the mark of the end may be absent, says the format


def test_changed_bytes_give_an_error_or_documents() -> None:
    chance = random.Random(11)
    table = pa.table(FULL)
    bodies = [stream(table), stream(table, rows=1), arrow.encode({"id": [b"a"] * 4}, list(VECTORS))]
    refused = 0
    for _ in range(3_000):
        body = bytearray(chance.choice(bodies))
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(body))
            body[at] = chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
        try:
            found = arrow.decode(body)
        except InvalidArgument:
            refused += 1
        else:
            assert len(found) <= 10_000
    assert refused > 300


def test_claimed_lengths_allocate_nothing() -> None:
    """A few bytes that claim 10,000 vectors of two thousand million numbers."""
    number = flatbuffers.Scalar
    item: Any = {
        2: number(flatbuffers.U8, 3),
        3: {0: number(flatbuffers.I16, 2)},
        5: [],
        0: "item",
    }
    field: Any = {
        0: "vector",
        2: number(flatbuffers.U8, 16),
        3: {0: number(flatbuffers.I32, 2**31 - 1)},
        5: [item],
    }
    rows = 10_000
    batch: Any = {
        0: number(flatbuffers.I64, rows),
        1: flatbuffers.Pairs([(rows, 0), (rows * (2**31 - 1), 0)]),
        2: flatbuffers.Pairs([(0, 0), (0, 0), (0, 0)]),
    }
    body = b""
    schema: Any = {1: [field]}
    for kind, header in ((1, schema), (3, batch)):
        head = flatbuffers.write(
            {
                0: number(flatbuffers.I16, 4),
                1: number(flatbuffers.U8, kind),
                2: header,
                3: number(flatbuffers.I64, 0),
            }
        )
        body += b"\xff\xff\xff\xff" + flatbuffers.I32.pack(len(head)) + head
    with pytest.raises(InvalidArgument, match="a buffer is too short"):
        arrow.decode(body)
