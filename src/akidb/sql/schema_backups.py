"""Copies of store files, taken before schema migrations and kept for a while.

They are in one directory, named `<store>-<schema>-<time>.db`, and readable only by their owner. The caller
decides when a copy expires.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from akidb.sql.archive_image import copy_file, remove_scratch, scratch_path
from akidb.sql.errors import translated
from akidb.sql.files import sync_directory
from akidb.sql.sqlite import SqliteFile

ASIDE = "aside"
"""In place of the schema in the name of a file that was moved here by a repair."""
_TIME = "%Y%m%dT%H%M%S.%fZ"


class Copy(NamedTuple):
    """One copy, parsed from its file name."""

    path: Path
    store: str
    taken_at: datetime
    is_aside: bool = False
    """Whether it is no copy, but the only file with its content."""


class SchemaBackups:
    """The copies in a directory, which is created with the first copy."""

    def __init__(self, directory: Path, now: Callable[[], datetime]) -> None:
        self.directory = directory
        self._now = now

    def take(self, file: SqliteFile, schema: str) -> Path:
        """Copy a store durably, and return the path of the copy."""
        name = f"{file.path.stem}-{schema}-{self._now().astimezone(UTC).strftime(_TIME)}.db"
        unfinished = scratch_path(file.path)
        try:
            copy_file(file, unfinished)
            with translated(name):
                self.directory.mkdir(mode=0o700, exist_ok=True)
                sync_directory(self.directory.parent)
                unfinished.rename(self.directory / name)
                sync_directory(self.directory)
        finally:
            remove_scratch(unfinished)
        return self.directory / name

    def set_aside(self, path: Path) -> Path:
        """Move a store file that cannot be used here, with its log; return its new path.

        It is kept until it is removed by hand, or by a purge of data of its store.
        """
        target = self.directory / f"{path.stem}-{ASIDE}-{self._now().astimezone(UTC).strftime(_TIME)}.db"
        with translated(path.name):
            self.directory.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self.directory.parent)
            path.rename(target)
            for suffix in ("-wal", "-shm", "-journal"):
                with suppress(FileNotFoundError):
                    path.with_name(path.name + suffix).rename(target.with_name(target.name + suffix))
            for directory in (self.directory, path.parent):
                sync_directory(directory)
        return target

    def keep_log(self, path: Path) -> None:
        """Copy the log of a store file here, beside a copy of the file, if it has one.

        They are kept as a file that was set aside.
        """
        log = path.with_name(f"{path.name}-wal")
        if not log.exists() or not log.stat().st_size:
            return
        target = self.directory / f"{path.stem}-{ASIDE}-{self._now().astimezone(UTC).strftime(_TIME)}.db"
        with translated(path.name):
            self.directory.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self.directory.parent)
            _copy(path, target)
            _copy(log, target.with_name(f"{target.name}-wal"))
            sync_directory(self.directory)

    def set_log_aside(self, path: Path) -> None:
        """Move the log of a store file here, beside a copy of the file."""
        self.keep_log(path)
        with translated(path.name):
            for suffix in ("-wal", "-shm"):
                path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)
            sync_directory(path.parent)

    def all(self) -> Iterator[Copy]:
        """Yield all copies, ignoring files with other names."""
        for path in sorted(self.directory.glob("*.db")):
            store, _, time = path.stem.rpartition("-")
            with suppress(ValueError):
                taken_at = datetime.strptime(time, _TIME).replace(tzinfo=UTC)
                store, _, schema = store.rpartition("-")
                yield Copy(path, store, taken_at, is_aside=schema == ASIDE)

    def remove(self, *, until: datetime | None = None, store: str | None = None) -> int:
        """Remove copies, optionally only those taken by `until` or of one store; return their number.

        Files that were set aside do not expire: they are removed only with everything of their store.
        """

        def is_chosen(copy: Copy) -> bool:
            if copy.is_aside and (store is None or until is not None):
                return False
            return (until is None or copy.taken_at <= until) and store in {None, copy.store}

        return self._remove(is_chosen)

    def remove_before_purge(self, purged_at: datetime, store: str) -> int:
        """Remove the copies of a store that may have been taken before a purge; return their number.

        A copy from the future was taken by a clock that was wrong, so that its time says nothing.
        """
        now = self._now()

        def is_chosen(copy: Copy) -> bool:
            if copy.is_aside or copy.store != store:
                return False
            return copy.taken_at <= purged_at or copy.taken_at > now

        return self._remove(is_chosen)

    def _remove(self, is_chosen: Callable[[Copy], bool]) -> int:
        removed = 0
        for copy in list(self.all()):
            if is_chosen(copy):
                with translated(copy.path.name):
                    remove_scratch(copy.path)  # with the side files of programs that have opened it
                removed += 1
        if removed:
            with translated(self.directory.name):
                sync_directory(self.directory)
        return removed


def _copy(path: Path, target: Path) -> None:
    """Durably copy a file that no connection has open, readable only by its owner."""
    descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as copy, path.open("rb") as content:
        shutil.copyfileobj(content, copy)
        copy.flush()
        os.fsync(copy.fileno())
