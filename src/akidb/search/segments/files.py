"""Arrays in files, with checksums; nothing is mapped, since truncating a mapped file kills its readers."""

import errno
import hashlib
import os
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
_Number = TypeVar("_Number", bound=np.generic)

_SUMMED_BYTES: Final = 512
SYNCED_BYTES: Final = 8 * 2**20
"""A large file is synced in steps of this size: a commit of the store may have to wait for such a step."""


class SegmentDamaged(Exception):
    """A segment is missing, incomplete, altered, or of another version or collection: build it again."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why


_DAMAGE: Final = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EIO, errno.EACCES)


def unreadable(path: Path, error: OSError) -> Exception:
    """Return SegmentDamaged for a file that cannot be read, or `error` if that says nothing about the file.

    Too many open files, for example, are no reason to build a segment again.
    """
    if error.errno not in _DAMAGE:
        return error
    return SegmentDamaged(path, f"cannot be read: {error.strerror}")


class FileRecord(msgspec.Struct, frozen=True):
    """What a file must contain."""

    size: int
    checksum: str | None = None
    """None for a file whose parts are checked when they are read."""


class Checksum:
    """The BLAKE2b of the sums of 64-bit words in each 512 bytes: memory speed, four times that of CRC-32.

    Undetected are only changes within 512 bytes that keep the sum, such as swapped words.
    """

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=16)

    def add(self, data: Bytes) -> None:
        """Add the next bytes; a multiple of 512, except for the last ones."""
        whole = len(data) - len(data) % _SUMMED_BYTES
        words = data[:whole].view("<u8").reshape(-1, _SUMMED_BYTES // 8)
        self._digest.update(words.sum(axis=1, dtype=np.uint64).data)
        self._digest.update(data[whole:].data)

    def hex(self) -> str:
        """Return the checksum of all bytes."""
        return self._digest.hexdigest()


def as_bytes(array: NDArray[Any]) -> Bytes:
    """Return the bytes of an array, without copying if it is contiguous."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


class ArrayWriter:
    """Writes a file of several arrays, readable only by its owner; `close` syncs it."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        self.size = 0
        self._unsynced = 0

    def write(self, array: NDArray[Any]) -> None:
        """Append an array."""
        data = as_bytes(array).data
        while data:
            written = os.write(self._descriptor, data[:SYNCED_BYTES])
            data = data[written:]
            self.size += written
            self._unsynced += written
            if self._unsynced >= SYNCED_BYTES:
                self._sync()

    def close(self, *, sync: bool = True) -> None:
        """Sync and close the file."""
        try:
            if sync:
                self._sync()
        finally:
            os.close(self._descriptor)

    def _sync(self) -> None:
        os.fsync(self._descriptor)
        self._unsynced = 0


def write_array(path: Path, array: NDArray[Any], *, sync: bool = True) -> FileRecord:
    """Write a new file."""
    writer = ArrayWriter(path)
    try:
        writer.write(array)
    finally:
        writer.close(sync=sync)
    checksum = Checksum()
    checksum.add(as_bytes(array))
    return FileRecord(writer.size, checksum.hex())


def read_array(path: Path, record: FileRecord, dtype: type[_Number]) -> NDArray[_Number]:
    """Read a file into memory and check it.

    Raises SegmentDamaged, and OSError for what is not the file's fault.
    """
    data = np.empty(record.size, dtype=np.uint8)
    try:
        with path.open("rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size != record.size:
                raise SegmentDamaged(path, "has another size than its header says")
            view = data.data
            while view:
                count = file.readinto(view)
                if not count:
                    raise SegmentDamaged(path, "ends too early")
                view = view[count:]
    except OSError as error:
        raise unreadable(path, error) from error
    checksum = Checksum()
    checksum.add(data)
    if checksum.hex() != record.checksum:
        raise SegmentDamaged(path, "does not match its checksum")
    if record.size % np.dtype(dtype).itemsize:
        raise SegmentDamaged(path, "does not contain whole numbers")
    return data.view(dtype)
