"""One schema of a PostgreSQL database: its pool of connections, its transactions.

Values cross here as they do on SQLite: an ID is 16 bytes, a time is in UTC. What the server says to a
broken connection, a lost race or a lock held too long becomes an error of the domain in `sql.errors`.
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
"""What processes that make a schema hold: `akidb_sc` as a number."""
POOL_TIMEOUT_SECONDS = 30
LOCK_TIMEOUT_SECONDS = 60
TRUSTED_IDLE_SECONDS = 1.0
"""A connection that was idle for longer is asked whether it still works before it is used."""


class _IdLoader(Loader):
    """A UUID as its bytes, without the way over `uuid.UUID`."""

    format = Format.TEXT

    def load(self, data: Buffer) -> bytes:
        return bytes.fromhex(bytes(data).replace(b"-", b"").decode())


class _BinaryIdLoader(Loader):
    """The same from a cursor that speaks binary."""

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
        """Connect, and make the schema if there is none, unless nothing is to be made.

        Raises InvalidArgument(`url`) for one that cannot be read, Unavailable when the server cannot be
        reached, is older than PostgreSQL 16, or holds the text in another encoding than UTF-8.
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
            pool_reset_on_return=None,  # a connection that is given up has no transaction, or is broken
            paramstyle="format",  # by position, as `Prepared` gives them
            isolation_level="AUTOCOMMIT",  # this module says BEGIN and COMMIT; a single read needs neither
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
                with self.locked(SCHEMA_LOCK):  # two that make it at once clash, also with IF NOT EXISTS
                    self._make_schema()
        except BaseException:
            self.close()
            raise

    @contextmanager
    def read(self, *, snapshot: bool = False) -> Iterator[sa.Connection]:
        """A connection for reading; with `snapshot` all its statements see one state of the store."""
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
        """A transaction: committed when the block ends, rolled back when it raises."""
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
        """Hold a lock that all processes on this database share; `key` takes 63 bits.

        Gives the server's process that holds it, for `is_locked`: the lock is lost with the connection.
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
                if not free:  # an interrupt may come when the lock is held: it goes with its connection
                    driver.close()

    @staticmethod
    def is_locked(connection: sa.Connection, key: int, holder: int) -> bool:
        """Whether that process of the server holds the lock still."""
        found = driver_of(connection).execute(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = %s"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            " AND classid::bigint = %s AND objid::bigint = %s AND objsubid = 1)",
            (holder, key >> 32, key & 0xFFFFFFFF),
        )
        return bool(found.fetchone()[0])

    @contextmanager
    def migration(self) -> Iterator[sa.Connection]:
        """A transaction for steps of a schema."""
        with self.write() as connection:
            yield connection

    def erase(self) -> bool:
        """The database's own vacuum clears what was deleted from its pages."""
        return True

    def figures(self) -> StoreFigures:
        """Its connections."""
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
                # What is left of a transaction must not reach the next user of the connection.
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
        """Not where there is one: who may not make schemas may be given one."""
        if not self._has_schema():
            with self.read() as connection:
                connection.exec_driver_sql(f'CREATE SCHEMA "{self.schema}"')

    def _check_server(self, connection: sa.Connection) -> None:
        info = driver_of(connection).info
        if info.server_version < MINIMUM_VERSION:
            raise Unavailable(f"{self.name}: the server is older than PostgreSQL 16")
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
        if encoding != "UTF8":
            raise Unavailable(f"{self.name}: its encoding is {encoding}; make it with ENCODING 'UTF8'")


def _conninfo(url: str, schema: str, synchronous: str) -> str:
    _, _, rest = url.partition("://")
    try:
        given = conninfo_to_dict(f"postgresql://{rest}")
    except psycopg.ProgrammingError as error:
        reason = str(error).partition(': "')[0]  # what stands in quotes may be the password
        raise InvalidArgument("url", f"is no address of a PostgreSQL database: {reason}") from None
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
    """Whether it can be used again. What SQLAlchemy saw breaking has no connection of the driver any more."""
    if connection.invalidated:
        return False
    return bool(driver_of(connection).pgconn.transaction_status == TransactionStatus.IDLE)


def _works(connection: sa.Connection) -> bool:
    """Whether the server was not restarted meanwhile: that must not cost the caller an error."""
    try:
        driver_of(connection).execute("SELECT 1")
    except psycopg.Error:
        return False
    return True
