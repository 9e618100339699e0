"""The record batches of an Arrow file or stream, as their descriptions say, before they are read."""

from typing import IO, Final

from akidb.domain.errors import InvalidArgument
from akidb.ports.arrow.flatbuffers import I32, I64, U8, FaultyBufferError, Table

MAX_COMPRESSED_BYTES: Final = 2**30
"""Of a compressed record batch, after decompression: it is decompressed as a whole. Others are mapped."""
FILE_MAGIC: Final = b"ARROW1\0\0"
_MARK: Final = b"\xff\xff\xff\xff"
_MAX_DESCRIPTION_BYTES: Final = 64 * 2**20
_MAX_BUFFERS: Final = 2**20
_DICTIONARY, _BATCH = 2, 3


def count_rows(file: IO[bytes]) -> int | None:
    """Return the number of rows from here on; None if the file is not of Arrow, which reading it reports.

    Raises InvalidArgument(`file`) for a compressed batch that would take too much memory.
    """
    rows = 0
    try:
        while head := file.read(8):
            if head == FILE_MAGIC:
                continue
            length = I32.unpack_from(head, 4)[0] if len(head) == 8 and head[:4] == _MARK else -1
            if length == 0:
                return rows
            if not 0 < length <= _MAX_DESCRIPTION_BYTES:
                return None
            message = Table.root(file.read(length))
            kind, header, body = message.number(1, U8), message.table(2), message.number(3, I64)
            start = file.tell()
            if body < 0 or header is None:
                return None
            batch = header.table(1) if kind == _DICTIONARY else header
            if kind in {_DICTIONARY, _BATCH} and batch is not None:
                rows += batch.number(0, I64) if kind == _BATCH else 0
                if batch.table(3) is not None:
                    _check_size(file, start, batch)
            file.seek(start + body)
    except FaultyBufferError:
        return None
    return rows


def _check_size(file: IO[bytes], start: int, batch: Table) -> None:
    """Add up the lengths before the compressed buffers; -1 is that of one that is not compressed."""
    size = 0
    for offset, length in batch.pairs(2, _MAX_BUFFERS):
        if length < I64.size:
            continue
        file.seek(start + offset)
        found = file.read(I64.size)
        claimed = I64.unpack(found)[0] if len(found) == I64.size else 0
        size += length if claimed < 0 else claimed
    if size > MAX_COMPRESSED_BYTES:
        raise InvalidArgument(
            "file",
            f"has a compressed record batch of {size} bytes; at most {MAX_COMPRESSED_BYTES} fit in memory:"
            " write smaller batches, or without compression",
        )
