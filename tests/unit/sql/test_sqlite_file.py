"""A store file: what every connection of it is set to, what a transaction keeps, how it fails."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from akidb.domain.errors import Unavailable
from akidb.sql import sqlite
from akidb.sql.sqlite import MAX_IDLE_CONNECTIONS, SqliteFile, check_integrity, create_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kb 100%?#.db"  # each of these means something in a URI


@pytest.fixture
def file(path: Path) -> Iterator[SqliteFile]:
    create_file(path)
    made = SqliteFile(path)
    with made.write() as connection:
        connection.exec_driver_sql("CREATE TABLE shelves (shelf_id INTEGER PRIMARY KEY) STRICT")
        connection.exec_driver_sql(
            "CREATE TABLE books (title TEXT NOT NULL, shelf_id INTEGER REFERENCES shelves) STRICT"
        )
    yield made
    made.close()


def add_book(connection: sa.Connection, title: str, shelf_id: int | None = None) -> None:
    connection.exec_driver_sql("INSERT INTO books VALUES (?, ?)", (title, shelf_id))


def titles(file: SqliteFile) -> list[str]:
    with file.read() as connection:
        return list(connection.exec_driver_sql("SELECT title FROM books ORDER BY title").scalars())


def pragma(connection: sa.Connection, name: str) -> Any:
    return connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()


def test_a_new_file_may_be_read_by_its_owner_alone(path: Path) -> None:
    create_file(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        create_file(path)


def test_every_connection_is_set_as_promised(file: SqliteFile) -> None:
    with ExitStack() as open_ones:
        connections = [open_ones.enter_context(file.read()) for _ in range(2 * MAX_IDLE_CONNECTIONS)]
        connections.append(open_ones.enter_context(file.write()))
        for connection in connections:
            assert pragma(connection, "foreign_keys") == 1
            assert pragma(connection, "journal_mode") == "wal"
            assert pragma(connection, "synchronous") == 2
            assert pragma(connection, "busy_timeout") == 10_000
            assert pragma(connection, "trusted_schema") == 0
    with ExitStack() as again:  # and so are those that were kept
        for _ in range(MAX_IDLE_CONNECTIONS):
            connection = again.enter_context(file.read())
            assert (pragma(connection, "foreign_keys"), pragma(connection, "synchronous")) == (1, 2)


def test_normal_synchronous_is_a_choice(path: Path) -> None:
    create_file(path)
    file = SqliteFile(path, synchronous="normal")
    with file.read() as connection:
        assert pragma(connection, "synchronous") == 1
    file.close()


def test_what_a_transaction_wrote_is_there_for_others_when_it_ends(file: SqliteFile) -> None:
    with file.write() as connection:
        add_book(connection, "Kokoro")
        assert titles(file) == []
    assert titles(file) == ["Kokoro"]


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, Unavailable("no")])
def test_an_exception_rolls_everything_back(
    file: SqliteFile, error: type[BaseException] | BaseException
) -> None:
    with pytest.raises((KeyError, KeyboardInterrupt, Unavailable)), file.write() as connection:  # noqa: PT012
        add_book(connection, "Kokoro")
        add_book(connection, "Botchan")
        raise error
    assert titles(file) == []
    with file.write() as connection:
        add_book(connection, "Sanshiro")
    assert titles(file) == ["Sanshiro"]


def test_a_violated_constraint_rolls_everything_back(file: SqliteFile) -> None:
    with pytest.raises(sa.exc.IntegrityError), file.write() as connection:  # noqa: PT012
        add_book(connection, "Kokoro")
        add_book(connection, "Botchan", shelf_id=7)
    assert titles(file) == []


def test_a_snapshot_sees_one_state(file: SqliteFile) -> None:
    with file.read(snapshot=True) as before:
        assert before.exec_driver_sql("SELECT count(*) FROM books").scalar_one() == 0
        with file.write() as connection:
            add_book(connection, "Kokoro")
        assert before.exec_driver_sql("SELECT count(*) FROM books").scalar_one() == 0
    assert titles(file) == ["Kokoro"]


def test_a_snapshot_that_fails_leaves_no_transaction_behind(file: SqliteFile) -> None:
    with pytest.raises(KeyError), file.read(snapshot=True):
        raise KeyError
    with file.write() as connection:
        add_book(connection, "Kokoro")
    assert titles(file) == ["Kokoro"]


def test_writers_wait_for_each_other(file: SqliteFile) -> None:
    def write(number: int) -> None:
        for round in range(10):
            with file.write() as connection:
                add_book(connection, f"{number}-{round}")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(titles(file)) == 160


def test_a_closed_file_refuses(file: SqliteFile) -> None:
    file.close()
    with pytest.raises(Unavailable, match="is closed"), file.read():
        pass
    with pytest.raises(Unavailable, match="is closed"), file.write():
        pass


def test_closing_folds_the_log_into_the_file(file: SqliteFile, path: Path) -> None:
    with file.write() as connection:
        add_book(connection, "Kokoro")
    file.close()
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_closing_waits_for_the_writer(file: SqliteFile) -> None:
    closing = threading.Thread(target=file.close)
    with file.write() as connection:
        closing.start()
        add_book(connection, "Kokoro")
    closing.join()
    again = SqliteFile(file.path)
    assert titles(again) == ["Kokoro"]
    again.close()


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    file = SqliteFile(tmp_path / "absent.db")
    with pytest.raises(Unavailable, match=r"absent\.db: the file cannot be opened"), file.read():
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_database_is_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "letter.db"
    path.write_bytes(b"Dear Sir or Madam, " * 500)
    with (
        pytest.raises(Unavailable, match=r"letter\.db: the file is damaged"),
        SqliteFile(path).read() as connection,
    ):
        connection.exec_driver_sql("SELECT 1 FROM books")
    assert path.read_bytes() == b"Dear Sir or Madam, " * 500


def test_a_wrong_statement_says_what_the_driver_says(file: SqliteFile) -> None:
    with pytest.raises(Unavailable, match="no such table: magazines"), file.read() as connection:
        connection.exec_driver_sql("SELECT * FROM magazines")


def test_a_full_disk_is_said_to_be_full(file: SqliteFile) -> None:
    with pytest.raises(Unavailable, match="no space left on the disk"), file.write() as connection:  # noqa: PT012
        connection.exec_driver_sql("PRAGMA max_page_count = 3")
        for number in range(1000):
            add_book(connection, f"{number}" * 1000)
    assert titles(file) == []


def test_a_sound_file_passes_its_check_and_a_dangling_reference_does_not(file: SqliteFile) -> None:
    with file.write() as connection:
        add_book(connection, "Kokoro")
        assert check_integrity(connection) == []
    with file.read() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        add_book(connection, "Botchan", shelf_id=7)
        assert check_integrity(connection) == ["row 2 of books refers to a missing row of shelves"]


def test_a_library_without_strict_tables_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_file(path)
    monkeypatch.setattr(sqlite, "MINIMUM_VERSION", (99, 0, 0))
    with pytest.raises(Unavailable, match="too old"), SqliteFile(path).read():
        pass
