"""A whole database as of one instant, to be read at leisure, without holding up those who work with it.

A long read transaction on a live SQLite file would keep its log from being folded in, so the file is copied
by SQLite's online backup, in one step, and the copy is read. PostgreSQL keeps a snapshot by itself.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from akidb.domain.errors import Unavailable
from akidb.sql.database import SqlDatabase, driver_of
from akidb.sql.errors import translated
from akidb.sql.sqlite import SqliteFile, library

SCRATCH_NAME = "tmp"
"""The directory beside a store's file for what is in the making. What lies there after a crash is garbage."""


@contextmanager
def image_of(database: SqlDatabase) -> Iterator[sa.Connection]:
    """A connection for reading that sees one state of the whole database for as long as it is open.

    On SQLite it takes as much room beside the file as the file itself while it lasts.
    """
    if not isinstance(database, SqliteFile):
        with database.read(snapshot=True) as connection:
            yield connection
        return
    path = scratch_path(database.path)
    try:
        copy_file(database, path, synchronous="off")
        image = SqliteFile(path, synchronous="off")
        try:
            with image.read(snapshot=True) as connection:
                yield connection
        finally:
            image.close()
    finally:
        remove_scratch(path)


def copy_file(file: SqliteFile, path: Path, *, synchronous: str = "full") -> None:
    """Copy a live file as of one instant to a path where there is none, readable by its owner alone."""
    with file.read() as connection:
        copy_connection(connection, path, synchronous=synchronous)


def copy_connection(connection: sa.Connection, path: Path, *, synchronous: str = "full") -> None:
    """Copy the file of a SQLite connection, as the connection sees it."""
    with translated(path.name):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        copy = library.connect(str(path))
    try:
        copy.execute(f"PRAGMA synchronous={synchronous}")
        # All pages in one step: between steps a writer would make it begin anew, for ever.
        driver_of(connection).backup(copy)
    except library.Error as error:  # what a backup raises bears no name that `translated` knows
        raise Unavailable(f"{path.name} cannot be copied: {error}") from error
    finally:
        copy.close()


def scratch_path(path: Path) -> Path:
    """A new name in the scratch directory of a store's file."""
    directory = path.parent / SCRATCH_NAME
    with translated(path.name):
        directory.mkdir(mode=0o700, exist_ok=True)
    return directory / f"{path.stem}-{secrets.token_hex(8)}.db"


def remove_scratch(path: Path) -> None:
    """Remove a file that was in the making; fine when there is none."""
    for suffix in ("-wal", "-shm", "-journal", ""):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def clear_scratch(directory: Path) -> None:
    """Remove what a crash left in the making beside the stores of a directory."""
    shutil.rmtree(directory / SCRATCH_NAME, ignore_errors=True)
