"""Single-process ownership of a data directory: it is locked, and a note in it names the holder."""

import fcntl
import json
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from akidb.deployment.clock import CLOCK_NAME
from akidb.deployment.note import LOCK_NAME, METADATA_NAME, Holder, is_same, read_holder
from akidb.deployment.private import OTHERS, close_to_others, require_private
from akidb.domain.errors import Unavailable
from akidb.observe.logs import logger
from akidb.sql.application_id import METADATA, require_own
from akidb.sql.archive_image import SCRATCH_NAME
from akidb.sql.identity import FileIdentity

TENANTS_NAME = "tenants"
INDEXES_NAME = "indexes"
COPIES_NAME = "backups"
PRIVATE_NAMES = (
    *(TENANTS_NAME, INDEXES_NAME, COPIES_NAME, SCRATCH_NAME, f"{TENANTS_NAME}/{SCRATCH_NAME}"),
    *(METADATA_NAME, f"{METADATA_NAME}-wal", f"{METADATA_NAME}-shm", LOCK_NAME),
)
"""What must not be a link, nor writable by others."""
_log = logger("akidb.deployment")
_READING = os.O_RDONLY | os.O_CLOEXEC
OPTIONS_WITH_VALUE = frozenset({"--data", "--url", "--wait"})
"""Global options of `akidb`, which precede the command name."""


_FIRST_LOOK_SECONDS, _LAST_LOOK_SECONDS = 0.005, 0.1

T = TypeVar("T")


class DirectoryHeld(Unavailable):
    """Another process owns the directory; if it is a server, `socket` is its Unix socket."""

    def __init__(self, directory: Path, holder: Holder) -> None:
        self.pid = holder.pid
        self.process = holder.process
        self.socket = None if holder.socket is None else Path(holder.socket)
        self.may_end_soon = self.socket is None and holder.pid != os.getpid()
        """Whether it makes sense to wait: it is not a server, nor this process."""
        name = f"process {holder.pid} ({holder.process})" if holder.pid else holder.process
        if holder.directory is not None and not is_same(holder.directory, directory):
            self.socket = None  # at that path there may be the socket of another server
            advice = f"it opened it as {holder.directory}: if it was moved, move it back, or end that process"
        elif self.socket is None:
            advice = "`akidb serve` lets several processes share a directory"
        else:
            advice = f"it is a server listening at unix://{self.socket}"
        super().__init__(f"{directory} is in use by {name}; {advice}")


def patiently(open: Callable[[], T], seconds: float) -> T:
    """Call `open`, again and again for `seconds` while another process has the directory open.

    A server is not waited for: `DirectoryHeld` names its socket. Raises like `open`.
    """
    deadline, pause = time.monotonic() + seconds, _FIRST_LOOK_SECONDS
    while True:
        try:
            return open()
        except DirectoryHeld as held:
            left = deadline - time.monotonic()
            if not held.may_end_soon or left <= 0:
                if held.may_end_soon and seconds:
                    held.add_note(f"waited {seconds:g} s for it")
                raise
        time.sleep(min(pause, left))  # outside the operation, so that Ctrl-C ends it
        pause = min(2 * pause, _LAST_LOOK_SECONDS)


@contextmanager
def kept_closed(directory: Path) -> Iterator[None]:
    """Keep other processes from opening the directory, without writing anything, not even the note.

    Raises DirectoryHeld if a process has it open.
    """
    with ExitStack() as opened:
        for path in (directory, directory / LOCK_NAME):
            try:
                descriptor = os.open(path, _READING)
            except (FileNotFoundError, NotADirectoryError):  # no process ever opened it
                break
            opened.callback(os.close, descriptor)
            _lock(descriptor, fcntl.LOCK_SH, directory)
        yield


