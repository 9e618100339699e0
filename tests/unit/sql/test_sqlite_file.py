"""SQLite store files: connection settings, transactions and error reports."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from akidb.domain.errors import Unavailable
from akidb.sql import sqlite_library
from akidb.sql.files import create_file
from akidb.sql.integrity import check_integrity
from akidb.sql.sqlite import MAX_IDLE_CONNECTIONS, SqliteFile


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


def test_new_file_is_readable_by_owner_only(path: Path) -> None:
    create_file(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        create_file(path)


def test_every_connection_has_required_pragmas(file: SqliteFile) -> None:
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


def test_synchronous_can_be_set_to_normal(path: Path) -> None:
    create_file(path)
    file = SqliteFile(path, synchronous="normal")
    with file.read() as connection:
        assert pragma(connection, "synchronous") == 1
    file.close()


def test_writes_are_visible_to_others_after_commit(file: SqliteFile) -> None:
    with file.write() as connection:
        add_book(connection, "Kokoro")
        assert titles(file) == []
    assert titles(file) == ["Kokoro"]


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, Unavailable("no")])
def test_exception_rolls_back_transaction(
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


def test_constraint_violation_rolls_back_transaction(file: SqliteFile) -> None:
    with pytest.raises(sa.exc.IntegrityError), file.write() as connection:  # noqa: PT012
        add_book(connection, "Kokoro")
        add_book(connection, "Botchan", shelf_id=7)
    assert titles(file) == []


def test_snapshot_read_is_isolated_from_later_writes(file: SqliteFile) -> None:
    with file.read(snapshot=True) as before:
        assert before.exec_driver_sql("SELECT count(*) FROM books").scalar_one() == 0
        with file.write() as connection:
            add_book(connection, "Kokoro")
        assert before.exec_driver_sql("SELECT count(*) FROM books").scalar_one() == 0
    assert titles(file) == ["Kokoro"]


def test_failed_snapshot_leaves_no_open_transaction(file: SqliteFile) -> None:
    with pytest.raises(KeyError), file.read(snapshot=True):
        raise KeyError
    with file.write() as connection:
        add_book(connection, "Kokoro")
    assert titles(file) == ["Kokoro"]


def test_concurrent_writers_are_serialized(file: SqliteFile) -> None:
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


def test_closed_file_refuses_reads_and_writes(file: SqliteFile) -> None:
    file.close()
    with pytest.raises(Unavailable, match="is closed"), file.read():
        pass
    with pytest.raises(Unavailable, match="is closed"), file.write():
        pass


def test_close_checkpoints_wal(file: SqliteFile, path: Path) -> None:
    with file.write() as connection:
        add_book(connection, "Kokoro")
    file.close()
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_close_waits_for_active_writer(file: SqliteFile) -> None:
    closing = threading.Thread(target=file.close)
    with file.write() as connection:
        closing.start()
        add_book(connection, "Kokoro")
    closing.join()
    again = SqliteFile(file.path)
    assert titles(again) == ["Kokoro"]
    again.close()


def test_missing_file_is_not_created(tmp_path: Path) -> None:
    file = SqliteFile(tmp_path / "absent.db")
    with pytest.raises(Unavailable, match=r"absent\.db: the file cannot be opened"), file.read():
        pass
    assert list(tmp_path.iterdir()) == []


def test_non_database_file_is_reported_as_damaged(tmp_path: Path) -> None:
    path = tmp_path / "letter.db"
    path.write_bytes(b"Dear Sir or Madam, " * 500)
    with (
        pytest.raises(Unavailable, match=r"letter\.db: the file is damaged"),
        SqliteFile(path).read() as connection,
    ):
        connection.exec_driver_sql("SELECT 1 FROM books")
    assert path.read_bytes() == b"Dear Sir or Madam, " * 500


def test_invalid_statement_reports_driver_message(file: SqliteFile) -> None:
    with pytest.raises(Unavailable, match="no such table: magazines"), file.read() as connection:
        connection.exec_driver_sql("SELECT * FROM magazines")


def test_full_disk_is_reported(file: SqliteFile) -> None:
    with pytest.raises(Unavailable, match="no space left on the disk"), file.write() as connection:  # noqa: PT012
        connection.exec_driver_sql("PRAGMA max_page_count = 3")
        for number in range(1000):
            add_book(connection, f"{number}" * 1000)
    assert titles(file) == []


def test_integrity_check_reports_dangling_foreign_key(file: SqliteFile) -> None:
    with file.write() as connection:
        add_book(connection, "Kokoro")
        assert check_integrity(connection) == []
    with file.read() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        add_book(connection, "Botchan", shelf_id=7)
        assert check_integrity(connection) == ["row 2 of books refers to a missing row of shelves"]


def test_too_old_sqlite_library_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_file(path)
    monkeypatch.setattr(sqlite_library, "MINIMUM_VERSION", (99, 0, 0))
    with pytest.raises(Unavailable, match="too old"), SqliteFile(path).read():
        pass


@pytest.mark.parametrize("migrates", [False, True])
def test_transaction_larger_than_the_cache_is_not_taken_for_another_program(
    file: SqliteFile, migrates: bool
) -> None:
    """SQLite writes to the log what does not fit into memory, also if the transaction is rolled back."""
    log = file.path.with_name(f"{file.path.name}-wal")

    def write_much(*, fails: bool) -> None:
        with file.migration() if migrates else file.write() as connection:
            before = log.stat().st_mtime_ns
            for _ in range(60):
                add_book(connection, "x" * 100_000)
            assert log.stat().st_mtime_ns > before, "nothing was written before the end"
            if fails:
                raise KeyError("changed my mind")

    for fails in (True, False, True):
        with pytest.raises(KeyError) if fails else ExitStack():
            write_much(fails=fails)
        with file.write() as connection:
            add_book(connection, "small")
        assert file.displacement() is None
    assert len(titles(file)) == 60 + 3
