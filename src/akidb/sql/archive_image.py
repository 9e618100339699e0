"""A consistent image of a whole database, for long reads that do not block its users.

A long read transaction on a live SQLite file would block checkpoints, so the file is copied with SQLite's
online backup, in one step, and the copy is read. On PostgreSQL a snapshot transaction is enough.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from akidb.domain.errors import StorageFull, Unavailable
from akidb.ports.conflicts import MachineFailure
from akidb.sql.database import SqlDatabase, driver_of
from akidb.sql.errors import translated
from akidb.sql.room import Room
from akidb.sql.sqlite import SqliteFile
from akidb.sql.sqlite_library import library

SCRATCH_NAME = "tmp"
"""The directory beside a store file for unfinished files. Its contents after a crash are garbage."""
_SIZE = ("page_count", "page_size")


@contextmanager
def image_of(database: SqlDatabase) -> Iterator[sa.Connection]:
    """Open a connection for reading that sees one consistent state of the whole database.

    On SQLite it temporarily needs as much additional disk space as the file itself.
    """
    if not isinstance(database, SqliteFile):
        with database.read(snapshot=True) as connection:
            yield connection
        return
    path = scratch_path(database.path)
    try:
        copy_file(database, path, synchronous="off", room=database.room)
        image = SqliteFile(path, synchronous="off")
        try:
            with image.read(snapshot=True) as connection:
                yield connection
        finally:
            image.close()
    finally:
        remove_scratch(path)


def copy_file(file: SqliteFile, path: Path, *, synchronous: str = "full", room: Room | None = None) -> None:
    """Copy a consistent snapshot of a live file to a new path, readable only by its owner."""
    with file.read() as connection:
        copy_connection(connection, path, synchronous=synchronous, room=room)


def copy_connection(
    connection: sa.Connection, path: Path, *, synchronous: str = "full", room: Room | None = None
) -> None:
    """Copy the database of a SQLite connection, as the connection sees it.

    Raises StorageFull if the copy would use the reserve of the disk, given by `room`.
    """
    if room is not None:
        pages, size = (driver_of(connection).execute(f"PRAGMA {name}").fetchone()[0] for name in _SIZE)
        room.require(pages * size)
    with _of_machine(path):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        copy = library.connect(str(path))
    try:
        copy.execute(f"PRAGMA synchronous={synchronous}")
        # All pages in one step: writers between steps would restart the backup forever.
        driver_of(connection).backup(copy)
    except library.Error as error:  # backup errors have no error name for `translated`
        kind = StorageFull if "disk is full" in str(error) else Unavailable
        failed = f"{path.name} cannot be copied"
        raise kind(f"{failed}: {error}", public=failed) from error
    finally:
        copy.close()


def scratch_path(path: Path) -> Path:
    """Return a new path in the scratch directory of a store file."""
    directory = path.parent / SCRATCH_NAME
    with _of_machine(path):
        directory.mkdir(mode=0o700, exist_ok=True)
    return directory / f"{path.stem}-{secrets.token_hex(8)}.db"


@contextmanager
def _of_machine(path: Path) -> Iterator[None]:
    """Translate the errors of making a copy's file, of which the copied store is not the cause."""
    try:
        with translated(path.name):
            yield
    except StorageFull:
        raise
    except Unavailable as error:
        raise MachineFailure(error.message, public=error.public) from error


def remove_scratch(path: Path) -> None:
    """Remove an unfinished file, if it exists."""
    for suffix in ("-wal", "-shm", "-journal", ""):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def clear_scratch(directory: Path) -> None:
    """Remove the unfinished files that a crash left beside the stores of a directory."""
    shutil.rmtree(directory / SCRATCH_NAME, ignore_errors=True)
