"""Copies of store files that are kept for a while: one is taken before a store's schema changes.

They lie in one directory, `<store>-<schema>-<time>.db`, and may be read by their owner alone. When one
has had its time is the caller's affair.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from akidb.sql.archive_image import copy_file, remove_scratch, scratch_path
from akidb.sql.errors import translated
from akidb.sql.sqlite import SqliteFile, sync_directory

_TIME = "%Y%m%dT%H%M%S.%fZ"


class Copy(NamedTuple):
    """One copy, as its name tells."""

    path: Path
    store: str
    taken_at: datetime


class SchemaBackups:
    """The copies in a directory, which is made with the first of them."""

    def __init__(self, directory: Path, now: Callable[[], datetime]) -> None:
        self.directory = directory
        self._now = now

    def take(self, file: SqliteFile, schema: str) -> Path:
        """Copy a store as it is now; gives the path of the copy, which is on the disk then."""
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

    def all(self) -> Iterator[Copy]:
        """Those that are there. A file that is named otherwise is none of them."""
        for path in sorted(self.directory.glob("*.db")):
            store, _, time = path.stem.rpartition("-")
            with suppress(ValueError):
                taken_at = datetime.strptime(time, _TIME).replace(tzinfo=UTC)
                yield Copy(path, store.rpartition("-")[0], taken_at)

    def remove(self, *, until: datetime | None = None, store: str | None = None) -> int:
        """Remove the copies of one store, or of all, that were taken by then, or ever; gives how many."""
        removed = 0
        for copy in list(self.all()):
            if (until is None or copy.taken_at <= until) and store in {None, copy.store}:
                with translated(copy.path.name):
                    remove_scratch(copy.path)  # with what a program that looked into it left beside it
                removed += 1
        if removed:
            with translated(self.directory.name):
                sync_directory(self.directory)
        return removed
