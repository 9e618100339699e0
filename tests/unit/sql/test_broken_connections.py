"""After a connection breaks, idle connections are closed and reopened."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from akidb.domain.errors import NotFound, Unavailable
from akidb.sql.database import driver_of
from akidb.sql.postgresql import PostgresDatabase
from akidb.sql.sqlite import SqliteFile, create_file


@pytest.fixture
def file(tmp_path: Path) -> SqliteFile:
    path = tmp_path / "some.db"
    create_file(path)
    made = SqliteFile(path)
    with made.write() as connection:
        connection.exec_driver_sql("CREATE TABLE numbers (number INTEGER) STRICT")
    return made


def idle(file: SqliteFile | PostgresDatabase, count: int) -> None:
    """Have so many connections idle."""
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(file.read())


def break_read(file: SqliteFile) -> None:
    with file.read() as connection:
        connection.exec_driver_sql("SELECT * FROM absent")


def break_snapshot(file: SqliteFile) -> None:
    with file.read(snapshot=True):
        raise Unavailable("the disk failed")


def break_write(file: SqliteFile) -> None:
    with file.write() as connection:
        connection.exec_driver_sql("INSERT INTO absent VALUES (1)")


def fail_read(file: SqliteFile) -> None:
    with file.read():
        raise NotFound("tenant", "nobody")


def fail_write(file: SqliteFile) -> None:
    with file.write():
        raise NotFound("tenant", "nobody")


@pytest.mark.parametrize("use", [break_read, break_snapshot, break_write])
def test_broken_sqlite_connection_closes_idle_connections(
    file: SqliteFile, use: Callable[[SqliteFile], None]
) -> None:
    idle(file, 3)
    kept = list(file._idle)
    assert file.figures().connections_idle == 3
    with pytest.raises(Unavailable):
        use(file)
    assert file.figures()[:2] == (0, 0)
    assert all(connection.closed for connection in kept)
    with file.read() as connection:
        assert connection not in kept
    file.close()


@pytest.mark.parametrize("use", [fail_read, fail_write])
def test_caller_error_keeps_connections_open(file: SqliteFile, use: Callable[[SqliteFile], None]) -> None:
    idle(file, 3)
    kept = set(file._idle)
    with pytest.raises(NotFound):
        use(file)
    assert set(file._idle) == kept
    file.close()


def end_all(url: str) -> None:
    """Have the server end every connection but this one."""
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid != pg_backend_pid()"
        )


SELECT = "SELECT 1"
STATEMENTS: dict[str, Callable[[sa.Connection], object]] = {
    "of SQLAlchemy": lambda connection: connection.exec_driver_sql(SELECT),
    "of the driver": lambda connection: driver_of(connection).execute(SELECT),
}
TRANSACTIONS: dict[str, Callable[[PostgresDatabase], AbstractContextManager[sa.Connection]]] = {
    "read": lambda database: database.read(),
    "snapshot": lambda database: database.read(snapshot=True),
    "write": lambda database: database.write(),
}


def lose(connection: sa.Connection, url: str, statement: str) -> None:
    """Have the connection end before the statement."""
    end_all(url)
    STATEMENTS[statement](connection)


@pytest.mark.parametrize("statement", STATEMENTS)
@pytest.mark.parametrize("transaction", TRANSACTIONS)
def test_lost_server_connection_fails_once_and_closes_idle_connections(
    transaction: str, statement: str, postgres_url: str
) -> None:
    database = PostgresDatabase(postgres_url, "akidb", pool_size=3)
    for _ in range(4):  # once more than there are places: none of them is lost
        idle(database, 3)
        assert database.figures()[:2] == (0, 3)
        with pytest.raises(Unavailable), TRANSACTIONS[transaction](database) as connection:
            lose(connection, postgres_url, statement)
        assert database.figures()[:2] == (0, 0)
    with TRANSACTIONS[transaction](database) as connection:
        assert connection.exec_driver_sql(SELECT).scalar_one() == 1
    database.close()


def test_transaction_left_open_discards_connection(postgres_url: str) -> None:
    database = PostgresDatabase(postgres_url, "akidb", pool_size=4)
    idle(database, 3)
    with database.read() as connection:
        connection.exec_driver_sql("BEGIN")
    assert database.figures()[:2] == (0, 0)
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1
    assert database.figures()[:2] == (0, 1)
    with pytest.raises(NotFound), database.write():
        raise NotFound("tenant", "nobody")
    assert database.figures()[:2] == (0, 1)
    database.close()
