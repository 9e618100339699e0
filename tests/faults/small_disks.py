"""Disks that tests can fill on demand.

A limit on the size of files works everywhere, and SQLite says IOERR; a limit on its pages works everywhere
and it says FULL; a small file system of its own is the real thing. `own_disks.py` runs its tests in a
namespace where this process may not mount it.
"""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from akidb.sql.sqlite_library import _engine
from own_disks import mounted

Fill = Callable[[bool], None]
"""Makes the disk full, or free again."""

FILE_BYTES = 200_000
DISK_BYTES = 4_000_000
MANY_PAGES = 2**30


@contextmanager
def limited_files(directory: Path) -> Iterator[tuple[Path, Fill]]:
    """No file may grow beyond `FILE_BYTES`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(full: bool) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES if full else soft, hard))

    try:
        yield directory, fill
    finally:
        fill(False)


@contextmanager
def limited_pages(directory: Path) -> Iterator[tuple[Path, Fill]]:
    """No database may get another page."""
    connections: list[Any] = []
    full = False

    def limit(connection: Any) -> None:
        pages = 1 if full else MANY_PAGES  # as many as it has, should it have more than that
        with suppress(Exception):  # closed meanwhile
            connection.execute(f"PRAGMA max_page_count = {pages}")

    def connected(connection: Any, _record: object) -> None:
        connections.append(connection)
        limit(connection)

    def fill(now_full: bool) -> None:
        nonlocal full
        full = now_full
        for connection in connections:
            limit(connection)

    sa.event.listen(_engine, "connect", connected)
    try:
        yield directory, fill
    finally:
        fill(False)
        sa.event.remove(_engine, "connect", connected)


@contextmanager
def small_file_system(directory: Path) -> Iterator[tuple[Path, Fill]]:
    """A file system of `DISK_BYTES`."""
    ballast = directory / "ballast"

    def fill(full: bool) -> None:
        ballast.unlink(missing_ok=True)
        if full:
            with ballast.open("wb", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(bytes(4096))

    with mounted(directory, f"size={DISK_BYTES}"):
        yield directory / "data", fill