class OwnerLock:
    """The lock of a directory, held from construction until `release`, and the note that names the holder.

    The directory itself is locked: a lock on a file in it could be removed with the file. The note is locked
    as well, to keep out versions of AkiDB that lock only that.
    """

    def __init__(self, directory: Path) -> None:
        """Acquire the lock.

        Raises DirectoryHeld if another process holds it, Unavailable if other users may change the directory,
        or its metadata is of another program. Such a directory is not changed.
        """
        self._holder = Holder(os.getpid(), _process_name(), directory=str(directory.absolute()))
        self._note = -1
        self._directory = os.open(directory, _READING | os.O_DIRECTORY)
        try:
            _lock(self._directory, fcntl.LOCK_EX, directory)
            self.identity = FileIdentity(directory, name="the data directory", directory=True)
            if not os.path.samestat(os.fstat(self._directory), directory.stat()):
                raise Unavailable(f"{directory} was replaced while it was being opened; try again")
            require_private(directory, PRIVATE_NAMES)
            require_own_directory(directory)
            close_to_others(directory)
            self._open_note()
            _lock(self._note, fcntl.LOCK_EX, directory)
            self._write()
        except BaseException:  # such as a full disk: a failed open must not keep the lock
            self.abandon()
            raise

    def publish(self, socket: Path) -> None:
        """Write the path of this server's socket into the note."""
        self._holder = msgspec.structs.replace(self._holder, socket=str(socket))
        self._write()

    def keep(self) -> None:
        """Write the note again if it was removed or replaced; close the directory to other users again."""
        self._keep_private()
        try:
            found = os.stat(LOCK_NAME, dir_fd=self._directory, follow_symlinks=False)
            if os.path.samestat(found, os.fstat(self._note)):
                return
        except FileNotFoundError:
            pass
        except OSError:
            return
        with suppress(OSError):  # the note only serves error messages: the lock is the directory's
            os.close(self._note)
            self._note = -1
            self._open_note()
            self._write()
            fcntl.flock(self._note, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        """Release the lock and clear the note."""
        if self._note >= 0:
            with suppress(OSError):
                os.ftruncate(self._note, 0)
        self.abandon()

    def abandon(self) -> None:
        """Close the descriptors; in a forked child the parent keeps the lock."""
        for descriptor in (self._note, self._directory):
            if descriptor >= 0:
                os.close(descriptor)

    def _keep_private(self) -> None:
        mode = stat.S_IMODE(os.fstat(self._directory).st_mode)
        if not mode & OTHERS:
            return
        with suppress(OSError):
            os.fchmod(self._directory, mode & ~OTHERS)
            _log.warning("the data directory had mode %04o; it is closed to other users again", mode)

    def _open_note(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._note = os.open(LOCK_NAME, flags, 0o600, dir_fd=self._directory)

    def _write(self) -> None:
        # The standard library's JSON, since a path need not be valid UTF-8.
        body = json.dumps(msgspec.to_builtins(self._holder), separators=(",", ":")).encode()
        os.ftruncate(self._note, 0)
        os.pwrite(self._note, body, 0)


def require_own_directory(directory: Path) -> None:
    """Raise Unavailable if the metadata in a directory is another program's. Requires the directory's lock.

    For with the lock held, no connection of this process has the file open.
    """
    alone = not any((directory / name).exists() for name in (TENANTS_NAME, CLOCK_NAME))
    require_own(directory / METADATA_NAME, METADATA, alone=alone)


def _lock(descriptor: int, kind: int, directory: Path) -> None:
    """Lock a directory or its note. Raises DirectoryHeld if a process holds a lock on it."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DirectoryHeld(directory, read_holder(directory)) from None
    except OSError as error:
        raise Unavailable(
            f"{directory} cannot be locked ({error.strerror}): it must be on a local file system"
        ) from error


def _process_name() -> str:
    """Return the program and its command, such as `akidb serve`."""
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    words = iter(sys.argv[1:])
    command = []
    for word in words:
        if word in OPTIONS_WITH_VALUE:
            next(words, None)
        elif not word.startswith("-"):
            command.append(word)
            break
    return " ".join(["python" if name in {"", "-c"} else name, *command])
