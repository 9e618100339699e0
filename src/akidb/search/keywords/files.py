"""The files of keyword indexes: where they are, whether one is whole, and their removal.

A file is used only if a note beside it has its checksum: the note is removed before the first write and
written when the index is closed, so that what a kill left unfinished is not used. While an index is open,
its file must be as the last write of this process left it.
"""

import os
import shutil
import stat
import zlib
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec

from akidb.domain.errors import InvalidArgument
from akidb.domain.ids import CollectionId, TenantId

FILE_NAME, NOTE_NAME = "keywords.db", "keywords.json"
_UNFINISHED = ".unfinished"
_READ_BYTES = 2**20


class _Note(msgspec.Struct):
    size: int
    checksum: int
    used_at: Annotated[datetime, msgspec.Meta(tz=True)]


class KeywordFile:
    """The file of one collection's index, in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE_NAME
        self._note = directory / NOTE_NAME
        self._seen: tuple[int, int, int, int] | None = None
        """What the file system said after the last write of this process."""
        self._noted: _Note | None = None

    def is_whole(self) -> bool:
        """Return whether there is a closed file with the noted content; False if a kill left it unfinished.

        Raises OSError, ValueError if it was changed since.
        """
        try:
            note = msgspec.json.decode(_read(self._note), type=_Note)
            self.look()
            if self.path.lstat().st_size != note.size or _checksum(self.path) != note.checksum:
                raise ValueError("its checksum is wrong")
        except (FileNotFoundError, NotADirectoryError):
            return False
        except msgspec.MsgspecError:
            raise ValueError("its note cannot be read") from None
        self._noted = note
        return True

    def make(self) -> None:
        """Create an empty file in place of whatever is there, readable only by its owner. Raises OSError."""
        self.remove()
        for directory in (self.path.parent.parent.parent, self.path.parent.parent, self.path.parent):
            with suppress(FileExistsError):
                directory.mkdir(mode=0o700)
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        os.close(os.open(self.path, flags, 0o600))

    def remove(self) -> None:
        """Remove the file and its note, if they exist. Raises OSError."""
        self._noted = self._seen = None
        for path in (self._note, self._note.with_name(NOTE_NAME + _UNFINISHED), self.path):
            with suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()

    def begin_writing(self) -> None:
        """Forget the checksum, durably enough for a kill. Raises OSError."""
        if self._noted is not None:
            self._note.unlink(missing_ok=True)
            self._noted = None

    def look(self) -> None:
        """Remember the state of the file after a write, or after opening it. Raises OSError."""
        self._seen = self._state()

    def is_unchanged(self) -> bool:
        """Return whether the path still names the file as it was last looked at."""
        try:
            return self._state() == self._seen
        except OSError:
            return False

    def seal(self, now: datetime) -> None:
        """Note the content and the time of use of a closed file that this process has changed or used."""
        if not self.is_unchanged():
            return
        note = self._noted
        if note is None:
            note = _Note(self.path.lstat().st_size, _checksum(self.path), now)
        unfinished = self._note.with_name(NOTE_NAME + _UNFINISHED)
        unfinished.unlink(missing_ok=True)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(unfinished, flags, 0o600), "wb") as file:
            file.write(msgspec.json.encode(msgspec.structs.replace(note, used_at=now)))
        unfinished.replace(self._note)

    def used_at(self) -> datetime | None:
        """Return when it was last used; None if it is not sealed."""
        try:
            return msgspec.json.decode(_read(self._note), type=_Note).used_at
        except (OSError, msgspec.MsgspecError):
            return None

    def _state(self) -> tuple[int, int, int, int]:
        found = self.path.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise FileNotFoundError(self.path)
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def tenants_in(directory: Path) -> list[TenantId]:
    """Return the tenants that have a directory here."""
    return [TenantId(raw) for raw in _ids_in(directory)]


def collections_in(directory: Path, tenant_id: TenantId) -> list[CollectionId]:
    """Return the collections of a tenant that have a directory here."""
    return [CollectionId(raw) for raw in _ids_in(directory / str(tenant_id))]


def remove_tree(path: Path) -> bool:
    """Remove a directory with all it has; return whether it is gone."""
    shutil.rmtree(path, ignore_errors=True)
    return not os.path.lexists(path)


def _ids_in(directory: Path) -> Iterator[bytes]:
    try:
        names = [path.name for path in directory.iterdir()]
    except OSError:
        return
    for name in names:
        with suppress(InvalidArgument):
            yield TenantId.parse(name).raw


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(_READ_BYTES)


def _checksum(path: Path) -> int:
    found = 0
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        while part := file.read(_READ_BYTES):
            found = zlib.crc32(part, found)
    return found
