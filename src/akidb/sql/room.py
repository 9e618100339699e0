"""The free space of a disk, and the reserve of it that only operations which release space may use.

Growing writes are refused while less than the reserve is free. As other programs may fill the disk all the
same, a file of allocated blocks, the ballast, is kept on a disk that is nearly full. It is removed for the
time of an operation that releases space.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from akidb.domain.errors import StorageFull

BALLAST_BYTES: Final = 8 * 2**20
"""Enough for two write-ahead logs of SQLite's usual size, and their checkpoints."""
NEARLY_FULL_BYTES: Final = 2**30
"""The ballast is kept while less is free; on a roomy disk it is not needed."""
LEFT_BYTES: Final = 2**18
"""What a new ballast leaves free on a full disk: a store that is opened for reading needs some."""
TRUSTED_SECONDS: Final = 0.01
"""How long a look at a roomy disk holds; no disk takes `ROOMY_BYTES` in that time."""
ROOMY_BYTES: Final = 64 * 2**20
SHARE_OF_UPLOADS: Final = 0.5
"""Uploads in progress leave the rest to other writes."""
GROWTH_PER_BYTE: Final = 3
"""Of a document: its row and its share of the pages, once in the log and once in the file."""
PAGE_BYTES: Final = 4096
PAGES_PER_WRITE: Final = 16
_PIECE_BYTES: Final = 2**20


class Room:
    """`akidb.ports.disk.Disk` of the file system of a directory."""

    def __init__(self, directory: Path, reserve_bytes: int, ballast: Path | None = None) -> None:
        """Keep `reserve_bytes` free; 0 disables that. `ballast` is a path on the same disk."""
        self._directory = directory
        self.reserve_bytes = reserve_bytes
        self._ballast = ballast
        self._ballast_bytes = min(BALLAST_BYTES, reserve_bytes)
        self._lock = threading.Lock()
        self._releasing = 0
        self._uploaded_bytes = 0
        self._spare_bytes = 0
        self._trusted_until = 0.0

    def free_bytes(self) -> int:
        """Return the free bytes of the disk. Raises OSError."""
        found = os.statvfs(self._directory)
        return found.f_bavail * found.f_frsize

    def spare_bytes(self) -> int:
        """Return the free bytes above the reserve."""
        return max(0, self.free_bytes() - self.reserve_bytes)

    def has(self, growth_bytes: int, *, share: float = 1.0) -> bool:
        """Return whether that share of the reserve is left after growing by so many bytes."""
        if not self.reserve_bytes:
            return True
        if growth_bytes + ROOMY_BYTES < self._spare_bytes and time.monotonic() < self._trusted_until:
            return True
        try:
            free = self.free_bytes()
        except OSError:  # the write itself will tell
            return True
        self._spare_bytes, self._trusted_until = free - self.reserve_bytes, time.monotonic() + TRUSTED_SECONDS
        return free - growth_bytes >= self.reserve_bytes * share

    def require(self, growth_bytes: int = 0) -> None:
        """Raise StorageFull if the reserve would not be left free after growing by so many bytes."""
        if not self.has(growth_bytes):
            raise self.full()

    def full(self) -> StorageFull:
        """Return the error for a write that would use the reserve."""
        return StorageFull(
            f"less than the reserve of {self.reserve_bytes} bytes (disk_reserve_bytes) would be left on the"
            " disk: delete or purge data, or free space on it"
        )

    @contextmanager
    def releasing(self) -> Iterator[None]:
        """Let the block use the reserve: on a full disk the ballast is removed for its time."""
        with self._lock:
            self._releasing += 1
            if self._is_low(self._ballast_bytes):
                self._drop()
        try:
            yield
        finally:
            with self._lock:
                self._releasing -= 1
                if not self._releasing:
                    self._restock()

    @contextmanager
    def uploading(self) -> Iterator[Callable[[int], None]]:
        """Yield a function to call before writing the next so many bytes of an uploaded file."""
        size = 0

        def take(more_bytes: int) -> None:
            nonlocal size
            with self._lock:
                room = self.free_bytes() + self._uploaded_bytes - self.reserve_bytes
                if self._uploaded_bytes + more_bytes > room * SHARE_OF_UPLOADS:
                    raise StorageFull(
                        "not enough space for the archive: uploads may take half of the free space above the"
                        " reserve (disk_reserve_bytes)"
                    )
                self._uploaded_bytes += more_bytes
                size += more_bytes

        try:
            yield take
        finally:
            with self._lock:
                self._uploaded_bytes -= size

    def _is_low(self, wanted_bytes: int) -> bool:
        try:
            return self._ballast is not None and self.free_bytes() < wanted_bytes
        except OSError:
            return False

    def _drop(self) -> None:
        assert self._ballast is not None
        with suppress(OSError):  # the operation itself will tell
            self._ballast.unlink(missing_ok=True)

    def _restock(self) -> None:
        """Make the ballast on a nearly full disk, as large as possible; remove it from a roomy one."""
        if self._ballast is None or not self._ballast_bytes:
            return
        with suppress(OSError):
            free = self.free_bytes()
            there = self._ballast.stat().st_size if self._ballast.exists() else 0
            if free > NEARLY_FULL_BYTES:
                if there:
                    self._drop()
                return
            size = min(self._ballast_bytes, there + max(0, free - LEFT_BYTES))
            if size > there:
                _allocate(self._ballast, size)


def _allocate(path: Path, size: int) -> None:
    """Make a file of allocated blocks, readable only by its owner; leave none if that fails."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        else:
            for at in range(0, size, _PIECE_BYTES):
                os.pwrite(descriptor, bytes(min(_PIECE_BYTES, size - at)), at)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def require_for_rows(room: Room, driver: Any, size_bytes: int) -> None:
    """Raise StorageFull if a transaction that writes rows of so many bytes would use the reserve.

    Pages that deleted rows left free in the file of the connection `driver` are used first: then only the log
    grows, for which half of the reserve suffices. Otherwise nothing could be written after deleting.
    """
    growth = size_bytes * GROWTH_PER_BYTE + PAGES_PER_WRITE * PAGE_BYTES
    if room.has(growth):
        return
    (free_pages,) = driver.execute("PRAGMA freelist_count").fetchone()
    if free_pages * PAGE_BYTES < 2 * size_bytes or not room.has(growth, share=0.5):
        raise room.full()
