"""Erases all remains of deleted rows in a live SQLite file.

`PRAGMA secure_delete` overwrites deleted rows in place, and every freed page. But when SQLite moves rows
between the pages of a b-tree, a copy may remain in the gap between a page's cell pointers and its cells,
which later deletions miss (of 3,600 rows, 3 or 4 were found again). This module writes zeros into those
gaps. They are unused space, so a partial write leaves the file intact.

It must run with the file's write gate held and its write-ahead log empty. It is independent of the tables.
"""

import fcntl
import os
import struct
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from akidb.domain.errors import Unavailable

_INTERIOR, _LEAF = frozenset({2, 5}), frozenset({10, 13})
_FILE_HEADER_BYTES = 100
_SHARED_LOCK = (0x40000002, 510)
"""The bytes of a file that SQLite locks while it is open: their first, and their number."""


class Descriptors:
    """Descriptors of live files, in addition to SQLite's own.

    Closing one drops the locks that SQLite holds on the file in this process, so it is kept open until the
    last connection to the file is closed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connections: Counter[Path] = Counter()
        self._open: dict[Path, int] = {}

    def connecting(self, path: Path) -> None:
        """Count a connection that is about to be opened."""
        with self._lock:
            self._connections[path] += 1

    def disconnected(self, path: Path) -> None:
        """Uncount a connection that was closed or could not be opened."""
        with self._lock:
            self._connections[path] -= 1
            if not self._connections[path]:
                del self._connections[path]
                if path in self._open:
                    os.close(self._open.pop(path))

    def forget(self) -> None:
        """Reset in a forked child: the descriptors, and the holder of the lock, belong to the parent."""
        self._lock = threading.Lock()
        self._connections = Counter()
        self._open = {}

    def of(self, path: Path) -> int:
        """Return the descriptor of a file with an open connection."""
        with self._lock:
            found = self._open.get(path)
            if found is not None and not os.path.samestat(os.fstat(found), path.stat()):
                os.close(self._open.pop(path))  # the file was replaced: its locks no longer matter
                found = None
            if found is None:
                found = self._open[path] = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            return found

    def keep_log(self, path: Path) -> None:
        """Let SQLite leave the log of a file as it is when the last connection is closed.

        It moves the log into the file only if it can lock the file for itself. Does nothing where the system
        has no locks that belong to a descriptor.
        """
        if hasattr(fcntl, "F_OFD_SETLK"):
            lock = struct.pack("hhqqi0q", fcntl.F_RDLCK, os.SEEK_SET, *_SHARED_LOCK, 0)
            fcntl.fcntl(self.of(path), fcntl.F_OFD_SETLK, lock)


def clear_gaps(descriptor: int, roots: Iterable[int], name: str) -> int:
    """Write zeros into the gaps of all pages of the b-trees with these root pages.

    Return the number of pages that needed it, after an fsync. Raises Unavailable, naming the file, for a
    page that is not a b-tree page; OSError on a disk error.
    """
    header = os.pread(descriptor, _FILE_HEADER_BYTES, 0)
    (size,) = struct.unpack_from(">H", header, 16)
    size = 65536 if size == 1 else size
    usable = size - header[20]
    zeros = bytes(size)
    cleared = 0
    waiting = [1, *roots]
    seen: set[int] = set()
    while waiting:
        number = waiting.pop()
        if number in seen:
            continue
        seen.add(number)
        start = (number - 1) * size
        page = os.pread(descriptor, size, start)
        try:
            begin, end, children = _read_page(page, _FILE_HEADER_BYTES if number == 1 else 0, usable)
        except (ValueError, IndexError, struct.error):
            raise Unavailable(f"{name}: the file is damaged; restore it from a backup") from None
        waiting += children
        if page[begin:end] != zeros[: end - begin]:
            os.pwrite(descriptor, zeros[: end - begin], start + begin)
            cleared += 1
    if cleared:
        os.fsync(descriptor)
    return cleared


def _read_page(page: bytes, at: int, usable: int) -> tuple[int, int, list[int]]:
    """Return the start and end of the gap of a page, and its child pages. `at` is the header offset."""
    if len(page) < usable or page[at] not in _INTERIOR | _LEAF:
        raise ValueError("not a b-tree page")
    cells, content = struct.unpack_from(">HH", page, at + 3)
    pointers = at + (12 if page[at] in _INTERIOR else 8)
    begin, end = pointers + 2 * cells, content or 65536
    if not begin <= end <= usable:
        raise ValueError("no room for the cells")
    if page[at] in _LEAF:
        return begin, end, []
    offsets = struct.unpack_from(f">{cells}H", page, pointers)
    children = [int(struct.unpack_from(">I", page, offset)[0]) for offset in offsets]
    return begin, end, [*children, int(struct.unpack_from(">I", page, at + 8)[0])]
