"""Identity of open files and directories: detects that one was removed, moved or replaced.

SQLite keeps working on a file that has lost its name: its commits succeed, and the data is lost when the
file is closed. The path is asked, since closing a descriptor of a live database file would drop locks.
"""

import os
import stat
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from akidb.domain.errors import Unavailable
from akidb.sql.database import driver_of


class FileIdentity:
    """A path, and the file or directory that it names when this is created."""

    __slots__ = ("_device", "_inode", "_is_file", "_look", "_path", "name")

    def __init__(self, path: Path, *, name: str | None = None, directory: bool = False) -> None:
        """Remember what is at `path`; `name` is its name in errors.

        A directory may be reached through a symbolic link, a file may not: SQLite would keep its log
        beside the file that the link names. Raises OSError if nothing is there, Unavailable for a file that
        is a link or has several names.
        """
        self.name = path.name if name is None else name
        self._path = str(path)
        self._is_file = not directory
        self._look = os.stat if directory else os.lstat
        found = self._look(self._path)
        self._device, self._inode = found.st_dev, found.st_ino
        if directory:
            return
        if not stat.S_ISREG(found.st_mode):
            what = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "not a regular file"
            raise Unavailable(f"{self.name} is {what}; move the file itself to this path")
        if found.st_nlink != 1:
            raise Unavailable(f"{self._second_name()}; remove the other name, or replace the file by a copy")

    def problem(self) -> str | None:
        """Return what happened to it; None if the path still names it, and no other path does."""
        try:
            found = self._look(self._path)
        except (FileNotFoundError, NotADirectoryError):
            return f"{self.name} was removed or moved while it was open"
        except OSError as error:
            return f"{self.name}: {error.strerror}"
        if found.st_ino != self._inode or found.st_dev != self._device:
            return f"{self.name} was replaced while it was open"
        if self._is_file and found.st_nlink != 1:
            return self._second_name()
        return None

    def require(self) -> None:
        """Raise Unavailable if there is a problem."""
        _refuse(self.problem())

    def _second_name(self) -> str:
        return f"{self.name} has a second name (a hard link), under which another program may use it"


class Placement:
    """A database file, its write-ahead log, and what both are within."""

    def __init__(self, path: Path, within: Sequence[FileIdentity]) -> None:
        self._name = path.name
        self._path = path
        self._identities = tuple(within)
        self._identified = False
        self._log_path = f"{path}-wal"
        self._logs: dict[Any, tuple[int, int] | None] = {}
        """Device and inode of the log of each open connection of the driver."""
        self._drivers: dict[sa.Connection, Any] = {}
        self._lock = threading.Lock()

    def connecting(self) -> None:
        """Check that a new connection opens the same files as the others. Raises Unavailable if not."""
        with self._lock:
            if not self._identified:
                with suppress(FileNotFoundError):  # SQLite reports it
                    self._identities = (*self._identities, FileIdentity(self._path))
                    self._identified = True
        self.require()
        if self._problem_of_logs() is not None:
            raise self._log_is_lost()

    def connected(self, connection: sa.Connection) -> None:
        """Note which log a new connection has opened: SQLite does not remove it before the last is closed."""
        driver = self._drivers[connection] = driver_of(connection)
        self._logs[driver] = _find(self._log_path)

    def closing(self, connection: sa.Connection) -> None:
        """Forget a connection that is about to be closed, or was invalidated."""
        self._logs.pop(self._drivers.pop(connection, None), None)

    def is_elsewhere(self) -> bool:
        """Return whether the file is not at its path: then only open connections can still read it."""
        return self._problem_of_file() is not None

    def problem(self) -> str | None:
        """Return what happened to them; None if all are in place."""
        return self._problem_of_file() or self._problem_of_logs()

    def require(self, driver: Any = None) -> None:
        """Raise Unavailable if they are not in place, for a connection that is about to commit if given."""
        _refuse(self._problem_of_file())
        log = self._logs.get(driver)
        if log is not None and log != _find(self._log_path):
            raise self._log_is_lost()

    def _problem_of_file(self) -> str | None:
        for identity in self._identities:
            problem = identity.problem()
            if problem is not None:
                return problem
        return None

    def _problem_of_logs(self) -> str | None:
        for driver, log in list(self._logs.items()):
            if log is not None and log != _find(self._log_path) and driver in self._logs:
                return f"the write-ahead log of {self._name} was removed or replaced; what it held is saved"
        return None

    def _log_is_lost(self) -> Unavailable:
        return Unavailable(
            f"the write-ahead log of {self._name} was removed or replaced; nothing was written: try again"
        )


def _find(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _refuse(problem: str | None) -> None:
    """Raise Unavailable if there is a problem: a write would be lost."""
    if problem is not None:
        raise Unavailable(
            f"{problem}; nothing was written: undo that, or close all connections, and try again"
        )
