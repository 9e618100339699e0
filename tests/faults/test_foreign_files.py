"""A `metadata.db` of another program is refused before anything is changed."""

import shutil
import sqlite3
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
    "write-ahead log": ["PRAGMA journal_mode = WAL", BOOKS],
    "application ID alone": ["PRAGMA application_id = 77"],
}


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name != "owner.lock"}


@pytest.mark.parametrize("statements", OTHERS.values(), ids=OTHERS)
def test_file_of_another_program_is_left_alone(tmp_path: Path, statements: list[str]) -> None:
    with closing(sqlite3.connect(tmp_path / "metadata.db")) as other:
        for statement in statements:
            other.execute(statement)
    before = contents(tmp_path)
    with pytest.raises(Unavailable, match=REFUSED), opened(tmp_path):
        pass
    with pytest.raises(Unavailable, match=REFUSED):
        migrate(tmp_path, Settings())
    assert contents(tmp_path) == before


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
