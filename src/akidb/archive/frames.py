"""Frames: the binary format of an archive.

    archive := MAGIC frame* end         frame := kind encoding stored_bytes raw_bytes content

`kind` is one byte, `encoding` one byte (0 uncompressed, 1 raw deflate, RFC 1951), the sizes are unsigned
32-bit big-endian integers. The content of the last frame is the SHA-256 of all preceding bytes, so that any
truncation or alteration is detected. There are no file names and no offsets that could point elsewhere.
"""

import hashlib
import struct
import zlib
from typing import NamedTuple

from akidb.domain.archives import ByteSink, ByteSource, fault
from akidb.domain.errors import Unavailable

MAGIC = b"AkiDB archive 1\n"
JSON, PLANE, END = b"J", b"P", b"E"
MAX_FRAME_BYTES = 16 * 2**20
"""Maximum unpacked content of a frame; bounds a reader's memory."""
LEVEL = 3
SAMPLE_BYTES = 4096
WORTH_PACKING = 0.9
_AS_IT_IS, DEFLATED = 0, 1
HEAD = struct.Struct(">cBII")
_MAGIC_WORDS = MAGIC[:14]


class Frame(NamedTuple):
    """A frame's kind and its unpacked content."""

    kind: bytes
    content: bytes


class FrameWriter:
    """Writes frames, followed by their checksum."""

    def __init__(self, target: ByteSink) -> None:
        self._target = target
        self._digest = hashlib.sha256()
        self.written_bytes = 0
        self._write(MAGIC)

    def json(self, content: bytes) -> None:
        """Add a JSON frame."""
        self._frame(JSON, content, zlib.Z_DEFAULT_STRATEGY)

    def plane(self, content: bytes) -> None:
        """Add a frame with one byte plane of the vectors."""
        # Run-length encoding compresses as well as string matching here, in a third of the time.
        self._frame(PLANE, content, zlib.Z_RLE)

    def end(self) -> bytes:
        """Add the checksum and return it."""
        digest = self._digest.digest()
        self._write(HEAD.pack(END, _AS_IT_IS, len(digest), len(digest)) + digest)
        return digest

    def _frame(self, kind: bytes, content: bytes, strategy: int) -> None:
        if len(content) > MAX_FRAME_BYTES:
            raise Unavailable(f"a part of {len(content)} bytes is too large for an archive")
        stored = _packed(content, strategy)
        encoding = _AS_IT_IS if stored is content else DEFLATED
        self._write(HEAD.pack(kind, encoding, len(stored), len(content)))
        self._write(stored)

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self.written_bytes += len(data)
        self._target.write(data)


def _packed(content: bytes, strategy: int) -> bytes:
    """Return the content deflated, or unchanged if a sample shows little gain."""
    if len(content) > 2 * SAMPLE_BYTES:
        middle = len(content) // 2
        sample = content[middle : middle + SAMPLE_BYTES]
        if len(_deflated(sample, strategy)) > WORTH_PACKING * len(sample):
            return content
    packed = _deflated(content, strategy)
    return packed if len(packed) < len(content) else content


def _deflated(content: bytes, strategy: int) -> bytes:
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -15, 9, strategy)
    return packer.compress(content) + packer.flush()


class FrameReader:
    """Reads frames of bounded size, and verifies the checksum at the end."""

    def __init__(self, source: ByteSource, room_bytes: int) -> None:
        """Limit the unpacked content to `room_bytes`. Raises InvalidArgument if it is not an archive."""
        self._source = source
        self._room_bytes = room_bytes
        self._digest = hashlib.sha256()
        self._left_bytes = room_bytes
        self.number = 0
        """Number of the last frame read, from 1."""
        magic = self._read(len(MAGIC))
        if magic != MAGIC:
            known = magic.startswith(_MAGIC_WORDS)
            raise fault("was written by a newer AkiDB" if known else "is not an AkiDB archive")

    def next(self) -> Frame:
        """Return the next frame; the last one has the kind END, and its content is the checksum.

        Raises InvalidArgument if the archive is truncated or altered, Unavailable if its content exceeds
        `room_bytes`.
        """
        so_far = self._digest.digest()
        self.number += 1
        kind, encoding, stored_bytes, raw_bytes = HEAD.unpack(self._read(HEAD.size))
        if kind == END:
            return Frame(END, self._end(so_far, (encoding, stored_bytes, raw_bytes)))
        if raw_bytes > MAX_FRAME_BYTES or stored_bytes > raw_bytes:
            raise fault(f"is altered: frame {self.number} declares {raw_bytes} bytes in {stored_bytes}")
        self._left_bytes -= raw_bytes
        if self._left_bytes < 0:
            raise Unavailable(
                f"the unpacked archive needs more than the {self._room_bytes} bytes that are free",
                public="the unpacked archive needs more space than is free",
            )
        stored = self._read(stored_bytes)
        if encoding == _AS_IT_IS:
            content = stored
        elif encoding == DEFLATED:
            content = self._unpacked(stored, raw_bytes)
        else:
            raise fault(f"is altered: frame {self.number} has the unknown encoding {encoding}")
        if len(content) != raw_bytes:
            raise fault(f"is altered: frame {self.number} holds {len(content)} bytes, not {raw_bytes}")
        return Frame(kind, content)

    def _unpacked(self, stored: bytes, raw_bytes: int) -> bytes:
        unpacker = zlib.decompressobj(-15)
        try:
            content = unpacker.decompress(stored, raw_bytes + 1)  # at most one byte too many
        except zlib.error:
            raise fault(f"is altered: frame {self.number} cannot be unpacked") from None
        if not unpacker.eof or unpacker.unused_data:
            raise fault(f"is altered: frame {self.number} does not end at its declared size")
        return content

    def _end(self, digest: bytes, head: tuple[int, int, int]) -> bytes:
        if head != (_AS_IT_IS, len(digest), len(digest)) or self._read(len(digest)) != digest:
            raise fault("is altered: its checksum does not match")
        if self._source.read(1):
            raise fault("is altered: it has data after its end")
        return digest

    def _read(self, size: int) -> bytes:
        pieces = []
        missing = size
        while missing:
            piece = self._source.read(missing)
            if not piece:
                raise fault("is truncated")
            pieces.append(piece)
            missing -= len(piece)
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._digest.update(data)
        return data
