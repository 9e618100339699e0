"""One SQLite file: its connections and its write gate.

All access to a live database file in this process goes through this module, since closing any other
descriptor of the file would drop SQLite's locks on it.
"""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from akidb.domain.errors import Overloaded, Unavailable
from akidb.observe import telemetry
from akidb.observe.telemetry import Call, StoreFigures, StoreKind
from akidb.sql.database import driver_of
from akidb.sql.errors import translated
from akidb.sql.files import sync_log
from akidb.sql.gate import FairGate
from akidb.sql.group_commit import SharedTransaction
from akidb.sql.identity import FileIdentity, Placement
from akidb.sql.integrity import broken_references
from akidb.sql.room import Room, require_for_rows
from akidb.sql.secure_erase import Descriptors, clear_gaps
from akidb.sql.sqlite_library import BUSY_TIMEOUT_SECONDS, CHECKPOINT_PAGES, connect
from akidb.sql.telemetry import commit
from akidb.sql.turns import Reading, Writing

MAX_IDLE_CONNECTIONS = 4
CHECKPOINT_BYTES = CHECKPOINT_PAGES * 4096
LOOK_SECONDS = 0.1
"""Reads look at most this often for what another program has written."""
ERASING_TIMEOUT_SECONDS = 0.25
"""How long erasing waits, holding the gate, for readers of the old log."""

_descriptors = Descriptors()
os.register_at_fork(after_in_child=_descriptors.forget)


