"""Files that a caller names: written whole or not at all, read as they are."""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from akidb.domain.errors import AlreadyExists, InvalidArgument, Unavailable
from akidb.ports.archive import ByteSink, ByteSource

FileTarget = str | os.PathLike[str] | ByteSink
"""Where to write: a path, or something with `write`."""
FileSource = str | os.PathLike[str] | ByteSource
"""Where to read: a path, or something with `read`."""


@contextmanager
def writing(file: FileTarget, *, overwrite: bool) -> Iterator[ByteSink]:
    """Write to a file: under another name first, then durably under its own, readable by its owner alone.

    Raises AlreadyExists for a file that is there, unless it is to be overwritten; InvalidArgument(`file`)
    for a path that cannot be written, and for a link, a device or whatever else there is no regular file.
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
        opened = Path(file).open("rb")  # noqa: SIM115 - below, where its errors are no longer those of opening
    except OSError as error:
        raise InvalidArgument("file", f"cannot read {os.fspath(file)}: {error.strerror}") from None
    with opened:
        yield opened


def _require_room(path: Path, *, overwrite: bool) -> None:
    """Refuse a path where something is, unless it is a regular file that is to be overwritten."""
    try:
        mode = path.lstat().st_mode
    except OSError:  # nothing is there, or nothing can be made there, which the making tells
        return
    if not stat.S_ISREG(mode):
        raise InvalidArgument("file", f"{path} is no regular file, and is not replaced")
    if not overwrite:
        raise AlreadyExists("file", "file", path)


def _put_in_place(made: Path, path: Path, *, overwrite: bool) -> None:
    """Give a finished file its name, and have that reach the disk."""
    if overwrite:
        _require_room(path, overwrite=True)  # it took a while until here
        made.replace(path)
    else:
        try:
            os.link(made, path)  # unlike a rename it fails when another file came to be there meanwhile
        except FileExistsError:
            raise AlreadyExists("file", "file", path) from None
        except OSError:  # a file system without links
            _require_room(path, overwrite=False)
            made.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
