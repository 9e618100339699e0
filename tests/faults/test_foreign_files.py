"""A `metadata.db` of another program is refused before anything is changed."""

import os
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from fault_tools import add_tenant, at, documents, opened

from akidb.deployment.schema_changes import migrate
from akidb.domain.errors import Unavailable
from akidb.operations.documents import UpsertDocuments
from akidb.settings import Settings

REFUSED = "metadata.db is not a file of AkiDB"
BOOKS = "CREATE TABLE books (id INTEGER PRIMARY KEY, title TEXT)"
OTHERS = {
    "tables": [BOOKS],
    "tables of another Alembic": [BOOKS, "CREATE TABLE alembic_version (version_num TEXT)"],
    "tables of a program with tenants": [
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
        "CREATE TABLE invoices (id INTEGER PRIMARY KEY)",
        "CREATE TABLE tenants (id INTEGER PRIMARY KEY)",
    ],
    "write-ahead log": ["PRAGMA journal_mode = WAL", BOOKS],
    "application ID alone": ["PRAGMA application_id = 77"],
}


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def assert_left_alone(directory: Path) -> None:
    """Opening and migrating a directory are refused, and change neither its files nor its mode."""
    directory.chmod(0o755)
    before = contents(directory)
    with pytest.raises(Unavailable, match=REFUSED), opened(directory):
        pass
    with pytest.raises(Unavailable, match=REFUSED):
        migrate(directory, Settings())
    assert contents(directory) == before
    assert stat.S_IMODE(directory.stat().st_mode) == 0o755


@pytest.mark.parametrize("statements", OTHERS.values(), ids=OTHERS)
def test_file_of_another_program_is_left_alone(tmp_path: Path, statements: list[str]) -> None:
    with closing(sqlite3.connect(tmp_path / "metadata.db")) as other:
        for statement in statements:
            other.execute(statement)
    assert_left_alone(tmp_path)


@pytest.mark.parametrize(
    "content", [b"hello\n", bytes(4096), b"SQLite format 3\0"], ids=["text", "0", "short"]
)
def test_file_that_is_not_of_sqlite_is_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "metadata.db").write_bytes(content)
    assert_left_alone(tmp_path)


def test_pipe_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "metadata.db")
    with pytest.raises(Unavailable, match=REFUSED), opened(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["metadata.db"]


def test_log_that_a_killed_program_left_is_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute(BOOKS)
        other.execute("PRAGMA wal_checkpoint")
        other.execute("INSERT INTO books (title) VALUES ('a')")
        other.commit()
        (tmp_path / "d").mkdir()
        for suffix in ("", "-wal"):
            shutil.copy(tmp_path / f"other.db{suffix}", tmp_path / "d" / f"metadata.db{suffix}")
    assert_left_alone(tmp_path / "d")


def test_metadata_that_was_overwritten_is_damaged_and_not_another_program_s(tmp_path: Path) -> None:
    with opened(tmp_path) as operations:
        add_tenant(operations, "t", "c")
    (tmp_path / "metadata.db").write_bytes(b"hello\n")
    with pytest.raises(Unavailable, match="restore it from a backup"), opened(tmp_path):
        pass


def test_link_to_the_metadata_of_an_open_directory_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir(mode=0o755)
    (tmp_path / "b" / "metadata.db").symlink_to(tmp_path / "a" / "metadata.db")
    with opened(tmp_path / "a") as operations:
        add_tenant(operations, "t", "c")
        with pytest.raises(Unavailable, match="is a symbolic link"), opened(tmp_path / "b"):
            pass
    assert contents(tmp_path / "b").keys() == {"metadata.db"}


def test_file_with_open_log_of_another_program_is_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "metadata.db")) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute(BOOKS)
        with pytest.raises(Unavailable, match=REFUSED), opened(tmp_path):
            pass
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("books",)]


def test_store_of_a_tenant_is_no_metadata(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as operations:
        add_tenant(operations, "t", "c")
        operations.perform(UpsertDocuments(**at("t")._asdict(), documents=documents(1)))
    [store] = (tmp_path / "a" / "tenants").glob("*.db")
    (tmp_path / "b").mkdir()
    shutil.copy(store, tmp_path / "b" / "metadata.db")
    with pytest.raises(Unavailable, match=REFUSED), opened(tmp_path / "b"):
        pass


def test_file_of_an_earlier_version_is_known_by_its_tables(tmp_path: Path) -> None:
    with opened(tmp_path) as operations:
        add_tenant(operations, "t", "c")
    with closing(sqlite3.connect(tmp_path / "metadata.db")) as file:
        assert file.execute("PRAGMA application_id").fetchone() == (int.from_bytes(b"AkiM"),)
        file.execute("PRAGMA application_id = 0")
        file.commit()
    with opened(tmp_path):
        pass


def test_file_of_another_program_is_not_migrated_as_the_store_of_a_tenant(tmp_path: Path) -> None:
    with opened(tmp_path) as operations:
        add_tenant(operations, "t", "c")
        operations.perform(UpsertDocuments(**at("t")._asdict(), documents=documents(1)))
    [store] = (tmp_path / "tenants").glob("*.db")
    store.unlink()
    with closing(sqlite3.connect(store)) as other:
        other.execute(BOOKS)
        other.execute("CREATE TABLE collections (id INTEGER PRIMARY KEY)")
        other.execute("PRAGMA user_version = 1")
        other.commit()
    with opened(tmp_path) as operations, pytest.raises(Unavailable, match="is not a file of AkiDB"):
        operations.perform(UpsertDocuments(**at("t")._asdict(), documents=documents(1)))
    with closing(sqlite3.connect(store)) as other:
        assert other.execute("PRAGMA application_id").fetchone() == (0,)
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("books",), ("collections",)]
