"""Damaged, missing or newer-schema files: a clear error that affects only the tenants that need them."""

import io
import os
import random
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from fault_tools import add_tenant, at, disagreements, document, documents, failure, opened, unsound

from akidb.deployment.local import METADATA_NAME, TENANTS_NAME, LocalOperations, open_local
from akidb.documents.sqlite import SqliteTenantStore
from akidb.domain.errors import Unavailable
from akidb.operations.archives import CopyTenant, ExportTenant
from akidb.operations.changes import GetCollectionChanges
from akidb.operations.documents import (
    ClearDocuments,
    CountDocuments,
    DeleteDocuments,
    GetDocuments,
    ScanDocuments,
    SearchDocuments,
    UpdateDocuments,
    UpsertDocuments,
)
from akidb.operations.tenants import (
    ActivateTenant,
    CreateTenant,
    DeleteTenant,
    GetTenant,
    GetUsage,
    PurgeTenant,
    SuspendTenant,
)
from akidb.settings import Settings
from akidb.sql.sqlite_library import library

PAGE_BYTES = 4096
DAMAGED = "damaged|missing or empty|is not the store"


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Two tenants with documents, closed, and untouched by refused openings."""
    with opened(tmp_path) as operations:
        for slug in ("one", "two"):
            add_tenant(operations, slug, "c")
            operations.perform(UpsertDocuments(**at(slug)._asdict(), documents=documents(200)))
    yield tmp_path
    assert not list(tmp_path.rglob("*-wal")), "left open"


@contextmanager
def _database(path: Path) -> Iterator[Any]:
    connection = library.connect(path, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def _store(directory: Path, slug: str) -> Path:
    with opened(directory) as operations:
        return directory / TENANTS_NAME / f"{operations.perform(GetTenant(tenant=slug)).tenant_id}.db"


def _zero(path: Path, page: int) -> None:
    with path.open("r+b") as file:
        file.seek(page * PAGE_BYTES)
        file.write(bytes(PAGE_BYTES))


def _first_page(path: Path) -> None:
    _zero(path, 0)


def _half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _noise(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(path.stat().st_size))


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _text(path: Path) -> None:
    path.write_text("this is no database\n" * 500)


WRECKS = [_first_page, _half, _noise, _empty, _text]


@pytest.mark.parametrize("wreck", WRECKS)
def test_damaged_metadata_is_rejected_and_not_modified(
    wreck: Callable[[Path], None], directory: Path
) -> None:
    metadata = directory / METADATA_NAME
    sound = metadata.read_bytes()
    wreck(metadata)
    wrecked = metadata.read_bytes()
    with pytest.raises(Unavailable, match=DAMAGED) as raised:
        _use(directory)
    assert METADATA_NAME in raised.value.message
    assert metadata.read_bytes() == wrecked
    metadata.write_bytes(sound)
    _is_whole(directory)


def test_doctor_detects_loss_of_any_metadata_page(directory: Path) -> None:
    metadata = directory / METADATA_NAME
    sound = metadata.read_bytes()
    for page in range(1, len(sound) // PAGE_BYTES):
        _zero(metadata, page)
        if metadata.read_bytes() != sound:  # some pages hold nothing but zeros
            assert failure(_examine, directory) == "Unavailable", page
        metadata.write_bytes(sound)
    _is_whole(directory)


def test_missing_metadata_is_not_recreated_next_to_stores(directory: Path) -> None:
    metadata = directory / METADATA_NAME
    kept = metadata.rename(directory / "kept")
    with pytest.raises(Unavailable, match="missing or empty"), opened(directory):
        pass
    assert not metadata.exists()
    kept.rename(metadata)
    _is_whole(directory)


def test_metadata_with_missing_wal_is_not_recreated_next_to_stores(directory: Path) -> None:
    """What SQLite leaves in the file itself before the first checkpoint is a page without a table."""
    metadata = directory / METADATA_NAME
    kept = metadata.rename(directory / "kept")
    with _database(metadata) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    with pytest.raises(Unavailable, match="missing or empty"), opened(directory):
        pass
    kept.rename(metadata)
    _is_whole(directory)


def _use(directory: Path) -> None:
    """SQLite may find out at once, or only when it comes to the page that is missing."""
    _examine(directory)
    with opened(directory) as operations:
        operations.perform(CreateTenant(name="other"))


def _examine(directory: Path) -> None:
    with opened(directory) as operations:
        found = unsound(operations)
    if found:
        raise Unavailable("; ".join(found))


def _is_whole(directory: Path) -> None:
    with opened(directory) as operations:
        assert (
            operations.perform(CountDocuments(**at("one")._asdict()))
            == operations.perform(CountDocuments(**at("two")._asdict()))
            == 200
        )
        assert unsound(operations) == []
    assert disagreements(directory) == []


@pytest.mark.parametrize("wreck", [*WRECKS, Path.unlink])
def test_damaged_store_affects_only_its_tenant(wreck: Callable[[Path], None], directory: Path) -> None:
    store = _store(directory, "one")
    sound = store.read_bytes()
    wreck(store)
    wrecked = store.exists() and store.read_bytes()
    with opened(directory) as operations:
        with pytest.raises(Unavailable) as raised:
            operations.perform(ScanDocuments(**at("one")._asdict(), limit=1000))
        assert store.name in raised.value.message
        more = UpsertDocuments(**at("one")._asdict(), documents=documents(50, prefix="y"))
        assert failure(operations.perform, more) == "Unavailable"
        assert failure(operations.perform, SuspendTenant(tenant="one")) == "Unavailable"
        operations.perform(UpsertDocuments(**at("two")._asdict(), documents=[document("x1")]))
        assert operations.perform(CountDocuments(**at("two")._asdict())) == 200
        found = unsound(operations)
        assert found
        assert all(line.startswith(store.stem) for line in found)
    assert (store.exists() and store.read_bytes()) == wrecked
    store.write_bytes(sound)
    with opened(directory) as operations:
        assert operations.perform(GetTenant(tenant="one")).status == "suspended"
        one = UpsertDocuments(**at("one")._asdict(), documents=[document("y")])
        assert failure(operations.perform, one) == "InvalidState"
        operations.perform(ActivateTenant(tenant="one"))
    _is_whole(directory)


@pytest.mark.parametrize("wreck", [*WRECKS, Path.unlink])
def test_tenant_with_damaged_store_can_be_purged(wreck: Callable[[Path], None], directory: Path) -> None:
    store = _store(directory, "one")
    wreck(store)
    with opened(directory) as operations:
        failure(operations.perform, DeleteTenant(tenant="one"))
        operations.perform(PurgeTenant(tenant="one"))
        assert not store.exists()
        assert operations.perform(CountDocuments(**at("two")._asdict())) == 200
        assert unsound(operations) == []
    assert disagreements(directory) == []


def test_doctor_detects_loss_of_any_store_page(directory: Path) -> None:
    store = _store(directory, "one")
    sound = store.read_bytes()
    pages = range(1, len(sound) // PAGE_BYTES)
    for page in random.Random(2).sample(pages, min(40, len(pages))):
        _zero(store, page)
        with opened(directory) as operations:
            assert any(line.startswith(store.stem) for line in unsound(operations)), page
            assert operations.perform(CountDocuments(**at("two")._asdict())) == 200
        store.write_bytes(sound)
    _is_whole(directory)


def test_store_removed_or_replaced_while_closed_is_detected(directory: Path) -> None:
    one, two = _store(directory, "one"), _store(directory, "two")
    one.write_bytes(two.read_bytes())  # a copy of another tenant's
    with opened(directory) as operations, pytest.raises(Unavailable, match="is not the store"):
        operations.perform(CountDocuments(**at("one")._asdict()))
    one.unlink()
    with opened(directory) as operations, pytest.raises(Unavailable, match="is missing"):
        operations.perform(CountDocuments(**at("one")._asdict()))


@pytest.mark.parametrize("purged", [False, True])
def test_store_with_data_unknown_to_metadata_is_kept_and_refused(purged: bool, directory: Path) -> None:
    """As after the metadata alone was restored from a backup that is older than the store."""
    store = _store(directory, "one")
    with _database(directory / METADATA_NAME) as metadata:
        metadata.execute(
            "DELETE FROM tenant_stores WHERE tenant_id = ?", [bytes.fromhex(store.stem.replace("-", ""))]
        )
    kept = store.read_bytes()
    with opened(directory) as operations:
        assert [store.stem in line for line in unsound(operations)] == [True]
        _is_refused_as_unknown(operations)
        operations.perform(UpsertDocuments(**at("two")._asdict(), documents=[document("x1")]))
        operations.perform(CreateTenant(name="three", slug="three"))
        assert operations.perform(GetUsage(tenant="three")).documents == 0
        if purged:
            operations.perform(DeleteTenant(tenant="one"))
            operations.perform(PurgeTenant(tenant="one"))
    assert store.exists() != purged
    if purged:
        return
    assert store.read_bytes() == kept
    with opened(directory) as operations:
        operations.repairing().carry_out(operations.repairing().plan())
    with opened(directory) as operations:
        assert unsound(operations) == []
        assert operations.perform(CountDocuments(**at("one")._asdict())) == 200


def _is_refused_as_unknown(operations: LocalOperations) -> None:
    """No read passes the tenant off as empty, and no write begins another store."""
    one: dict[str, Any] = at("one")._asdict()
    for request in (
        UpsertDocuments(**one, documents=[document("x")]),
        UpdateDocuments(**one, ids=["x1"], metadata={}),
        DeleteDocuments(**one, ids=["x1"]),
        ClearDocuments(**one),
        GetDocuments(**one, ids=["x1"]),
        ScanDocuments(**one),
        CountDocuments(**one),
        SearchDocuments(**one, vector=[1.0] * 16, top_k=1),
        GetCollectionChanges(**one),
        GetUsage(tenant="one"),
        CopyTenant(tenant="one", slug="copied"),
    ):
        with pytest.raises(Unavailable, match="unknown to the metadata"):
            operations.perform(request)
    with pytest.raises(Unavailable, match="unknown to the metadata"):
        operations.perform(ExportTenant(tenant="one"), sink=io.BytesIO())


def test_row_that_shared_tables_have_and_metadata_lost_is_refused(postgres_url: str) -> None:
    with closing(open_local(postgres_url, Settings())) as operations:
        add_tenant(operations, "one", "c")
        operations.perform(UpsertDocuments(**at("one")._asdict(), documents=documents(2)))
        database: Any = operations._runtime.metadata._database  # type: ignore[attr-defined]
        with database.write() as connection:
            connection.exec_driver_sql("DELETE FROM tenant_stores")
        _is_refused_as_unknown(operations)
        assert "unknown to the metadata" in str(unsound(operations))


@pytest.mark.parametrize("value", ["'zzz'", "'5'", "''", "x'30303037'", "CAST(x'30ff3037' AS TEXT)"])
def test_damaged_schema_version_is_not_taken_for_a_newer_one(value: str, directory: Path) -> None:
    metadata = directory / METADATA_NAME
    sound = metadata.read_bytes()
    with _database(metadata) as connection:
        connection.execute(f"UPDATE alembic_version SET version_num = {value}")
    with pytest.raises(Unavailable, match="schema version of the store is damaged"), opened(directory):
        pass
    with _database(metadata) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0007'")
        connection.execute("INSERT INTO alembic_version VALUES ('0003')")
    with pytest.raises(Unavailable, match="schema version of the store is damaged"), opened(directory):
        pass
    metadata.write_bytes(sound)
    _is_whole(directory)


def test_metadata_with_newer_schema_is_rejected(directory: Path) -> None:
    with _database(directory / METADATA_NAME) as metadata:
        metadata.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Unavailable, match=r"has schema 9999.*use a newer AkiDB"), opened(directory):
        pass
    with _database(directory / METADATA_NAME) as metadata:
        assert metadata.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]


def test_store_with_newer_schema_is_rejected_and_not_modified(directory: Path) -> None:
    store = _store(directory, "one")
    with _database(store) as database:
        database.execute("PRAGMA user_version = 99")
    before = store.read_bytes()
    with opened(directory) as operations:
        with pytest.raises(Unavailable, match=r"has schema 99.*use a newer AkiDB") as raised:
            operations.perform(CountDocuments(**at("one")._asdict()))
        assert store.name in raised.value.message
        assert operations.perform(CountDocuments(**at("two")._asdict())) == 200
        assert all(line.startswith(store.stem) for line in unsound(operations))
    assert store.read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE collections SET document_count = document_count + 1",
        "UPDATE collections SET storage_used_bytes = storage_used_bytes - 1",
        "UPDATE collections SET sequence = 5",
        "UPDATE control SET storage_used_bytes = 0",
        "UPDATE control SET tenant_status = 'suspended'",
        "UPDATE control SET storage_quota_bytes = 7",
        "UPDATE documents SET vector = zeroblob(4) WHERE id = 'x7'",
        "DELETE FROM documents WHERE id = 'x7'",
    ],
)
def test_doctor_detects_wrong_counters(change: str, directory: Path) -> None:
    store = _store(directory, "one")
    with _database(store) as database:
        database.execute(change)
    with opened(directory) as operations:
        found = unsound(operations)
    assert len(found) == 1
    assert found[0].startswith(store.stem)


def test_store_that_cannot_be_retired_is_still_purged(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_store: SqliteTenantStore) -> None:
        raise Unavailable("the file is damaged")

    store = _store(directory, "one")
    with opened(directory) as operations:
        assert operations.perform(CountDocuments(**at("one")._asdict())) == 200
        monkeypatch.setattr(SqliteTenantStore, "retire", fail)
        operations.perform(DeleteTenant(tenant="one"))
        operations.perform(PurgeTenant(tenant="one"))
        assert not list(store.parent.glob(f"{store.name}*"))
        assert unsound(operations) == []
    assert disagreements(directory) == []