class SqliteFile:
    """An open store file. Reads run concurrently; writes pass the gate one at a time."""

    system = "sqlite"

    def __init__(
        self,
        path: Path,
        *,
        synchronous: str = "full",
        kind: StoreKind = "tenant",
        room: Room | None = None,
        within: Sequence[FileIdentity] = (),
    ) -> None:
        """Name a file, which is opened when it is used; `room` is that of its disk, if it has a reserve.

        Writes require what it is `within` to be in place, such as its directory.
        """
        self.path = path
        self.room = room
        self.name = path.name
        self.kind = kind
        self.gate = FairGate(path.name, kind=kind, left_open=self)
        self.generation = 0
        """The transaction counter: cached reads are current while it is unchanged."""
        self._looked_at = -1
        """The counter when the log was last looked at."""
        self._read_at = 0.0  # when a read last looked at the contents
        self._synchronous = synchronous
        self._placement = Placement(path, within)
        self._lock = threading.Lock()
        self._idle: list[sa.Connection] = []
        self._in_use: set[sa.Connection] = set()
        self._outdated: set[sa.Connection] = set()
        """Connections that may have cached pages from before the file was erased."""
        self._shared: SharedTransaction | None = None
        """The transaction that the previous writer left open; accessed only with the gate held."""
        self._closed = False

    def read(self, *, snapshot: bool = False) -> AbstractContextManager[sa.Connection]:
        """Open a connection for reading; with `snapshot`, its statements see one consistent state."""
        return Reading(self, snapshot=snapshot)

    def write(self) -> AbstractContextManager[sa.Connection]:
        """Open a transaction: durably committed when the block ends, rolled back if it raises.

        The commit may be shared with writers that were queued behind it.
        """
        return Writing(self)

    @contextmanager
    def migration(self) -> Iterator[sa.Connection]:
        """Open a transaction for schema migrations, which may drop and recreate tables.

        Foreign keys are checked before the commit. Raises Unavailable for a broken one.
        """
        with self.gate.pass_through():
            connection = self.take()
            try:
                with translated(self.name):
                    driver = driver_of(connection)
                    driver.execute("PRAGMA foreign_keys=OFF")  # ignored within a transaction
                    driver.execute("BEGIN IMMEDIATE")
                    try:
                        yield connection
                        self._check_references(connection)
                        self._commit(driver)
                    except BaseException:
                        if driver.in_transaction:
                            driver.execute("ROLLBACK")
                        raise
                    finally:
                        self.generation += 1
                        self._placement.note_log()
            finally:
                self.give(connection, broken=True)

    def is_left_open(self) -> bool:
        """Return whether a writer has left its transaction open for the next one."""
        return self._shared is not None

    def is_full(self) -> bool:
        """Return whether that transaction must be committed before the next writer enters."""
        return self._shared is not None and self._shared.is_full

    def settle(self) -> None:
        """Commit the open transaction, and pass the result to its writers. Requires the gate."""
        shared = self._shared
        if shared is None:
            return
        done = False
        try:
            done = shared.commit(self._commit_and_count)
        finally:
            self._shared = None
            if not done:
                self._placement.note_log()
            self.give(shared.connection, broken=not done and not self._placement.is_elsewhere())

    def join(self) -> SharedTransaction:
        """Join the open transaction, or begin one. Requires the gate."""
        if self._shared is not None:
            self._shared.join()
            return self._shared
        self._placement.require_log()
        connection = self.take()
        try:
            self._shared = SharedTransaction(self.name, connection)
        except BaseException:
            self.give(connection, broken=True)
            raise
        return self._shared

    def undo(self, shared: SharedTransaction, error: BaseException, *, broken: bool) -> None:
        """Undo only the work of the last writer."""
        self.generation += 1
        if not shared.undo(error):
            self._shared = None
            self._placement.note_log()  # what did not fit into memory was written to it
            self.give(shared.connection, broken=broken)

    def compare(self) -> None:
        """Compare the contents with what was written. Requires the gate."""
        self._placement.compare()

    def refusal(self) -> Unavailable | None:
        """Return the error for what another program was seen to have done to the contents."""
        try:
            self._placement.require_unaltered()
        except Unavailable as error:
            return error
        return None

    def require_room(self, connection: sa.Connection, size_bytes: int) -> None:
        """Raise StorageFull if writing rows of so many bytes would use the reserve of the disk."""
        if self.room is not None:
            require_for_rows(self.room, driver_of(connection), size_bytes)

    def figures(self) -> StoreFigures:
        """Return current gauges of connections, queue and log."""
        try:
            wal_bytes = self.path.with_name(f"{self.path.name}-wal").stat().st_size
        except OSError:  # none yet
            wal_bytes = 0
        with self._lock:
            return StoreFigures(len(self._in_use), len(self._idle), self.gate.waiting, wal_bytes, wal_bytes)

    def close(self, *, keep_log: bool = False) -> None:
        """Close every connection; closing the last one moves the log into the file, unless `keep_log`."""
        if keep_log and self.figures().wal_bytes:
            self._keep_log()
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        with self.gate.pass_through():
            for connection in idle:
                self._shut(connection)

    def displacement(self) -> str | None:
        """Return what happened to the file, its log or what it is within; None if all are in place."""
        problem = self._placement.problem() or self._compare()
        if self._placement.altered is not None:
            return problem
        if problem is not None and not self._placement.is_elsewhere():  # closing saves what the log holds
            with suppress(Unavailable):
                self.give(self.take(), broken=True)
        return problem

    @property
    def altered(self) -> str | None:
        """What another program was seen to have done to the contents of the file or its log."""
        return self._placement.altered

    def _compare(self) -> str | None:
        """Return what another program did to the contents, when no writer is at work."""
        if not self._placement.differs():
            return None
        try:
            with self.gate.pass_through():
                return self._placement.compare()
        except Overloaded:  # the next look may succeed
            return None

    def look(self, *, now: bool = False) -> None:
        """Compare the contents with what was written, unless a writer is at work, which will do so.

        Without `now`, do it every tenth of a second at most.
        """
        time_seconds = time.monotonic()
        if not now and time_seconds - self._read_at < LOOK_SECONDS:
            return
        self._read_at = time_seconds
        if self._placement.differs() and self.gate.enter_if_free():
            try:
                self._placement.compare()
            finally:
                self.gate.leave()

    def require_unaltered(self) -> None:
        """Look, and raise Unavailable if another program was seen to have written to the contents."""
        self.look()
        if self._placement.altered is not None:
            self._placement.require_unaltered()

    @contextmanager
    def _moving_log(self) -> Iterator[None]:
        """Note what this process writes to the file meanwhile. Requires the gate."""
        self._placement.require()
        try:
            yield
        finally:
            self._placement.note()

    def erase(self) -> bool:
        """Erase all traces of deleted data in the file and its log; return whether it was possible.

        It is not possible while a reader uses the old log: retry later.
        """
        with self.gate.pass_through(), self._moving_log():  # the path may name another file
            connection = self.take()
            try:
                with translated(self.path.name):
                    driver = driver_of(connection)
                    if not self._empty_log(driver):
                        return False
                    roots = driver.execute("SELECT rootpage FROM sqlite_master WHERE rootpage > 0").fetchall()
                    clear_gaps(_descriptors.of(self.path), [root for (root,) in roots], self.name)
                    return True
            finally:
                with self._lock:
                    self._outdated |= self._in_use
                self.give(connection, broken=True)

    def checkpoint_idle(self) -> bool:
        """Move the log into the file if nothing was written since the last call; return whether it did."""
        looked_at, self._looked_at = self._looked_at, self.generation
        if looked_at != self.generation or not self.figures().wal_bytes or self.gate.waiting:
            return False
        with self.gate.pass_through(), self._moving_log():
            connection = self.take()
            broken = True
            try:
                with translated(self.path.name):
                    driver = driver_of(connection)
                    moved = self._empty_log(driver)
                    driver.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_SECONDS * 1000}")
                broken = False
                return moved
            finally:
                self.give(connection, broken=broken)

    def _empty_log(self, driver: Any) -> bool:
        """Move the log into the file and truncate it; return whether no reader prevented that."""
        driver.execute(f"PRAGMA busy_timeout = {int(ERASING_TIMEOUT_SECONDS * 1000)}")
        busy, *_ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if not busy:
            sync_log(self.path)
        return not busy

    def _check_references(self, connection: sa.Connection) -> None:
        broken = broken_references(connection)
        if broken:
            raise Unavailable(f"{self.name}: the schema migration was rolled back: {broken[0]}")

    def _commit_and_count(self, driver: Any) -> None:
        try:
            self._commit(driver)
        finally:
            self.generation += 1  # before a writer returns: caches of older reads must not be used then

    def _commit(self, driver: Any) -> None:
        self._placement.require(driver)
        if telemetry.listeners:
            commit(driver, Call(self.kind, "transaction", "commit", self.system))
        else:
            driver.execute("COMMIT")
        # Only checkpoints write to the file itself, and SQLite runs them at the end of a commit.
        if self._placement.note_log() < CHECKPOINT_BYTES or not self._placement.has_changed():
            return
        _busy, pages, _moved = driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if pages >= CHECKPOINT_PAGES and self._placement.has_grown():
            self._placement.note()
            telemetry.count("checkpoints", self.kind)

    def take(self) -> sa.Connection:
        """Return a connection, to be given back. Raises Unavailable if the file is closed or displaced."""
        with self._lock:
            if self._closed:
                raise Unavailable(f"{self.path.name} is closed")
            self._placement.require_unaltered()
            if self._idle:
                idle = self._idle.pop()
                self._in_use.add(idle)
                return idle
        _descriptors.connecting(self.path)
        try:
            with translated(self.path.name):
                self._placement.connecting()
                made = connect(self.path, self._synchronous)
        except BaseException:
            _descriptors.disconnected(self.path)
            raise
        with self._lock:
            self._in_use.add(made)
        self._placement.connected(made)
        telemetry.count("connections_opened", self.kind)
        return made

    def give(self, connection: sa.Connection, *, broken: bool) -> None:
        """Give a connection back. After a `broken` one, idle ones are closed too."""
        surplus = [connection]
        broken = broken or connection.invalidated  # by an interrupt: SQLAlchemy would connect again
        with self._lock:
            self._in_use.discard(connection)
            outdated = connection in self._outdated
            self._outdated.discard(connection)
            if broken:  # idle ones may be bad too: SQLite falls back to opening a file read-only
                surplus += self._idle
                self._idle = []
                self._outdated |= self._in_use
            elif not (outdated or self._closed) and len(self._idle) < MAX_IDLE_CONNECTIONS:
                self._idle.append(connection)
                return
        for each in surplus:
            self._shut(each)

    def _keep_log(self) -> None:
        with suppress(OSError):
            _descriptors.keep_log(self.path)

    def _shut(self, connection: sa.Connection) -> None:
        try:
            if self._placement.altered is not None:
                self._keep_log()
            self._placement.closing(connection)
            connection.close()
        finally:
            _descriptors.disconnected(self.path)
