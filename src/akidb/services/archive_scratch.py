"""Scratch space for archives."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from akidb.domain.archives import ByteSource
from akidb.domain.errors import Unavailable
from akidb.ports.disk import Disk

COPIED_BYTES = 2**20


class ArchiveScratch:
    """Scratch space for archives while they are checked."""

    def __init__(self, scratch: Path | None, disk: Disk) -> None:
        """Take a directory, created when needed, or None for the system's temporary one, and its disk."""
        self._scratch = scratch
        self._disk = disk
        self.room_bytes = disk.spare_bytes
        """The limit of the unpacked size of an archive."""

    @contextmanager
    def seekable(self, source: ByteSource) -> Iterator[IO[bytes]]:
        """Yield the source itself if it is seekable, else a copy, at its current position."""
        seekable = getattr(source, "seekable", None)
        if seekable is not None and seekable():
            yield cast("IO[bytes]", source)
            return
        if self._scratch is not None:
            self._scratch.mkdir(mode=0o700, exist_ok=True)
        with (
            self._disk.uploading() as take,
            temporary_file(self._scratch) as copy,
        ):
            while piece := source.read(COPIED_BYTES):
                take(len(piece))
                copy.write(piece)
            copy.seek(0)
            yield copy


def temporary_file(directory: Path | None) -> IO[bytes]:
    """Return a file without a name in this directory, or by default in the system's temporary one."""
    try:
        return tempfile.TemporaryFile(dir=directory, prefix="akidb-")
    except FileNotFoundError:
        raise Unavailable("there is no temporary directory that can be written: set TMPDIR") from None
