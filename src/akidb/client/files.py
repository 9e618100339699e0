"""Files given by path or as file objects: atomic writes, plain reads, and errors that name them.

An error of such a file would otherwise be taken for one of a store, in whose transaction it is written.
"""

import io
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from akidb.domain.archives import ByteSink, ByteSource
from akidb.domain.errors import AlreadyExists, InvalidArgument, Unavailable
from akidb.observe.interrupts import is_of_handler

FileTarget = str | os.PathLike[str] | ByteSink
"""Where to write: a path, or an object with `write`."""
FileSource = str | os.PathLike[str] | ByteSource
"""Where to read: a path, or an object with `read`."""


@contextmanager
def writing(file: FileTarget, *, overwrite: bool) -> Iterator[ByteSink]:
    """Write a file atomically and durably, through a temporary file that only its owner can read.

    Raises AlreadyExists if the file exists, unless `overwrite` is set; InvalidArgument(`file`) if the path
    cannot be written or is not a regular file (a link, a device), or if an object does not take bytes;
    Unavailable, which names the file, if writing fails later.
    """
    if not isinstance(file, str | os.PathLike):
        yield _Sink(file, _name_of_open(file))
        return
    path = Path(file)
    _require_room(path, overwrite=overwrite)
    made = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        output: IO[bytes] = os.fdopen(
            os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb"
        )
    except OSError as error:
        raise InvalidArgument("file", f"cannot write {path}: {error.strerror}") from None
    try:
        with output:
            yield _Sink(output, str(path))
            output.flush()
            os.fsync(output.fileno())
        _put_in_place(made, path, overwrite=overwrite)
    except OSError as error:
        if is_of_handler(error):
            raise
        raise not_written(str(path), error) from error
    finally:
        made.unlink(missing_ok=True)


@contextmanager
def reading(file: FileSource) -> Iterator[ByteSource]:
    """Read from a file.

    Raises InvalidArgument(`file`) for a path that cannot be read, or an object that does not give bytes;
    Unavailable, which names the file, if reading fails later.
    """
    if not isinstance(file, str | os.PathLike):
        yield _Source(file, _name_of_open(file))
        return
    try:
        opened = Path(file).open("rb")  # noqa: SIM115 - `with` below: it must not catch read errors
    except OSError as error:
        raise InvalidArgument("file", f"cannot read {os.fspath(file)}: {error.strerror}") from None
    with opened:
        yield _Source(opened, os.fspath(file))


def not_written(name: str, error: OSError) -> Unavailable:
    """Return the error for a file that cannot be written."""
    return Unavailable(f"{name} cannot be written: {error.strerror or error}")


def _name_of_open(file: object) -> str:
    """Return what errors call a file object: its path, or its standard stream.

    Raises InvalidArgument(`file`) for a closed one.
    """
    found = getattr(file, "name", None)
    if isinstance(found, int) and found in _STREAMS:
        name = _STREAMS[found]
    elif isinstance(found, str | bytes | os.PathLike):
        name = os.fsdecode(found)
        name = _STREAMS.get(name, name)
    else:
        name = "the given file" if found is None else f"file descriptor {found}"
    if getattr(file, "closed", False):
        raise InvalidArgument("file", f"{name} is closed")
    return name


_STREAMS: Mapping[str | int, str] = {
    **dict.fromkeys(("<stdin>", 0), "standard input"),
    **dict.fromkeys(("<stdout>", 1), "standard output"),
}
"""What errors call a stream, by the names that Python gives it."""


class _Sink:
    """An object with `write`, whose errors name it."""

    def __init__(self, file: ByteSink, name: str) -> None:
        self._file = file
        self._name = name

    def write(self, data: bytes, /) -> object:
        try:
            return self._file.write(data)
        except OSError as error:
            if is_of_handler(error):
                raise
            raise not_written(self._name, error) from error
        except TypeError as error:
            if not isinstance(self._file, io.TextIOBase):
                raise
            raise InvalidArgument("file", f"{self._name} takes text, not bytes") from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _Source:
    """An object with `read`, whose errors name it."""

    def __init__(self, file: ByteSource, name: str) -> None:
        self._file = file
        self._name = name

    def read(self, size: int = -1, /) -> bytes:
        try:
            data = self._file.read(size)
        except OSError as error:
            if is_of_handler(error):
                raise
            reason = error.strerror or error
            raise Unavailable(f"{self._name} cannot be read: {reason}") from error
        if isinstance(data, str):
            raise InvalidArgument("file", f"{self._name} must give bytes, not text")
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _require_room(path: Path, *, overwrite: bool) -> None:
    """Refuse an existing path, unless it is a regular file and `overwrite` is set."""
    try:
        mode = path.lstat().st_mode
    except OSError:  # it does not exist, or cannot be created, which then fails below
        return
    if not stat.S_ISREG(mode):
        raise InvalidArgument("file", f"{path} is not a regular file and is never replaced")
    if not overwrite:
        raise AlreadyExists("file", "file", path)


def _put_in_place(made: Path, path: Path, *, overwrite: bool) -> None:
    """Move a finished file to its final name and sync the directory."""
    if overwrite:
        _require_room(path, overwrite=True)  # it may have changed during the write
        made.replace(path)
    else:
        try:
            os.link(made, path)  # unlike rename, it fails if the file exists by now
        except FileExistsError:
            raise AlreadyExists("file", "file", path) from None
        except OSError:  # the file system has no hard links
            _require_room(path, overwrite=False)
            made.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
