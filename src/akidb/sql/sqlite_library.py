"""The SQLite library of this process, and new connections of it to a database file.

Only `sqlite.py` opens live files: closing any other descriptor of one would drop SQLite's locks on it.
"""

import os
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from akidb.domain.errors import Unavailable

try:
    import pysqlite3.dbapi2 as _library
except ImportError:  # no wheel for this machine
    import sqlite3.dbapi2 as _library

library: Any = _library
"""The SQLite library of this process."""

MINIMUM_VERSION = (3, 37, 0)
"""The first version with STRICT tables."""
BUSY_TIMEOUT_SECONDS = 10
CACHED_STATEMENTS = 64
CHECKPOINT_PAGES = 1000
"""The length of a log from which SQLite moves it into the file at the end of a commit."""


class _Target(threading.local):
    """The file for the engine to open next, as the engine's creator takes no arguments."""

    path: Path
    synchronous: str


_target = _Target()


def uri(path: Path, options: str) -> str:
    """Return the URI of a file for SQLite. A path need not be valid UTF-8."""
    return f"file:{quote(os.fsencode(path.absolute()))}?{options}"


def connect(path: Path, synchronous: str) -> sa.Connection:
    """Return a new connection to an existing file.

    Raises the errors of the driver, Unavailable if the library is too old.
    """
    _target.path, _target.synchronous = path, synchronous
    return _engine.connect()


def _opened() -> Any:
    if library.sqlite_version_info < MINIMUM_VERSION:
        raise Unavailable(f"SQLite {library.sqlite_version} is too old: 3.37 or later is needed")
    connection = library.connect(
        uri(_target.path, "mode=rw"),
        uri=True,
        timeout=BUSY_TIMEOUT_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=CACHED_STATEMENTS,
    )
    try:
        # Set outside transactions, in which SQLite ignores some of them.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(f"PRAGMA synchronous={_target.synchronous}")
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        connection.execute("PRAGMA fullfsync=ON")  # only has an effect on macOS
        connection.execute("PRAGMA cell_size_check=ON")
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA secure_delete=ON")  # overwrite deleted data
    except BaseException:
        connection.close()  # a damaged file must not stay open until garbage collection
        raise
    return connection


_engine = sa.create_engine(
    "sqlite+pysqlite://",
    module=library,
    creator=_opened,
    poolclass=NullPool,
    isolation_level="AUTOCOMMIT",  # this module issues BEGIN and COMMIT; a single read needs neither
)
