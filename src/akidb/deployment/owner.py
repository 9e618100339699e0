"""Single-process ownership of a data directory: a lock file, locked with `flock`, that names its holder."""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from akidb.domain.errors import Unavailable

LOCK_NAME = "owner.lock"
OPTIONS_WITH_VALUE = frozenset({"--data", "--url"})
"""Global options of `akidb`, which precede the command name."""


class _Holder(msgspec.Struct):
    """Content of the lock file."""

    pid: int = 0
    process: str = "another process"
    socket: str | None = None


class DirectoryHeld(Unavailable):
    """Another process owns the directory; if it is a server, `socket` is its Unix socket."""

    def __init__(self, directory: Path, holder: _Holder) -> None:
        self.pid = holder.pid
        self.process = holder.process
        self.socket = None if holder.socket is None else Path(holder.socket)
        name = f"process {holder.pid} ({holder.process})" if holder.pid else holder.process
        if self.socket is None:
            advice = "`akidb serve` lets several processes share a directory"
        else:
            advice = f"it is a server listening at unix://{self.socket}"
        super().__init__(f"{directory} is in use by {name}; {advice}")


@contextmanager
def kept_closed(directory: Path) -> Iterator[None]:
    """Keep other processes from opening the directory, without writing anything, not even the lock file.

    Raises DirectoryHeld if a process has it open.
    """
    try:
        descriptor = os.open(directory / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):  # no process ever opened it
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise DirectoryHeld(directory, _read_holder(descriptor)) from None
    finally:
        os.close(descriptor)


class OwnerLock:
    """The directory's lock, held from construction until `release`."""

    def __init__(self, directory: Path) -> None:
        """Acquire the lock. Raises DirectoryHeld if another process holds it."""
        self._path = directory / LOCK_NAME
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._write(_Holder(os.getpid(), _process_name()))
        except BlockingIOError:
            holder = _read_holder(self._descriptor)
            os.close(self._descriptor)
            raise DirectoryHeld(directory, holder) from None
        except BaseException:  # such as a full disk: a failed open must not keep the lock
            os.close(self._descriptor)
            raise

    def publish(self, socket: Path) -> None:
        """Write the path of this server's socket into the lock file."""
        self._write(_Holder(os.getpid(), _process_name(), str(socket)))

    def release(self) -> None:
        """Release the lock and clear the holder."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)

    def abandon(self) -> None:
        """Close the lock file in a forked child without releasing the parent's lock."""
        os.close(self._descriptor)

    def _write(self, holder: _Holder) -> None:
        body = msgspec.json.encode(holder)
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, body, 0)


def _read_holder(descriptor: int) -> _Holder:
    try:
        return msgspec.json.decode(os.pread(descriptor, 65536, 0), type=_Holder)
    except msgspec.MsgspecError:  # the holder is writing it right now
        return _Holder()


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
