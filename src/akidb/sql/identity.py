"""Identity of open files and directories: detects that one was removed, moved, replaced or overwritten.

SQLite keeps working on a file that has lost its name: its commits succeed, and the data is lost when the
file is closed. The path is asked, since closing a descriptor of a live database file would drop locks.

A file to which another program writes keeps its name. SQLite in WAL mode writes to the file itself only in a
checkpoint and never makes it shorter, and to its log only in a transaction: what was seen of both after the
last write of this process must still be true.
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
        found = self.inspect()
        return found if isinstance(found, str) else None

    def inspect(self) -> str | os.stat_result:
        """Return what happened to it, as `problem` does, or else what the file system says about it."""
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
        return found

    def require(self) -> None:
        """Raise Unavailable if there is a problem."""
        _refuse(self.problem())

    def _second_name(self) -> str:
        return f"{self.name} has a second name (a hard link), under which another program may use it"


_OVERWRITTEN = "the write-ahead log of {} was truncated or overwritten"


class Placement:
    """A database file, its write-ahead log, and what both are within.

    `require`, `differs`, `compare` and `note` are about the contents: they are exact while no writer of this
    process is at work, so with the gate held.
    """

    def __init__(self, path: Path, within: Sequence[FileIdentity]) -> None:
        self.altered: str | None = None
        """What another program did to the contents; they must not be used any more."""
        self._name = path.name
        self._path = path
        self._file_path = str(path)
        self._within = tuple(within)
        self._file: FileIdentity | None = None
        self._log_path = f"{path}-wal"
        self._logs: dict[Any, tuple[int, int] | None] = {}
        """Device and inode of the log of each open connection of the driver."""
        self._drivers: dict[sa.Connection, Any] = {}
        self._written: tuple[int, int] | None = None
        """Size and time of modification of the file after our last write to it; None if it is not open."""
        self._log_bytes = 0
        """The size of the log after our last write."""
        self._log_time = 0
        """Its time of modification then, in nanoseconds; 0 if there was none."""
        self._lock = threading.Lock()

    def connecting(self) -> None:
        """Check that a new connection opens the same files as the others. Raises Unavailable if not."""
        with self._lock:
            if self._file is None:
                with suppress(FileNotFoundError):  # SQLite reports it
                    self._file = FileIdentity(self._path)
        _refuse(self._problem_of_file())
        if self._problem_of_logs() is not None:
            raise self._log_is_lost()

    def connected(self, connection: sa.Connection) -> None:
        """Note which log a new connection has opened: SQLite does not remove it before the last is closed."""
        driver = self._drivers[connection] = driver_of(connection)
        self._logs[driver] = _find(self._log_path)
        with self._lock:
            if self._written is None:
                self.note()

    def closing(self, connection: sa.Connection) -> None:
        """Forget a connection that is about to be closed, or was invalidated."""
        with self._lock:
            self._logs.pop(self._drivers.pop(connection, None), None)
            if not self._drivers:  # closing the last one moves the log into the file
                self._written = None

    def is_elsewhere(self) -> bool:
        """Return whether the file is not at its path: then only open connections can still read it."""
        return self._problem_of_file() is not None

    def problem(self) -> str | None:
        """Return what happened to them; None if all are in place."""
        return self._problem_of_file() or self._problem_of_logs()

    def require(self, driver: Any = None) -> None:
        """Raise Unavailable if they are not in place, for a connection that is about to commit if given."""
        self.require_unaltered()
        problem = self._problem_of_file(contents=True)
        self.require_unaltered()
        _refuse(problem)
        log = self._logs.get(driver)
        if log is None:
            return
        try:
            found = os.lstat(self._log_path)
        except OSError:
            raise self._log_is_lost() from None
        if found.st_ino != log[1] or found.st_dev != log[0]:
            raise self._log_is_lost()
        if found.st_size < self._log_bytes:
            self._alter(_OVERWRITTEN.format(self._name))
            self.require_unaltered()

    def require_unaltered(self) -> None:
        """Raise Unavailable if another program was seen to have written to the file or its log."""
        if self.altered is not None:
            raise Unavailable(f"{self.altered}; its content is not used: stop AkiDB, and run `akidb doctor`")

    def differs(self) -> bool:
        """Return whether file or log look as if another program has written to them."""
        try:
            found, log = os.lstat(self._file_path), os.lstat(self._log_path)
        except OSError:  # removed: another matter
            return False
        written = self._written
        if written is not None and written != (found.st_size, found.st_mtime_ns):
            return True
        return self._is_log_altered(log) and (log.st_dev, log.st_ino) in self._logs.values()

    def require_log(self) -> None:
        """Raise Unavailable if another program has written to the log, before a transaction writes to it.

        Not later: a long transaction writes to the log before it commits.
        """
        try:
            log = os.lstat(self._log_path)
        except OSError:  # removed: another matter
            return
        if self._is_log_altered(log) and (log.st_dev, log.st_ino) in self._logs.values():
            self._alter(_OVERWRITTEN.format(self._name))
            self.require_unaltered()

    def _is_log_altered(self, log: os.stat_result) -> bool:
        # A transaction of another SQLite makes it longer; `akidb doctor` examines what that wrote.
        if log.st_size == self._log_bytes:
            return self._log_time not in {0, log.st_mtime_ns}
        return log.st_size < self._log_bytes

    def has_changed(self) -> bool:
        """Return whether anything was written to the file itself since that was noted."""
        try:
            found = os.lstat(self._file_path)
        except OSError:  # removed: another matter
            return False
        return self._written is not None and self._written != (found.st_size, found.st_mtime_ns)

    def compare(self) -> str | None:
        """Return what another program did to the contents; None if it did nothing."""
        if self.altered is None and self._problem_of_file(contents=True) is None and self.differs():
            self._alter(_OVERWRITTEN.format(self._name))
        return self.altered

    def note(self) -> None:
        """Note the state of the file and its log, after writing to them."""
        try:
            found = os.lstat(self._file_path)
        except OSError:
            return
        self._written = (found.st_size, found.st_mtime_ns)
        self.note_log()

    def note_log(self) -> int:
        """Note the state of the log, after writing to it, and return its size."""
        try:
            found = os.lstat(self._log_path)
        except OSError:
            self._log_bytes = self._log_time = 0
        else:
            self._log_bytes, self._log_time = found.st_size, found.st_mtime_ns
        return self._log_bytes

    def has_grown(self) -> bool:
        """Return whether the file is not smaller than noted."""
        found = None if self._file is None else self._file.inspect()
        return isinstance(found, os.stat_result) and found.st_size >= (self._written or (0, 0))[0]

    def _problem_of_file(self, *, contents: bool = False) -> str | None:
        for identity in self._within:
            problem = identity.problem()
            if problem is not None:
                return problem
        if self._file is None:
            return self.altered
        found = self._file.inspect()
        if isinstance(found, str):
            return found
        if contents and self._written is not None and self.altered is None:
            size, time = self._written
            if found.st_size != size or found.st_mtime_ns != time:
                how = "truncated" if found.st_size < size else "written to or touched"
                self._alter(f"{self._name} was {how} by another program")
        return self.altered

    def _alter(self, problem: str) -> None:
        self.altered = f"{problem} while it was open"

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
