"""After a connection breaks, idle connections are closed and reopened."""

import select
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from akidb.domain.errors import NotFound, Unavailable
from akidb.ports.conflicts import ConnectionLost
from akidb.sql.database import driver_of
from akidb.sql.files import create_file
from akidb.sql.postgresql import PostgresDatabase
from akidb.sql.sqlite import SqliteFile


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


def with_timeout(url: str, name: str) -> str:
    return f"{url}&options=-c%20{name}%3D50ms"


def test_statement_timeout_is_reported_as_such_and_keeps_connection(postgres_url: str) -> None:
    database = PostgresDatabase(with_timeout(postgres_url, "statement_timeout"), "akidb")
    with (
        pytest.raises(
            Unavailable, match=r"the server cancelled the statement: .*statement timeout"
        ) as raised,
        database.write() as connection,
    ):
        connection.exec_driver_sql("SELECT pg_sleep(60)")
    assert not isinstance(raised.value, ConnectionLost)
    in_use, kept, *_ = database.figures()
    assert in_use == 0
    assert kept >= 1
    database.close()


@pytest.mark.parametrize("transaction", ["snapshot", "write"])
@pytest.mark.parametrize("statement", STATEMENTS)
def test_idle_transaction_that_the_server_ends_is_a_lost_connection(
    transaction: str, statement: str, postgres_url: str
) -> None:
    database = PostgresDatabase(
        with_timeout(postgres_url, "idle_in_transaction_session_timeout"), "akidb", pool_size=2
    )

    def outlast(connection: sa.Connection) -> None:
        select.select([driver_of(connection).fileno()], [], [], 30)  # until the server says something
        STATEMENTS[statement](connection)

    for _ in range(3):  # once more than there are places
        with (
            pytest.raises(ConnectionLost, match="idle_in_transaction_session_timeout"),
            TRANSACTIONS[transaction](database) as connection,
        ):
            outlast(connection)
    assert database.figures()[:2] == (0, 0)
    database.close()


@pytest.mark.parametrize("transaction", ["snapshot", "write"])
def test_connection_lost_while_idle_is_replaced_when_a_transaction_begins(
    transaction: str, postgres_url: str
) -> None:
    database = PostgresDatabase(postgres_url, "akidb", pool_size=3)
    for _ in range(4):
        idle(database, 3)
        end_all(postgres_url)
        with TRANSACTIONS[transaction](database) as connection:
            assert connection.exec_driver_sql(SELECT).scalar_one() == 1
        assert database.figures()[:2] == (0, 1)
    with database.locked(1):
        pass
    end_all(postgres_url)
    with database.locked(1) as holder, database.read() as connection:
        assert database.is_locked(connection, 1, holder)
    database.close()


def test_connection_lost_during_commit_is_not_reported_as_without_effect(postgres_url: str) -> None:
    database = PostgresDatabase(postgres_url, "akidb")
    with pytest.raises(Unavailable, match="may have been committed") as raised, database.write():
        end_all(postgres_url)
    assert not isinstance(raised.value, ConnectionLost)
    assert database.figures()[:2] == (0, 0)
    database.close()


def test_lost_lock_is_not_reported_as_without_effect(postgres_url: str) -> None:
    database = PostgresDatabase(postgres_url, "akidb")
    with pytest.raises(Unavailable, match="held a lock") as raised, database.locked(1):
        end_all(postgres_url)
    assert not isinstance(raised.value, ConnectionLost)
    assert database.figures()[:2] == (0, 0)
    database.close()


def test_connection_that_was_in_use_when_another_was_lost_is_checked(postgres_url: str) -> None:
    database = PostgresDatabase(postgres_url, "akidb", pool_size=2)
    with database.read() as kept:
        kept.exec_driver_sql(SELECT)
        with pytest.raises(ConnectionLost), database.read() as connection:
            lose(connection, postgres_url, "of SQLAlchemy")
    assert database.figures()[:2] == (0, 1)  # lost too, though nothing says so yet
    with database.read() as connection:
        assert connection.exec_driver_sql(SELECT).scalar_one() == 1
    database.close()
