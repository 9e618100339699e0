"""The summary of an archive that is passed on: what a backup leaves out is known at its end only."""

import zlib

import msgspec

from akidb.archive.frames import DEFLATED, HEAD, JSON, MAGIC, MAX_FRAME_BYTES
from akidb.domain.archives import MAX_NAMED, BackupReport, ByteSink, fault
from akidb.ports import wire
from akidb.ports.archive import Summary

_decode = msgspec.json.Decoder(Summary, dec_hook=wire.dec_hook).decode


class PassedOn:
    """Passes an archive on to a sink, and keeps the last of its JSON frames, which is the summary."""

    def __init__(self, sink: ByteSink) -> None:
        self._sink = sink
        self._head = bytearray()
        self._left_bytes = len(MAGIC)
        self._is_kept = False
        self._content = bytearray()
        self._encoding = self._raw_bytes = 0

    def write(self, data: bytes, /) -> object:
        """Write to the sink."""
        written = self._sink.write(data)
        at = 0
        while at < len(data):
            if self._left_bytes:
                end = min(len(data), at + self._left_bytes)
                if self._is_kept:
                    self._content += data[at:end]
                self._left_bytes -= end - at
            else:
                end = min(len(data), at + HEAD.size - len(self._head))
                self._head += data[at:end]
                if len(self._head) == HEAD.size:
                    self._begin()
            at = end
        return written

    def _begin(self) -> None:
        kind, encoding, stored_bytes, raw_bytes = HEAD.unpack(bytes(self._head))
        self._head.clear()
        self._left_bytes = stored_bytes
        self._is_kept = kind == JSON and raw_bytes <= MAX_FRAME_BYTES
        if self._is_kept:
            self._content.clear()
            self._encoding, self._raw_bytes = encoding, raw_bytes

    def report(self) -> BackupReport:
        """Return the report of a backup that was passed on completely. Raises InvalidArgument(`archive`)."""
        content = bytes(self._content)
        try:
            if self._encoding == DEFLATED:
                content = zlib.decompressobj(-15).decompress(content, self._raw_bytes)
            summary = _decode(content)
        except (zlib.error, msgspec.DecodeError):
            raise fault("ends without a summary") from None
        return BackupReport(
            tenants_left_out=summary.left_out[:MAX_NAMED],
            tenants_left_out_count=len(summary.left_out),
            rows_left_out=summary.rows_left_out,
        )
