"""One schema of a PostgreSQL database: its connection pool and its transactions.

Values have the same form as on SQLite: an ID is 16 bytes, a time is in UTC. `sql.errors` translates broken
connections, conflicts and lock timeouts into domain errors.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import psycopg
import sqlalchemy as sa
from psycopg.pq import TransactionStatus
from sqlalchemy.pool import NullPool

from akidb.domain.errors import AkiDBError, Unavailable
from akidb.observe import telemetry
from akidb.observe.interrupts import Interruptible
from akidb.observe.telemetry import Call, StoreFigures, StoreKind
from akidb.ports.conflicts import ConnectionLost, MachineFailure
from akidb.sql.database import driver_of
from akidb.sql.errors import is_lost, translated, translation
from akidb.sql.pool import ConnectionPool
from akidb.sql.postgresql_session import TRANSACTION_POOLING, Parameters, Session, check_server, open_session
from akidb.sql.telemetry import commit

SCHEMA_LOCK = 0x616B6964625F7363
"""Advisory lock for schema creation: `akidb_sc` as a number."""
POOL_TIMEOUT_SECONDS = 30
TRUSTED_IDLE_SECONDS = 1.0
"""A connection that was idle for longer is checked before use."""


class PostgresDatabase:
    """`akidb.sql.database.SqlDatabase` on PostgreSQL: the tables of one schema.

    Any number of processes may work on it at once.
    """

    system = "postgresql"
    generation = None

    def __init__(
        self,
        url: str,
        schema: str,
        *,
        pool_size: int = 8,
        synchronous: str = "full",
        kind: StoreKind = "tenant",
        make_schema: bool = True,
    ) -> None:
        """Connect, and create a missing schema if `make_schema`.

        Raises InvalidArgument(`url`) for an invalid URL, Unavailable if the server cannot be reached or does
        not suit AkiDB (`check_server`).
        """
        self._parameters = Parameters(url, schema, synchronous=synchronous)
        self.name = self._parameters.name
        self._place = self._parameters.place
        self.clock = self._parameters.clock
        """The server's."""
        self.schema = schema
        self.kind = kind
        self._commit = Call(kind, "transaction", "commit", self.system)
        self._engine = sa.create_engine(
            "postgresql+psycopg://",
            creator=self._connect,
            poolclass=NullPool,
            pool_reset_on_return=None,  # a released connection has no transaction, or is broken
            paramstyle="format",  # positional, as `Prepared` passes them
            isolation_level="AUTOCOMMIT",  # this module issues BEGIN and COMMIT; a single read needs neither
            use_native_hstore=False,
        )
        self._pool = ConnectionPool(
            self._engine.connect,
            _works,
            size=pool_size,
            timeout_seconds=POOL_TIMEOUT_SECONDS,
            trusted_seconds=TRUSTED_IDLE_SECONDS,
            kind=kind,
        )
        try:
            with self.read() as connection:
                check_server(driver_of(connection), self._parameters)
            if make_schema and not self._has_schema():
                with self.locked(SCHEMA_LOCK):  # concurrent creation clashes, even with IF NOT EXISTS
                    self._make_schema()
        except BaseException:
            self.close()
            raise

    def read(self, *, snapshot: bool = False) -> AbstractContextManager[sa.Connection]:
        """Open a connection for reading; with `snapshot`, its statements see one consistent state."""
        return self._snapshot() if snapshot else self._connection()

    @contextmanager
    def _snapshot(self) -> Iterator[sa.Connection]:
        with self._opened("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY") as connection:
            driver = driver_of(connection)
            try:
                yield connection
            finally:
                _roll_back(driver)

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Open a transaction: committed when the block ends, rolled back if it raises."""
        with self._opened("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE") as connection:
            driver = driver_of(connection)
            try:
                yield connection
                self._commit_or_tell(driver)
            except BaseException:
                _roll_back(driver)
                raise

    @contextmanager
    def locked(self, key: int) -> Iterator[int]:
        """Hold an advisory lock, shared by all processes on this database; `key` has 63 bits.

        Yield the backend PID of the holder, for `is_locked`: the lock is lost with the connection.
        """
        with self._opened("SELECT pg_advisory_lock(%s)", key) as connection:
            driver: Session = driver_of(connection)
            free = False
            try:
                if not driver.is_kept():
                    raise Unavailable(f"{self.name}: {TRANSACTION_POOLING}")
                try:
                    yield driver.backend
                finally:
                    if not driver.closed:
                        self._unlock(driver, key)
                    free = True
            finally:
                if not free:  # interrupted with the lock held: closing the connection releases it
                    driver.close()

    @staticmethod
    def is_locked(connection: sa.Connection, key: int, holder: int) -> bool:
        """Return whether that backend still holds the lock."""
        found = driver_of(connection).execute(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = %s"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            " AND classid::bigint = %s AND objid::bigint = %s AND objsubid = 1)",
            (holder, key >> 32, key & 0xFFFFFFFF),
        )
        return bool(found.fetchone()[0])

    @contextmanager
    def migration(self) -> Iterator[sa.Connection]:
        """Open a transaction for schema migrations."""
        with self.write() as connection:
            found = connection.exec_driver_sql("SELECT current_schema()").scalar_one()
            if found != self.schema:
                raise Unavailable(
                    f"{self.name}: tables would be created in schema {found} instead of {self.schema}; the"
                    " role lacks a privilege on it, or a pooler does not keep the settings of sessions"
                )
            yield connection

    def displacement(self) -> str | None:
        """Return None: the server looks after its files."""
        return None

    def erase(self) -> bool:
        """Return True: PostgreSQL's vacuum clears deleted rows from its pages."""
        return True

    def checkpoint_idle(self) -> bool:
        """Return False: the server checkpoints its log."""
        return False

    def require_room(self, connection: sa.Connection, size_bytes: int) -> None:
        """Do nothing: the server's disk is not known here."""

    def figures(self) -> StoreFigures:
        """Return current gauges of connections."""
        return StoreFigures(*self._pool.counts(), pool_waiting=self._pool.waiting)

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()

    @contextmanager
    def _opened(self, statement: str, *parameters: int) -> Iterator[sa.Connection]:
        """Open a connection with a first statement, which is repeated on a new one if it finds it lost."""
        for is_last in (False, True):
            with self._connection() as connection:
                driver = driver_of(connection)
                try:
                    driver.execute(statement, parameters or None)
                except psycopg.Error as error:
                    if is_last or not is_lost(error, closed=driver.closed):
                        raise
                    driver.close()
                    continue
                except BaseException:  # an interrupt: the statement may have taken a lock
                    driver.close()
                    raise
                yield connection
                return

    @contextmanager
    def _connection(self) -> Iterator[sa.Connection]:
        with translated(self.name, self._place):
            connection = self._pool.take()
            broken = True
            try:
                driver = driver_of(connection)
                try:
                    yield connection
                except Exception as error:
                    lost = self._lost(error, closed=driver.closed)
                    if lost is None:
                        raise
                    raise lost from error
                finally:
                    # An unfinished transaction must not leak to the next user of the connection.
                    broken = connection.invalidated or not _is_idle(driver)
            finally:
                self._pool.give(connection, broken=broken)

    def _unlock(self, driver: Session, key: int) -> None:
        """Release an advisory lock. Raises Unavailable, not ConnectionLost, if it was lost: work was done."""
        try:
            driver.execute("SELECT pg_advisory_unlock(%s)", (key,))
        except psycopg.Error as error:
            driver.close()
            raise MachineFailure(f"{self.name}: the connection that held a lock was lost") from error

    def _lost(self, error: Exception, *, closed: bool) -> ConnectionLost | None:
        """Return the error for a lost connection, None for another error."""
        if not is_lost(error, closed=closed):
            return None
        found = translation(self.name, error, self._place)
        if not isinstance(found, AkiDBError):
            return ConnectionLost(f"{self.name}: the connection was lost")
        return ConnectionLost(found.message, public=found.public)

    def _commit_or_tell(self, driver: Session) -> None:
        """Commit. Raises Unavailable, not ConnectionLost, if the connection is lost: it may be committed."""
        try:
            commit(driver, self._commit)
        except psycopg.Error as error:
            if not is_lost(error, closed=driver.closed):
                raise
            unknown = "the change may have been committed"
            found = translation(self.name, error, self._place)
            public = found.public if isinstance(found, AkiDBError) else self.name
            raise MachineFailure(f"{found}; {unknown}", public=f"{public}; {unknown}") from error

    def _connect(self) -> Session:
        with Interruptible():  # it may wait for the server
            session = open_session(self._parameters)
        telemetry.count("connections_opened", self.kind)
        return session

    def _has_schema(self) -> bool:
        with self.read() as connection:
            found = connection.exec_driver_sql("SELECT to_regnamespace(%s) IS NOT NULL", (self.schema,))
            return bool(found.scalar_one())

    def _make_schema(self) -> None:
        """Create the schema if missing: a user without that privilege may have been given one."""
        if not self._has_schema():
            with self.read() as connection:
                connection.exec_driver_sql(f'CREATE SCHEMA "{self.schema}"')


def _roll_back(driver: Session) -> None:
    """End a transaction. If that fails, the connection is not idle, and will be closed."""
    if not driver.closed:
        with suppress(psycopg.Error):
            driver.execute("ROLLBACK")


def _is_idle(driver: Session) -> bool:
    """Return whether it can be reused."""
    return driver.pgconn.transaction_status == TransactionStatus.IDLE


def _works(connection: sa.Connection) -> bool:
    """Return whether the connection is alive: a server restart must not cause an error in the caller."""
    try:
        driver: Session = driver_of(connection)
        return driver.is_kept()
    except psycopg.Error:
        return False
