"""PRAGMA settings of every kind of SQLite connection, read back where they are used.

`fullfsync` matters on macOS alone, and covers checkpoints too; `cell_size_check` finds damage earlier.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from fault_tools import add_tenant, at, documents, opened

from akidb.documents.archive_image import durable
from akidb.operations.archives import CopyTenant, CreateBackup
from akidb.operations.documents import UpsertDocuments
from akidb.operations.tenants import DeleteTenant, PurgeTenant
from akidb.operations.upkeep import CheckStores
from akidb.sql import archive_image, sqlite, sqlite_library
from akidb.sql.archive_image import SCRATCH_NAME, copy_file, image_of
from akidb.sql.database import driver_of
from akidb.sql.files import create_file
from akidb.sql.sqlite import SqliteFile
from akidb.sql.sqlite_library import library

Settings = dict[str, object]

STORE: Settings = {
    "journal_mode": "wal",
    "synchronous": 2,
    "fullfsync": 1,
    "checkpoint_fullfsync": 0,
    "foreign_keys": 1,
    "cell_size_check": 1,
    "secure_delete": 1,
    "trusted_schema": 0,
    "busy_timeout": 10_000,
    "locking_mode": "normal",
    "wal_autocheckpoint": 1000,
    "mmap_size": 0,
    "ignore_check_constraints": 0,
    "read_uncommitted": 0,
    "writable_schema": 0,
}
COPY: Settings = {
    "journal_mode": "delete",
    "synchronous": 2,
    "locking_mode": "normal",
    "mmap_size": 0,
    "writable_schema": 0,
}
"""Of the connection that pages are copied through; nothing reads the copy's schema there."""

EXPECTED: dict[str, Settings] = {
    "reader": STORE,
    "snapshot": STORE,
    "writer": STORE,
    "kept reader": STORE,
    "migration": STORE | {"foreign_keys": 0},
    "erasing": STORE | {"busy_timeout": 250},
    "reader, normal": STORE | {"synchronous": 1},
    "writer, normal": STORE | {"synchronous": 1},
    "image": STORE | {"synchronous": 0},
    "filling": STORE | {"synchronous": 0},
    "copying": COPY,
    "copying an image": COPY | {"synchronous": 0},
}


def settings(driver: Any, names: Settings) -> Settings:
    return {name: driver.execute(f"PRAGMA {name}").fetchone()[0] for name in names}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_file(tmp_path / "store.db")
    return tmp_path / "store.db"


@contextmanager
def closing(path: Path, synchronous: str = "full") -> Iterator[SqliteFile]:
    file = SqliteFile(path, synchronous=synchronous)
    try:
        yield file
    finally:
        file.close()


def used(file: SqliteFile, kind: str) -> Settings:
    """What a connection of a kind is set to while it is used."""
    if kind == "writer":
        with file.write() as connection:
            return settings(driver_of(connection), STORE)
    if kind == "migration":
        with file.migration() as connection:
            return settings(driver_of(connection), STORE)
    if kind == "image":
        with image_of(file) as connection:
            return settings(driver_of(connection), STORE)
    if kind == "kept reader":
        with file.read() as first:
            pass
        with file.read() as connection:
            assert connection is first
            return settings(driver_of(connection), STORE)
    with file.read(snapshot=kind == "snapshot") as connection:
        return settings(driver_of(connection), STORE)


@pytest.mark.parametrize("kind", ["reader", "snapshot", "writer", "kept reader", "migration", "image"])
def test_connection_pragmas_match_its_use(path: Path, kind: str) -> None:
    with closing(path) as file:
        assert used(file, kind) == EXPECTED[kind]


@pytest.mark.parametrize("kind", ["reader", "writer"])
def test_synchronous_normal_changes_no_other_pragma(path: Path, kind: str) -> None:
    with closing(path, "normal") as file:
        assert used(file, kind) == EXPECTED[f"{kind}, normal"]


def test_filling_store_syncs_once_at_end(path: Path) -> None:
    with durable(path) as file:
        assert used(file, "writer") == EXPECTED["filling"]


def test_erase_uses_short_busy_timeout(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Settings] = []

    def clear(*_: object) -> int:
        (connection,) = file._in_use
        said.append(settings(driver_of(connection), STORE))
        return 0

    monkeypatch.setattr(sqlite, "clear_gaps", clear)
    with closing(path) as file:
        assert file.erase()
        assert used(file, "reader") == EXPECTED["reader"]  # and no other connection is left with that
    assert said == [EXPECTED["erasing"]]


@pytest.mark.parametrize("kind", ["copying", "copying an image"])
def test_copy_is_synced_unless_temporary(path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Settings] = []

    class Noted(library.Connection):  # type: ignore[misc]
        def execute(self, *arguments: Any) -> Any:
            result = super().execute(*arguments)
            said.append({name: super(Noted, self).execute(f"PRAGMA {name}").fetchone()[0] for name in COPY})
            return result

    def connect(place: str) -> Any:
        return library.connect(place, factory=Noted)

    monkeypatch.setattr(archive_image, "library", SimpleNamespace(connect=connect, Error=library.Error))
    with closing(path) as file:
        if kind == "copying":
            copy_file(file, path.with_name("copy.db"))
        else:
            with image_of(file):
                pass
    assert said[-1] == EXPECTED[kind]


def test_only_scratch_files_are_written_without_sync(tmp_path: Path) -> None:
    """Every connection of a data directory has the documented settings; only scratch files are not synced."""
    said: list[tuple[Path, Settings]] = []

    def connected(connection: Any, _record: object) -> None:
        ((_, _, place),) = connection.execute("PRAGMA database_list").fetchall()
        said.append((Path(place), settings(connection, STORE)))

    sa.event.listen(sqlite_library._engine, "connect", connected)
    try:
        with opened(tmp_path / "data") as operations:
            add_tenant(operations, "t", "c")
            operations.perform(UpsertDocuments(**at("t")._asdict(), documents=documents(3)))
            operations.perform(CreateBackup(), sink=io.BytesIO())
            operations.perform(CopyTenant(tenant="t", slug="copied"))
            operations.perform(CheckStores())
            operations.perform(DeleteTenant(tenant="t"))
            operations.perform(PurgeTenant(tenant="t"))
    finally:
        sa.event.remove(sqlite_library._engine, "connect", connected)
    scratch = [each for place, each in said if place.parent.name == SCRATCH_NAME]
    others = [each for place, each in said if place.parent.name != SCRATCH_NAME]
    assert len(others) >= 4
    assert others == [STORE] * len(others)
    assert scratch
    assert scratch == [STORE | {"synchronous": 0}] * len(scratch)
