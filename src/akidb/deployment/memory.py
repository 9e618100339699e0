"""A store for tests and notebooks that vanishes when its connection is closed."""

import fcntl
import os
import shutil
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace

from akidb.deployment.local import open_local
from akidb.domain.errors import Unavailable
from akidb.operations.declare import Request
from akidb.settings import Settings

A = TypeVar("A")

_PREFIX = "akidb-memory-"
_MARK_NAME = "akidb-memory"
"""A file in each folder, locked while it is in use; it has content since the lock was first held."""


class MemoryOperations:
    """`akidb.operations.Operations` of a directory of its own, removed on close or when the process ends.

    The directory is in the system's temporary one. If the process is killed, it stays behind there until the
    next such store of the same user is opened.
    """

    def __init__(self, settings: Settings) -> None:
        """Create the store. Commits do not wait for the disk."""
        try:
            _remove_leftovers()
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
            self._remove = weakref.finalize(self, _remove, folder, _take(folder), os.getpid())
        except OSError as error:
            raise Unavailable(f"there is no temporary directory for :memory: {error}") from None
        try:
            self._operations = open_local(folder / "data", replace(settings, synchronous="normal"))
        except BaseException:
            self._remove()
            raise

    def perform(self, request: Request[A], **ends: Any) -> A:
        """Execute a request, as specified by `akidb.operations.Operations`."""
        return self._operations.perform(request, **ends)

    def close(self) -> None:
        """Close the store and remove all that it has."""
        self._operations.close()
        self._remove()


def _take(folder: Path) -> int:
    """Lock a new folder, and return the descriptor that holds the lock."""
    mark = os.open(folder / _MARK_NAME, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(mark, fcntl.LOCK_EX)  # another process may be looking at it right now
    os.write(mark, b"in use\n")
    return mark


def _remove(folder: Path, mark: int, pid: int) -> None:
    if os.getpid() == pid:  # a forked child leaves it to its parent
        with suppress(OSError):
            _clear(folder)
    os.close(mark)


def _clear(folder: Path) -> None:
    """Remove a folder, its mark last: so what is left of it can be removed later."""
    for path in folder.iterdir():
        if path.name != _MARK_NAME:
            shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _remove_leftovers() -> None:
    """Remove the folders of killed processes: those that are marked, and that no process has locked."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # not ours, or removed meanwhile
            mark = os.open(folder / _MARK_NAME, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                found = os.fstat(mark)
                if found.st_uid == os.geteuid() == folder.lstat().st_uid:
                    fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if os.fstat(mark).st_size:  # without content it is one that is being made
                        _clear(folder)
            finally:
                os.close(mark)
