"""One schema of a PostgreSQL database: its connection pool and its transactions.

Values have the same form as on SQLite: an ID is 16 bytes, a time is in UTC. `sql.errors` translates broken
connections, conflicts and lock timeouts into domain errors.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Format, TransactionStatus
from sqlalchemy.pool import NullPool

from akidb.domain.errors import InvalidArgument, Unavailable
from akidb.observe import telemetry
from akidb.observe.telemetry import Call, StoreFigures, StoreKind
from akidb.sql.database import driver_of
from akidb.sql.errors import translated
from akidb.sql.pool import ConnectionPool
from akidb.sql.telemetry import commit

MINIMUM_VERSION = 160_000
"""PostgreSQL 16, the first with `IS JSON`."""
SCHEMA_LOCK = 0x616B6964625F7363
"""Advisory lock for schema creation: `akidb_sc` as a number."""
POOL_TIMEOUT_SECONDS = 30
LOCK_TIMEOUT_SECONDS = 60
TRUSTED_IDLE_SECONDS = 1.0
"""A connection that was idle for longer is checked before use."""


class _IdLoader(Loader):
    """Load a UUID as bytes, without going through `uuid.UUID`."""

    format = Format.TEXT

    def load(self, data: Buffer) -> bytes:
        return bytes.fromhex(bytes(data).replace(b"-", b"").decode())


class _BinaryIdLoader(Loader):
    """The same for binary cursors."""

    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


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

        Raises InvalidArgument(`url`) for an invalid URL, Unavailable if the server cannot be reached, is
        older than PostgreSQL 16, or uses an encoding other than UTF-8.
        """
        self._conninfo = _conninfo(url, schema, synchronous)
        named = conninfo_to_dict(self._conninfo)
        self.name = f"PostgreSQL database {named.get('dbname', '')}".rstrip()
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
                self._check_server(connection)
            if make_schema and not self._has_schema():
                with self.locked(SCHEMA_LOCK):  # concurrent creation clashes, even with IF NOT EXISTS
                    self._make_schema()
        except BaseException:
            self.close()
            raise

    @contextmanager
    def read(self, *, snapshot: bool = False) -> Iterator[sa.Connection]:
        """Open a connection for reading; with `snapshot`, its statements see one consistent state."""
        with self._connection() as connection:
            if not snapshot:
                yield connection
                return
            driver = driver_of(connection)
            driver.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                yield connection
            finally:
                if not driver.closed:
                    driver.execute("ROLLBACK")

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Open a transaction: committed when the block ends, rolled back if it raises."""
        with self._connection() as connection:
            driver = driver_of(connection)
            driver.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
            try:
                yield connection
                commit(driver, self._commit)
            except BaseException:
                if not driver.closed:
                    driver.execute("ROLLBACK")
                raise

    @contextmanager
    def locked(self, key: int) -> Iterator[int]:
        """Hold an advisory lock, shared by all processes on this database; `key` has 63 bits.

        Yield the backend PID of the holder, for `is_locked`: the lock is lost with the connection.
        """
        with self._connection() as connection:
            driver = driver_of(connection)
            free = False
            try:
                driver.execute("SELECT pg_advisory_lock(%s)", (key,))
                try:
                    yield driver.info.backend_pid
                finally:
                    if not driver.closed:
                        driver.execute("SELECT pg_advisory_unlock(%s)", (key,))
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
            yield connection

    def displacement(self) -> str | None:
        """Return None: the server looks after its files."""
        return None

    def erase(self) -> bool:
        """Return True: PostgreSQL's vacuum clears deleted rows from its pages."""
        return True

    def require_room(self, connection: sa.Connection, size_bytes: int) -> None:
        """Do nothing: the server's disk is not known here."""

    def figures(self) -> StoreFigures:
        """Return current gauges of connections."""
        return StoreFigures(*self._pool.counts(), pool_waiting=self._pool.waiting)

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()

    @contextmanager
    def _connection(self) -> Iterator[sa.Connection]:
        with translated(self.name):
            connection = self._pool.take()
            try:
                yield connection
            finally:
                # An unfinished transaction must not leak to the next user of the connection.
                self._pool.give(connection, broken=not _is_idle(connection))

    def _connect(self) -> Any:
        connection = psycopg.connect(self._conninfo, autocommit=True)
        connection.adapters.register_loader("uuid", _IdLoader)
        connection.adapters.register_loader("uuid", _BinaryIdLoader)
        telemetry.count("connections_opened", self.kind)
        return connection

    def _has_schema(self) -> bool:
        with self.read() as connection:
            found = connection.exec_driver_sql("SELECT to_regnamespace(%s) IS NOT NULL", (self.schema,))
            return bool(found.scalar_one())

    def _make_schema(self) -> None:
        """Create the schema if missing: a user without that privilege may have been given one."""
        if not self._has_schema():
            with self.read() as connection:
                connection.exec_driver_sql(f'CREATE SCHEMA "{self.schema}"')

    def _check_server(self, connection: sa.Connection) -> None:
        info = driver_of(connection).info
        if info.server_version < MINIMUM_VERSION:
            raise Unavailable(f"{self.name}: the server is older than PostgreSQL 16")
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
        if encoding != "UTF8":
            raise Unavailable(f"{self.name}: its encoding is {encoding}; create it with ENCODING 'UTF8'")


def _conninfo(url: str, schema: str, synchronous: str) -> str:
    _, _, rest = url.partition("://")
    try:
        given = conninfo_to_dict(f"postgresql://{rest}")
    except psycopg.ProgrammingError as error:
        reason = str(error).partition(': "')[0]  # the quoted part may be the password
        raise InvalidArgument("url", f"is not a valid PostgreSQL URL: {reason}") from None
    settings = {
        "search_path": schema,
        "timezone": "UTC",
        "DateStyle": "ISO",
        "client_min_messages": "error",
        "lock_timeout": f"{LOCK_TIMEOUT_SECONDS}s",
        "synchronous_commit": "on" if synchronous == "full" else "off",
        "default_transaction_isolation": "read\\ committed",
        "default_transaction_read_only": "off",
    }
    own = " ".join(f"-c {name}={value}" for name, value in settings.items())
    given["options"] = f"{given.get('options', '')} {own}".strip()
    given.setdefault("application_name", "akidb")
    given.setdefault("connect_timeout", "10")
    given["client_encoding"] = "UTF8"
    conninfo: str = make_conninfo("", **given)
    return conninfo


def _is_idle(connection: sa.Connection) -> bool:
    """Return whether it can be reused. An invalidated connection has no driver connection."""
    if connection.invalidated:
        return False
    return bool(driver_of(connection).pgconn.transaction_status == TransactionStatus.IDLE)


def _works(connection: sa.Connection) -> bool:
    """Return whether the connection is alive: a server restart must not cause an error in the caller."""
    try:
        driver_of(connection).execute("SELECT 1")
    except psycopg.Error:
        return False
    return True
