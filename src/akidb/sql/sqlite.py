"""One SQLite file: its library, its connections, its write gate.

Everything that touches a live database file in this process goes through here, since closing any
other descriptor of the file would drop SQLite's locks on it.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from akidb.domain.errors import AkiDBError, Unavailable
from akidb.ports import telemetry
from akidb.ports.telemetry import Call, StoreFigures, StoreKind
from akidb.sql.database import driver_of
from akidb.sql.erasing import Descriptors, clear_gaps
from akidb.sql.errors import translated
from akidb.sql.gate import FairGate
from akidb.sql.telemetry import commit

try:
    import pysqlite3.dbapi2 as _library
except ImportError:  # no wheel for this machine
    import sqlite3.dbapi2 as _library

library: Any = _library
"""The one SQLite library of this process."""

MINIMUM_VERSION = (3, 37, 0)
"""The first with STRICT tables."""
MAX_IDLE_CONNECTIONS = 4
BUSY_TIMEOUT_SECONDS = 10
CACHED_STATEMENTS = 64
ERASING_TIMEOUT_SECONDS = 0.25
"""How long erasing waits, at the gate, for who still reads what the log held before."""


class _Target(threading.local):
    """Which file the engine is to open next; the engine's creator takes no argument."""

    path: Path
    synchronous: str


_target = _Target()
_descriptors = Descriptors()


def _connect() -> Any:
    if library.sqlite_version_info < MINIMUM_VERSION:
        raise Unavailable(f"SQLite {library.sqlite_version} is too old: 3.37 or later is needed")
    connection = library.connect(
        f"file:{_quoted(_target.path)}?mode=rw",
        uri=True,
        timeout=BUSY_TIMEOUT_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=CACHED_STATEMENTS,
    )
    try:
        # Set before any transaction, where SQLite would take no notice of some of them.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(f"PRAGMA synchronous={_target.synchronous}")
        connection.execute("PRAGMA fullfsync=ON")  # macOS alone knows it; elsewhere it does nothing
        connection.execute("PRAGMA cell_size_check=ON")
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten
    except BaseException:
        connection.close()  # a damaged file must not stay open until the collector comes
        raise
    return connection


def _quoted(path: Path) -> str:
    from urllib.parse import quote

    return quote(str(path.absolute()))


_engine = sa.create_engine(
    "sqlite+pysqlite://",
    module=library,
    creator=_connect,
    poolclass=NullPool,
    isolation_level="AUTOCOMMIT",  # this module says BEGIN and COMMIT; a single read needs neither
)


