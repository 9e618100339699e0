"""Copies of store files, taken before schema migrations and kept for a while.

They are in one directory, named `<store>-<schema>-<time>.db`, and readable only by their owner. The caller
decides when a copy expires.
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
    """One copy, parsed from its file name."""

    path: Path
    store: str
    taken_at: datetime


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

    def all(self) -> Iterator[Copy]:
        """Yield all copies, ignoring files with other names."""
        for path in sorted(self.directory.glob("*.db")):
            store, _, time = path.stem.rpartition("-")
            with suppress(ValueError):
                taken_at = datetime.strptime(time, _TIME).replace(tzinfo=UTC)
                yield Copy(path, store.rpartition("-")[0], taken_at)

    def remove(self, *, until: datetime | None = None, store: str | None = None) -> int:
        """Remove copies, optionally only those taken by `until` or of one store; return their number."""
        removed = 0
        for copy in list(self.all()):
            if (until is None or copy.taken_at <= until) and store in {None, copy.store}:
                with translated(copy.path.name):
                    remove_scratch(copy.path)  # with the side files of programs that have opened it
                removed += 1
        if removed:
            with translated(self.directory.name):
                sync_directory(self.directory)
        return removed
