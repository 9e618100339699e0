"""Files given by path or as file objects: atomic writes, plain reads."""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from akidb.domain.archives import ByteSink, ByteSource
from akidb.domain.errors import AlreadyExists, InvalidArgument, Unavailable

FileTarget = str | os.PathLike[str] | ByteSink
"""Where to write: a path, or an object with `write`."""
FileSource = str | os.PathLike[str] | ByteSource
"""Where to read: a path, or an object with `read`."""


@contextmanager
def writing(file: FileTarget, *, overwrite: bool) -> Iterator[ByteSink]:
    """Write a file atomically and durably, through a temporary file that only its owner can read.

    Raises AlreadyExists if the file exists, unless `overwrite` is set; InvalidArgument(`file`) if the path
    cannot be written or is not a regular file (a link, a device).
    """
    if not isinstance(file, str | os.PathLike):
        yield file
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
            yield output
            output.flush()
            os.fsync(output.fileno())
        _put_in_place(made, path, overwrite=overwrite)
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error
    finally:
        made.unlink(missing_ok=True)


@contextmanager
def reading(file: FileSource) -> Iterator[ByteSource]:
    """Read from a file. Raises InvalidArgument(`file`) for a path that cannot be read."""
    if not isinstance(file, str | os.PathLike):
        yield file
        return
    try:
        opened = Path(file).open("rb")  # noqa: SIM115 - `with` below: it must not catch read errors
    except OSError as error:
        raise InvalidArgument("file", f"cannot read {os.fspath(file)}: {error.strerror}") from None
    with opened:
        yield opened


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