def create_file(path: Path) -> None:
    """Make an empty file that only its owner may read, and have its name reach the disk."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    os.close(descriptor)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Have the names in a directory reach the disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class SqliteFile:
    """An open store file. Reads run side by side; writes pass the gate one by one."""

    system = "sqlite"

    def __init__(self, path: Path, *, synchronous: str = "full", kind: StoreKind = "tenant") -> None:
        self.path = path
        self.name = path.name
        self.kind = kind
        self.gate = FairGate(path.name, kind=kind)
        self.generation = 0
        """Counts the transactions; what was read is current while it stays the same."""
        self._synchronous = synchronous
        self._lock = threading.Lock()
        self._idle: list[sa.Connection] = []
        self._in_use: set[sa.Connection] = set()
        self._outdated: set[sa.Connection] = set()
        """Connections that may remember pages as they were before the file was erased."""
        self._closed = False

    @contextmanager
    def read(self, *, snapshot: bool = False) -> Iterator[sa.Connection]:
        """A connection for reading; with `snapshot` all its statements see one state of the store."""
        connection = self._take()
        broken = True
        try:
            with translated(self.path.name):
                if snapshot:
                    driver = driver_of(connection)
                    driver.execute("BEGIN")
                    try:
                        yield connection
                    finally:
                        driver.execute("COMMIT")
                else:
                    yield connection
            broken = False
        except AkiDBError as error:
            broken = isinstance(error, Unavailable)
            raise
        finally:
            self._give(connection, broken=broken)

    @contextmanager
    def write(self, *, rebuilds: bool = False) -> Iterator[sa.Connection]:
        """A transaction: committed when the block ends, rolled back when it raises.

        With `rebuilds` a table may be dropped and made again under its name: references are not looked at
        before the end. Raises Unavailable then for one that leads nowhere.
        """
        with self.gate.pass_through():
            connection = self._take()
            broken = True
            try:
                with translated(self.path.name):
                    driver = driver_of(connection)
                    if rebuilds:  # within a transaction SQLite would take no notice
                        driver.execute("PRAGMA foreign_keys=OFF")
                    driver.execute("BEGIN IMMEDIATE")
                    try:
                        yield connection
                        if rebuilds:
                            self._check_references(connection)
                        self._commit(driver)
                    except BaseException:
                        # SQLite has rolled back by itself after some errors.
                        if driver.in_transaction:
                            driver.execute("ROLLBACK")
                        raise
                    finally:
                        self.generation += 1
                broken = rebuilds
            except AkiDBError as error:
                broken = isinstance(error, Unavailable)
                raise
            finally:
                self._give(connection, broken=broken)

    @contextmanager
    def migration(self) -> Iterator[sa.Connection]:
        """A transaction for steps of a schema."""
        with self.write(rebuilds=True) as connection:
            yield connection

    def figures(self) -> StoreFigures:
        """Its connections, its queue, its log."""
        try:
            wal_bytes = self.path.with_name(f"{self.path.name}-wal").stat().st_size
        except OSError:  # none yet
            wal_bytes = 0
        with self._lock:
            return StoreFigures(len(self._in_use), len(self._idle), self.gate.waiting, wal_bytes, wal_bytes)

    def close(self) -> None:
        """Close every connection; the last one folds the write-ahead log into the file."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        with self.gate.pass_through():
            for connection in idle:
                self._shut(connection)

    def erase(self) -> bool:
        """Leave no trace of what was deleted in the file or its log; tells whether that could be done.

        It cannot while somebody reads what the log held before: try again later.
        """
        with self.gate.pass_through():
            connection = self._take()
            try:
                with translated(self.path.name):
                    driver = driver_of(connection)
                    driver.execute(f"PRAGMA busy_timeout = {int(ERASING_TIMEOUT_SECONDS * 1000)}")
                    busy, *_ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                    if busy:
                        return False
                    roots = driver.execute("SELECT rootpage FROM sqlite_master WHERE rootpage > 0").fetchall()
                    clear_gaps(_descriptors.of(self.path), [root for (root,) in roots], self.name)
                    return True
            finally:
                with self._lock:
                    self._outdated |= self._in_use
                self._give(connection, broken=True)

    def _check_references(self, connection: sa.Connection) -> None:
        broken = broken_references(connection)
        if broken:
            raise Unavailable(f"{self.name}: a step of the schema was not taken: {broken[0]}")

    def _commit(self, driver: Any) -> None:
        if not telemetry.listeners:
            driver.execute("COMMIT")
            return
        # Nothing but a checkpoint writes to the file itself, and SQLite runs them at the end of a commit.
        written_at = self._written_at()
        commit(driver, Call(self.kind, "transaction", "commit", self.system))
        if self._written_at() != written_at:
            telemetry.count("checkpoints", self.kind)

    def _written_at(self) -> int:
        try:
            return self.path.stat().st_mtime_ns
        except OSError:  # a figure must not fail a commit
            return 0

    def _take(self) -> sa.Connection:
        with self._lock:
            if self._closed:
                raise Unavailable(f"{self.path.name} is closed")
            if self._idle:
                idle = self._idle.pop()
                self._in_use.add(idle)
                return idle
        _target.path, _target.synchronous = self.path, self._synchronous
        _descriptors.connecting(self.path)
        try:
            with translated(self.path.name):
                made = _engine.connect()
        except BaseException:
            _descriptors.disconnected(self.path)
            raise
        with self._lock:
            self._in_use.add(made)
        telemetry.count("connections_opened", self.kind)
        return made

    def _give(self, connection: sa.Connection, *, broken: bool) -> None:
        surplus = [connection]
        with self._lock:
            self._in_use.discard(connection)
            outdated = connection in self._outdated
            self._outdated.discard(connection)
            if broken:  # the idle ones may be as bad: SQLite opens a file read-only where it must
                surplus += self._idle
                self._idle = []
            elif not (outdated or self._closed) and len(self._idle) < MAX_IDLE_CONNECTIONS:
                self._idle.append(connection)
                return
        for each in surplus:
            self._shut(each)

    def _shut(self, connection: sa.Connection) -> None:
        try:
            connection.close()
        finally:
            _descriptors.disconnected(self.path)


def check_integrity(connection: sa.Connection) -> list[str]:
    """What SQLite finds wrong with the file: nothing, in a sound one. PostgreSQL looks after itself."""
    if connection.dialect.name != "sqlite":
        return []
    found = [row[0] for row in connection.exec_driver_sql("PRAGMA integrity_check") if row[0] != "ok"]
    return found + broken_references(connection)


def broken_references(connection: sa.Connection) -> list[str]:
    """Foreign keys of a SQLite file that lead nowhere."""
    return [
        f"row {row[1]} of {row[0]} refers to a missing row of {row[2]}"
        for row in connection.exec_driver_sql("PRAGMA foreign_key_check")
    ]
