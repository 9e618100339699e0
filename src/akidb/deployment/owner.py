"""One owner for each data directory: a lock file held with `flock`, which names its holder."""

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
"""Those that stand before the command's name in a call of `akidb`."""


class _Holder(msgspec.Struct):
    """What the lock file says."""

    pid: int = 0
    process: str = "another process"
    socket: str | None = None


class DirectoryHeld(Unavailable):
    """Another process owns the directory; when it is a server, `socket` is where it listens."""

    def __init__(self, directory: Path, holder: _Holder) -> None:
        self.pid = holder.pid
        self.process = holder.process
        self.socket = None if holder.socket is None else Path(holder.socket)
        name = f"process {holder.pid} ({holder.process})" if holder.pid else holder.process
        if self.socket is None:
            advice = "`akidb serve` lets several processes share a directory"
        else:
            advice = f"that is a server, which answers at unix://{self.socket}"
        super().__init__(f"{directory} is in use by {name}; {advice}")


@contextmanager
def kept_closed(directory: Path) -> Iterator[None]:
    """Let no process open the directory meanwhile; nothing is written, not even the lock file.

    Raises DirectoryHeld when one has it open.
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
    """The directory's lock, held from the moment it is made until `release`."""

    def __init__(self, directory: Path) -> None:
        """Raises DirectoryHeld when another process has it."""
        self._path = directory / LOCK_NAME
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._write(_Holder(os.getpid(), _process_name()))
        except BlockingIOError:
            holder = _read_holder(self._descriptor)
            os.close(self._descriptor)
            raise DirectoryHeld(directory, holder) from None
        except BaseException:  # no space for its name: who fails to open the directory must not hold it
            os.close(self._descriptor)
            raise

    def publish(self, socket: Path) -> None:
        """Tell others where this process serves the directory."""
        self._write(_Holder(os.getpid(), _process_name(), str(socket)))

    def release(self) -> None:
        """Let others have the directory."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)

    def abandon(self) -> None:
        """Forget the lock in a forked child, where it belongs to the parent."""
        os.close(self._descriptor)

    def _write(self, holder: _Holder) -> None:
        body = msgspec.json.encode(holder)
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, body, 0)


def _read_holder(descriptor: int) -> _Holder:
    try:
        return msgspec.json.decode(os.pread(descriptor, 65536, 0), type=_Holder)
    except msgspec.MsgspecError:  # the holder is just writing it
        return _Holder()


def _process_name() -> str:
    """The program and its command, such as `akidb serve`."""
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
