"""Archive frames: byte format, rejection of invalid frames, and memory limits."""

import hashlib
import io
import struct
import tracemalloc
import zlib
from random import Random

import pytest
from archive_parts import ROOM_BYTES, parts, read, written

from akidb.archive.frames import MAGIC, MAX_FRAME_BYTES, FrameReader, FrameWriter
from akidb.domain.errors import InvalidArgument, Unavailable

HEAD_BYTES = 10


def _sealed(body: bytes) -> bytes:
    """Frames with the head and the checksum of an archive around them."""
    data = MAGIC + body
    return data + struct.pack(">cBII", b"E", 0, 32, 32) + hashlib.sha256(data).digest()


def _frame(content: bytes, raw_bytes: int, *, kind: bytes = b"J", encoding: int = 1) -> bytes:
    return struct.pack(">cBII", kind, encoding, len(content), raw_bytes) + content


def _deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


def _first(archive: bytes, room_bytes: int = ROOM_BYTES) -> bytes:
    return FrameReader(io.BytesIO(archive), room_bytes).next().content


@pytest.mark.parametrize("content", [b"{}", b"x" * 100_000, Random(1).randbytes(100_000), b"ab" * 7])
def test_frame_round_trips(content: bytes) -> None:
    target = io.BytesIO()
    writer = FrameWriter(target)
    writer.json(content)
    writer.plane(content)
    digest = writer.end()
    reader = FrameReader(io.BytesIO(target.getvalue()), ROOM_BYTES)
    assert [reader.next() for _ in range(3)] == [(b"J", content), (b"P", content), (b"E", digest)]
    assert writer.written_bytes == len(target.getvalue())


def test_only_compressible_frames_are_compressed() -> None:
    target = io.BytesIO()
    writer = FrameWriter(target)
    noise = Random(1).randbytes(100_000)
    writer.plane(noise)
    assert noise in target.getvalue()
    before = writer.written_bytes
    writer.plane(bytes(100_000))
    assert writer.written_bytes - before < 2_000


def test_any_flipped_bit_is_detected() -> None:
    archive = written(parts())
    assert len(read(archive)) == len(parts()) + 1
    for bit in range(len(archive) * 8):
        altered = bytearray(archive)
        altered[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises((InvalidArgument, Unavailable)):
            read(bytes(altered))


def test_truncation_at_any_byte_is_detected() -> None:
    archive = written(parts())
    for size in range(len(archive)):
        with pytest.raises(InvalidArgument, match="truncated"):
            read(archive[:size])


def test_bytes_after_end_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="after its end"):
        read(written(parts()) + b"\n")


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        (b"PK\x03\x04" + bytes(100), "not an AkiDB archive"),
        (b"AkiDB archive 2\n" + bytes(100), "newer AkiDB"),
        (_sealed(_frame(b"", MAX_FRAME_BYTES + 1)), "declares"),
        (_sealed(_frame(b"{}" * 9, 2, encoding=0)), "declares"),
        (_sealed(_frame(b"{}", 2, encoding=7)), "unknown encoding"),
        (_sealed(_frame(b"{}", 3, encoding=0)), "holds 2 bytes, not 3"),
        (_sealed(_frame(b"\xff\xff", 100)), "cannot be unpacked"),
        (_sealed(_frame(_deflated(b"x" * 100), 98)), "does not end at its declared size"),
        (_sealed(_frame(_deflated(b"x" * 100), 99)), "holds 100 bytes, not 99"),
        (_sealed(_frame(_deflated(b"x" * 100), 101)), "holds 100 bytes, not 101"),
        (_sealed(_frame(_deflated(b"x" * 100) + b"y", 100)), "does not end at its declared size"),
        (_sealed(_frame(_deflated(b"x" * 100)[:-1], 100)), "does not end at its declared size"),
    ],
)
def test_invalid_frame_is_refused(archive: bytes, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason) as caught:
        _first(archive)
    assert caught.value.field == "archive"


def test_decompression_bomb_is_refused_within_declared_size() -> None:
    bomb = _sealed(_frame(_deflated(bytes(500 * 2**20)), 1_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(InvalidArgument, match="does not end at its declared size"):
            _first(bomb)
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()


def test_total_frame_size_is_limited_to_free_space() -> None:
    frame = _frame(_deflated(bytes(2**20)), 2**20)
    reader = FrameReader(io.BytesIO(MAGIC + frame * 100), 10 * 2**20)
    for _ in range(10):
        reader.next()
    with pytest.raises(Unavailable, match="bytes that are free"):
        reader.next()


def test_part_larger_than_frame_limit_is_not_written() -> None:
    with pytest.raises(Unavailable, match="too large"):
        FrameWriter(io.BytesIO()).json(bytes(MAX_FRAME_BYTES + 1))
