"""Archive parts: round trip, order, and counts in the summary."""

import hashlib
import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from archive_parts import DIMENSION, HEADER, NOW, collection, documents, parts, read, written
from msgspec.structs import replace

from akidb.archive.frames import MAGIC
from akidb.archive.parts import ArchiveReader
from akidb.domain.errors import InvalidArgument
from akidb.domain.ids import TenantId
from akidb.ports.archive import Documents, PurgedRecord, Rows, Summary, Tombstones

Parts = list[Any]


def _plain(part: object) -> object:
    return (*part[:4], part.vectors.tobytes()) if isinstance(part, Documents) else part


def test_parts_round_trip() -> None:
    *found, summary = read(written(parts()))
    assert [_plain(part) for part in found] == [_plain(part) for part in parts()]
    counts = {"stores": 1, "documents": 3, "tombstones": 2, "tenants": 1, "databases": 1, "collections": 1}
    assert summary == Summary(counts)


def test_vectors_round_trip_bit_for_bit() -> None:
    bits = np.random.default_rng(1).integers(0, 2**32, (3, DIMENSION), np.uint32)
    given = documents(vectors=bits.view(np.float32))
    found = read(written([*parts()[:2], given, *parts()[4:]]))[2]
    assert isinstance(found, Documents)
    assert found.vectors.view(np.uint32).tolist() == bits.tolist()


def test_digest_covers_whole_archive_and_is_known_at_end() -> None:
    archive = written(parts())
    reader = ArchiveReader(io.BytesIO(archive), room_bytes=10**9)
    assert reader.digest == b""
    assert list(reader)
    assert reader.digest == hashlib.sha256(archive[:-42]).digest()  # but for the frame that holds it
    assert archive.startswith(MAGIC)


def _without(at: int) -> Callable[[Parts], Parts]:
    return lambda given: given[:at] + given[at + 1 :]


def _twice(at: int) -> Callable[[Parts], Parts]:
    return lambda given: given[: at + 1] + given[at:]


def _moved(at: int, to: int) -> Callable[[Parts], Parts]:
    def move(given: Parts) -> Parts:
        part = given.pop(at)
        given.insert(to, part)
        return given

    return move


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_without(0), "outside a store"),
        (_without(1), "documents out of order"),
        (_twice(0), "store of tenant .* twice"),
        (_twice(1), "collection .* twice"),
        (_moved(3, 2), "documents out of order"),
        (_moved(3, 1), "tombstones outside a collection"),
        (_moved(0, 6), "collection .* outside a store"),
        (_moved(4, 6), "rows of tenants out of order"),
        (_moved(6, 4), "out of order"),
        (lambda given: [*given, Rows("purged", [])], "has rows of purged"),
        (lambda given: [*given[:2], HEADER, *given[2:]], "two headers"),
        (lambda given: [*given, Summary({})], "does not match the counts"),
    ],
)
def test_parts_out_of_order_are_refused(change: Callable[[Parts], Parts], reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        read(written(change(parts())))


def test_tenant_archive_with_several_stores_is_refused() -> None:
    other = replace(parts()[0], tenant_id=TenantId(bytes(16)))
    with pytest.raises(InvalidArgument, match="several stores"):
        read(written([*parts()[:4], other, *parts()[4:]]))


def test_backup_archive_can_hold_purged_records() -> None:
    rows = Rows("purged", [PurgedRecord(entity_id=bytes(16), entity="tenant", purged_at=NOW)])
    found = read(written([*parts(), rows], replace(HEADER, kind="backup")))
    assert found[-2] == rows


@pytest.mark.parametrize(
    "wrong", [{"sequences": [1]}, {"texts": ["a"]}, {"metadata": ["{}"] * 4}, {"ids": []}]
)
def test_columns_of_different_lengths_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="different lengths"):
        read(written([*parts()[:2], documents(**wrong)]))


def test_vectors_of_wrong_shape_are_refused() -> None:
    for shape in ((2, DIMENSION), (4, DIMENSION)):
        with pytest.raises(InvalidArgument, match="wrong size"):
            read(written([*parts()[:2], documents(vectors=np.ones(shape, np.float32))]))
    with pytest.raises(InvalidArgument, match="wrong size"):
        read(written([*parts()[:2], documents(without_vector=[1])]))


@pytest.mark.parametrize("without", [[0], [2], [0, 2], [0, 1, 2]])
def test_documents_without_vector_round_trip(without: list[int]) -> None:
    vectors = np.ones((3 - len(without), DIMENSION), np.float32)
    given = documents(vectors=vectors, without_vector=without)
    found = read(written([*parts()[:2], given, *parts()[4:]]))[2]
    assert isinstance(found, Documents)
    assert (found.ids, list(found.without_vector)) == (given.ids, without)
    assert np.array_equal(found.vectors, vectors)


@pytest.mark.parametrize("without", [[-1], [3], [1, 1], [2, 1], [0, 1, 2, 2], [2**40]])
def test_wrong_places_of_documents_without_vector_are_refused(without: list[int]) -> None:
    vectors = np.ones((max(0, 3 - len(without)), DIMENSION), np.float32)
    with pytest.raises(InvalidArgument, match="out of order"):
        read(written([*parts()[:2], documents(vectors=vectors, without_vector=without)]))


@pytest.mark.parametrize(
    "wrong",
    [
        b'{"type":"store","tenant_id":"../../../../etc/passwd"}',
        b'{"type":"store"}',
        b'{"type":"nothing"}',
        b'{"type":"store","tenant_id":5}',
        b"[",
        b"[" * 100_000,
        b"\xff",
        b'{"type":"rows","table":"sqlite_master","rows":[]}',
        b'{"type":"rows","table":"tenants","rows":[{"tenant_id":"x"}]}',
        b'{"type":"tombstones","sequences":[1.5],"ids":["a"]}',
        b'{"type":"tombstones","sequences":[],"ids":[],"more":1}',
    ],
)
def test_invalid_json_frame_is_refused(wrong: bytes) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read(_with_json(written(parts()), wrong))
    assert caught.value.field == "archive"


def _with_json(archive: bytes, body: bytes) -> bytes:
    """The archive with one more frame after its header."""
    head = struct.Struct(">cBII")
    _, _, stored_bytes, _ = head.unpack_from(archive, len(MAGIC))
    at = len(MAGIC) + head.size + stored_bytes
    data = archive[:at] + head.pack(b"J", 0, len(body), len(body)) + body + archive[at:-42]
    return data + head.pack(b"E", 0, 32, 32) + hashlib.sha256(data).digest()


def test_tombstones_can_span_several_parts() -> None:
    given = parts()
    given.insert(4, Tombstones([9], ["x"]))
    assert read(written(given))[4] == Tombstones([9], ["x"])
    assert collection() == given[1]


def test_large_rows_are_split_into_several_frames() -> None:
    """Each may hold a megabyte of metadata: many of them do not fit one frame."""
    tenant = parts()[4].rows[0]
    large = [replace(tenant, slug=f"t{n}", metadata={"text": "x" * 900_000}) for n in range(20)]
    header = replace(HEADER, kind="backup")
    *found, _ = read(written([Rows("tenants", large)], header), 10**9)
    assert len(found) > 1
    assert [row for part in found if isinstance(part, Rows) for row in part.rows] == large
