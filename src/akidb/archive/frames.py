"""Frames: the bytes of an archive.

    archive := MAGIC frame* end         frame := kind encoding stored_bytes raw_bytes content

`kind` is one byte, `encoding` one (0 as it is, 1 raw deflate, RFC 1951), the sizes are unsigned 32-bit
numbers, big-endian. The content of the last frame is the SHA-256 of every byte before it, so that an
archive that was cut off or altered anywhere is known. There are no names and no offsets: nothing to
point elsewhere with.
"""

import hashlib
import struct
import zlib
from typing import NamedTuple

from akidb.domain.archives import fault
from akidb.domain.errors import Unavailable
from akidb.ports.archive import ByteSink, ByteSource

MAGIC = b"AkiDB archive 1\n"
JSON, PLANE, END = b"J", b"P", b"E"
MAX_FRAME_BYTES = 16 * 2**20
"""Of a frame's content, unpacked: the bound on what a reader holds at a time."""
LEVEL = 3
SAMPLE_BYTES = 4096
WORTH_PACKING = 0.9
_AS_IT_IS, _DEFLATED = 0, 1
_HEAD = struct.Struct(">cBII")
_MAGIC_WORDS = MAGIC[:14]


class Frame(NamedTuple):
    """A frame's kind and its content, unpacked."""

    kind: bytes
    content: bytes


class FrameWriter:
    """Writes frames and, last, their checksum."""

    def __init__(self, target: ByteSink) -> None:
        self._target = target
        self._digest = hashlib.sha256()
        self.written_bytes = 0
        self._write(MAGIC)

    def json(self, content: bytes) -> None:
        """Add a frame of JSON."""
        self._frame(JSON, content, zlib.Z_DEFAULT_STRATEGY)

    def plane(self, content: bytes) -> None:
        """Add a frame of numbers' bytes."""
        # Run lengths find all that matching strings would, in a third of the time.
        self._frame(PLANE, content, zlib.Z_RLE)

    def end(self) -> bytes:
        """Add the checksum, and give it."""
        digest = self._digest.digest()
        self._write(_HEAD.pack(END, _AS_IT_IS, len(digest), len(digest)) + digest)
        return digest

    def _frame(self, kind: bytes, content: bytes, strategy: int) -> None:
        if len(content) > MAX_FRAME_BYTES:
            raise Unavailable(f"a part of {len(content)} bytes is too large for an archive")
        stored = _packed(content, strategy)
        encoding = _AS_IT_IS if stored is content else _DEFLATED
        self._write(_HEAD.pack(kind, encoding, len(stored), len(content)))
        self._write(stored)

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self.written_bytes += len(data)
        self._target.write(data)


def _packed(content: bytes, strategy: int) -> bytes:
    """The content deflated, or itself where a sample says that this gains little."""
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
    """Reads frames, each of bounded size, and checks the checksum when it comes to it."""

    def __init__(self, source: ByteSource, room_bytes: int) -> None:
        """Read up to `room_bytes` of content, unpacked. Raises InvalidArgument for what is no archive."""
        self._source = source
        self._room_bytes = room_bytes
        self._digest = hashlib.sha256()
        self._left_bytes = room_bytes
        self.number = 0
        """Of the frame read last, from 1."""
        magic = self._read(len(MAGIC))
        if magic != MAGIC:
            known = magic.startswith(_MAGIC_WORDS)
            raise fault("was written by a newer AkiDB" if known else "is no archive of AkiDB")

    def next(self) -> Frame:
        """The next frame; the last one has the kind END, and its content is the checksum.

        Raises InvalidArgument when the archive is cut off or altered, Unavailable when it holds more than
        there is room for.
        """
        so_far = self._digest.digest()
        self.number += 1
        kind, encoding, stored_bytes, raw_bytes = _HEAD.unpack(self._read(_HEAD.size))
        if kind == END:
            return Frame(END, self._end(so_far, (encoding, stored_bytes, raw_bytes)))
        if raw_bytes > MAX_FRAME_BYTES or stored_bytes > raw_bytes:
            raise fault(f"is altered: frame {self.number} says it holds {raw_bytes} bytes in {stored_bytes}")
        self._left_bytes -= raw_bytes
        if self._left_bytes < 0:
            raise Unavailable(
                f"the archive holds more than the {self._room_bytes} bytes that there is room for"
            )
        stored = self._read(stored_bytes)
        if encoding == _AS_IT_IS:
            content = stored
        elif encoding == _DEFLATED:
            content = self._unpacked(stored, raw_bytes)
        else:
            raise fault(f"is altered: frame {self.number} has the unknown encoding {encoding}")
        if len(content) != raw_bytes:
            raise fault(f"is altered: frame {self.number} holds {len(content)} bytes, not {raw_bytes}")
        return Frame(kind, content)

    def _unpacked(self, stored: bytes, raw_bytes: int) -> bytes:
        unpacker = zlib.decompressobj(-15)
        try:
            content = unpacker.decompress(stored, raw_bytes + 1)  # one more than there may be, and no more
        except zlib.error:
            raise fault(f"is altered: frame {self.number} cannot be unpacked") from None
        if not unpacker.eof or unpacker.unused_data:
            raise fault(f"is altered: frame {self.number} does not end where it says")
        return content

    def _end(self, digest: bytes, head: tuple[int, int, int]) -> bytes:
        if head != (_AS_IT_IS, len(digest), len(digest)) or self._read(len(digest)) != digest:
            raise fault("is altered: its checksum is another")
        if self._source.read(1):
            raise fault("is altered: it goes on after its end")
        return digest

    def _read(self, size: int) -> bytes:
        pieces = []
        missing = size
        while missing:
            piece = self._source.read(missing)
            if not piece:
                raise fault("is cut off")
            pieces.append(piece)
            missing -= len(piece)
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._digest.update(data)
        return data
