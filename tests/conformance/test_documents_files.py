"""Tenant stores as files: invalid files are refused, and the number of open stores is bounded."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from samples import Clock, RawSql, Shelf, document, make_ids

from akidb.documents import schema
from akidb.documents.sqlite_pool import SqliteTenantStores
from akidb.domain.errors import AkiDBError, NotFound, Unavailable
from akidb.domain.ids import StoreId
from akidb.metadata import schema as metadata_schema
from akidb.ports.stores import TenantStore
from akidb.sql.sqlite import SqliteFile


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[SqliteTenantStores]:
    made = SqliteTenantStores(tmp_path, max_open=8)
    yield made
    made.close()


@pytest.fixture
def path(tmp_path: Path, shelf: Shelf) -> Path:
    return tmp_path / f"{shelf.tenant.tenant_id}.db"


@pytest.fixture
def fresh(tmp_path: Path, stores: SqliteTenantStores) -> Iterator[SqliteTenantStores]:
    """The same directory after all stores were closed, as another process would open it."""
    stores.close()
    made = SqliteTenantStores(tmp_path, max_open=8)
    yield made
    made.close()


def fill(shelf: Shelf) -> None:
    shelf.upsert(*(document(f"d{number}", "x" * 200) for number in range(500)))


def refused(stores: SqliteTenantStores, shelf: Shelf, message: str, store_id: StoreId | None = None) -> None:
    opening = stores.open(shelf.tenant.tenant_id, store_id or shelf.store_id, lambda _store: None)
    with pytest.raises(Unavailable, match=message), opening:
        pytest.fail("it was opened")


def execute(path: Path, *statements: str) -> None:
    file = SqliteFile(path)
    for statement in statements:
        RawSql(file)(statement)
    file.close()


def test_documents_persist_across_reopen(shelf: Shelf, stores: SqliteTenantStores, tmp_path: Path) -> None:
    shelf.upsert(document("a", "x"))
    stores.close()
    assert [each.name for each in tmp_path.iterdir()] == [f"{shelf.tenant.tenant_id}.db"]
    shelf.stores = SqliteTenantStores(tmp_path, max_open=8)
    assert [each.text for each in shelf.get("a")] == ["x"]
    shelf.stores.close()


def test_store_files_are_readable_by_owner_only(shelf: Shelf, path: Path) -> None:
    shelf.upsert(document("a"))
    assert {each.stat().st_mode & 0o777 for each in path.parent.iterdir()} == {0o600}


def test_missing_file_is_refused(shelf: Shelf, fresh: SqliteTenantStores, path: Path) -> None:
    path.unlink()
    refused(fresh, shelf, f"{path.name}: the tenant's store is missing")
    assert not path.exists()


def test_different_store_id_is_refused(shelf: Shelf, fresh: SqliteTenantStores) -> None:
    refused(fresh, shelf, "is not the store named in the metadata", StoreId(bytes(16)))


def test_store_of_another_tenant_is_refused(
    shelf: Shelf, stores: SqliteTenantStores, path: Path, tmp_path: Path
) -> None:
    other = Shelf(stores, Clock(), shelf.ids)
    stores.close()
    shutil.copy(tmp_path / f"{other.tenant.tenant_id}.db", path)
    refused(SqliteTenantStores(tmp_path, max_open=8), shelf, "is not the store named in the metadata")


def test_newer_schema_is_refused_and_file_unchanged(
    shelf: Shelf, fresh: SqliteTenantStores, path: Path
) -> None:
    execute(path, f"PRAGMA user_version = {len(schema.STEPS) + 1}")
    before = path.read_bytes()
    refused(fresh, shelf, f"has schema {len(schema.STEPS) + 1}.*use a newer AkiDB")
    assert path.read_bytes() == before


def test_older_schema_is_migrated(
    shelf: Shelf, fresh: SqliteTenantStores, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = ("CREATE TABLE later (number INTEGER) STRICT", "INSERT INTO later VALUES (7)")
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, schema.Step(metadata_schema.HEAD, step)))
    with fresh.open(shelf.tenant.tenant_id, shelf.store_id, lambda _store: None) as store:
        assert store.check() == []
    fresh.close()
    file = SqliteFile(path)
    assert RawSql(file)("SELECT number FROM later") == [(7,)]
    assert RawSql(file)("PRAGMA user_version") == [(len(schema.STEPS),)]
    file.close()


def test_failed_migration_step_changes_nothing(
    shelf: Shelf, fresh: SqliteTenantStores, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()
    step = ("CREATE TABLE later (number INTEGER) STRICT", "INSERT INTO absent VALUES (7)")
    with monkeypatch.context() as patched:
        patched.setattr(schema, "STEPS", (*schema.STEPS, schema.Step(metadata_schema.HEAD, step)))
        refused(fresh, shelf, "no such table: absent")
    assert path.read_bytes() == before
    with fresh.open(shelf.tenant.tenant_id, shelf.store_id, lambda _store: None) as store:
        assert store.check() == []


@pytest.mark.parametrize("left", [0, 1, 100, 4096, 0.5])
def test_truncated_file_is_refused_or_reported_by_check(
    shelf: Shelf, stores: SqliteTenantStores, path: Path, tmp_path: Path, left: float
) -> None:
    fill(shelf)
    stores.close()
    content = path.read_bytes()
    path.write_bytes(content[: int(left * len(content)) if left == 0.5 else int(left)])
    found: list[str] = []
    again = SqliteTenantStores(tmp_path, max_open=8)
    try:
        with again.open(shelf.tenant.tenant_id, shelf.store_id, lambda _store: None) as store:
            found = store.check()
    except Unavailable as error:
        found = [error.message]
    again.close()
    assert found


def test_garbage_page_is_reported_by_check(
    shelf: Shelf, stores: SqliteTenantStores, path: Path, tmp_path: Path
) -> None:
    fill(shelf)
    stores.close()
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 4096] = b"\xa5" * 4096
    path.write_bytes(content)
    again = SqliteTenantStores(tmp_path, max_open=8)
    with again.open(shelf.tenant.tenant_id, shelf.store_id, lambda _store: None) as store:
        assert store.check()
    again.close()


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE control SET storage_used_bytes = storage_used_bytes + 1", "the store holds"),
        ("UPDATE collections SET document_count = document_count + 1", "documents, counted as"),
        ("UPDATE collections SET storage_used_bytes = 7", "bytes, counted as 7"),
        ("UPDATE collections SET sequence = 1", "has sequence 500, counted as 1"),
        ("UPDATE documents SET vector = zeroblob(60) WHERE id = 'd3'", "1 vectors have the wrong dimension"),
        ("DELETE FROM documents WHERE id = 'd3'", "499 documents, counted as 500"),
    ],
)
def test_check_reports_wrong_counters(shelf: Shelf, path: Path, statement: str, found: str) -> None:
    fill(shelf)
    assert shelf.check() == []
    execute(path, statement)
    reported = shelf.check()
    assert any(found in each for each in reported), reported


def test_store_is_prepared_once_until_marked_stale(shelf: Shelf, fresh: SqliteTenantStores) -> None:
    prepared: list[TenantStore] = []

    def use() -> None:
        with fresh.open(shelf.tenant.tenant_id, shelf.store_id, prepared.append):
            pass

    use()
    use()
    assert len(prepared) == 1
    fresh.mark_stale(shelf.tenant.tenant_id)
    use()
    use()
    assert len(prepared) == 2


def test_store_marked_stale_during_prepare_is_prepared_again(shelf: Shelf, fresh: SqliteTenantStores) -> None:
    calls: list[int] = []

    def prepare(_store: TenantStore) -> None:
        calls.append(1)
        if len(calls) == 1:
            fresh.mark_stale(shelf.tenant.tenant_id)

    for _ in range(3):
        with fresh.open(shelf.tenant.tenant_id, shelf.store_id, prepare):
            pass
    assert len(calls) == 2


def test_failed_prepare_blocks_open_and_is_retried(shelf: Shelf, fresh: SqliteTenantStores) -> None:
    def fail(_store: TenantStore) -> None:
        raise Unavailable("not now")

    opening = fresh.open(shelf.tenant.tenant_id, shelf.store_id, fail)
    with pytest.raises(Unavailable, match="not now"), opening:
        pytest.fail("it was opened")
    prepared: list[TenantStore] = []
    with fresh.open(shelf.tenant.tenant_id, shelf.store_id, prepared.append):
        assert len(prepared) == 1


def test_open_stores_are_bounded_and_none_is_closed_while_in_use(tmp_path: Path) -> None:
    """50 tenants on 8 places, 16 threads, each thread going through them in an order of its own."""
    stores = SqliteTenantStores(tmp_path, max_open=8, synchronous="normal")
    ids = make_ids()
    shelves = [Shelf(stores, Clock(), ids) for _ in range(50)]
    assert stores.open_count() <= 8
    failures: list[BaseException] = []
    most = 0

    def work(number: int) -> None:
        nonlocal most
        try:
            for round in range(25):
                shelf = shelves[(number * 7 + round * (number + 1)) % 50]
                shelf.upsert(document(f"{number}-{round}"))
                assert len(shelf.get(f"{number}-{round}")) == 1
                most = max(most, stores.open_count())
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert most <= 8 + 16  # those in use are never closed
    assert sum(shelf.usage()[1] for shelf in shelves) == 16 * 25
    assert stores.open_count() <= 8
    stores.close()
    assert stores.open_count() == 0


def test_stores_in_use_may_exceed_max_open(tmp_path: Path) -> None:
    stores = SqliteTenantStores(tmp_path, max_open=2)
    ids = make_ids()
    shelves = [Shelf(stores, Clock(), ids) for _ in range(4)]
    with ExitStack() as all_open:
        for shelf in shelves:
            all_open.enter_context(shelf.open())
        for shelf in shelves:
            shelf.upsert(document("a"))
        assert stores.open_count() == 4
    shelves[0].get("a")
    assert stores.open_count() <= 2
    stores.close()


def test_removed_store_rejects_writes(shelf: Shelf, stores: SqliteTenantStores, tmp_path: Path) -> None:
    shelf.upsert(document("a"))
    acknowledged: list[str] = []
    refusals: list[AkiDBError] = []

    def write(number: int) -> None:
        with shelf.open() as store:
            for round in range(10_000):
                try:
                    with store.transaction(shelf.collection.collection_id):
                        acknowledged.append(f"{number}-{round}")
                except (NotFound, Unavailable) as error:
                    refusals.append(error)
                    return

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while len(acknowledged) < 50:
        threads[0].join(0.001)
    stores.remove(shelf.tenant.tenant_id)
    count = len(acknowledged)
    assert list(tmp_path.iterdir()) == []
    for thread in threads:
        thread.join()
    assert len(acknowledged) == count
    assert len(refusals) == 4
    stores.remove(shelf.tenant.tenant_id)  # again is harmless


def test_open_waits_while_store_is_held_exclusively(shelf: Shelf, stores: SqliteTenantStores) -> None:
    opened = threading.Event()
    stores.mark_stale(shelf.tenant.tenant_id)

    def use() -> None:
        with shelf.open():
            opened.set()

    thread = threading.Thread(target=use)
    with stores.exclusive(shelf.tenant.tenant_id):
        thread.start()
        assert not opened.wait(0.1)
    thread.join()
    assert opened.is_set()


def test_leftover_of_crashed_store_creation_is_replaced(
    shelf: Shelf, stores: SqliteTenantStores, path: Path
) -> None:
    for leftover in (b"", None):
        stores.remove(shelf.tenant.tenant_id)
        if leftover is None:
            stores.create(shelf.tenant.tenant_id, StoreId(bytes(16)))  # never told of its tenant
        else:
            path.write_bytes(leftover)
        stores.create(shelf.tenant.tenant_id, shelf.store_id)
        shelf.apply()
        shelf.upsert(document("a"))
        assert shelf.all_ids() == ["a"]


def test_used_store_is_never_replaced(shelf: Shelf, fresh: SqliteTenantStores, path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(Unavailable, match="the store is unknown to the metadata"):
        fresh.create(shelf.tenant.tenant_id, StoreId(bytes(16)))
    assert path.read_bytes() == before
    assert not fresh.remove_unused(shelf.tenant.tenant_id)
    assert path.read_bytes() == before


def test_remove_unused_removes_only_unused_store(
    shelf: Shelf, stores: SqliteTenantStores, path: Path
) -> None:
    assert not stores.remove_unused(shelf.tenant.tenant_id)  # open, hence in use
    stores.remove(shelf.tenant.tenant_id)
    assert stores.remove_unused(shelf.tenant.tenant_id)
    stores.create(shelf.tenant.tenant_id, shelf.store_id)
    assert stores.remove_unused(shelf.tenant.tenant_id)
    assert not path.exists()


def test_journal_of_unfinished_store_is_removed(shelf: Shelf, stores: SqliteTenantStores, path: Path) -> None:
    stores.remove(shelf.tenant.tenant_id)
    journal = path.with_name(f"{path.name}-journal")
    for leftover in (path, journal):
        leftover.write_bytes(b"")
    assert stores.remove_unused(shelf.tenant.tenant_id)
    assert not path.exists()
    assert not journal.exists()


def test_damaged_store_can_still_be_removed(shelf: Shelf, stores: SqliteTenantStores, path: Path) -> None:
    with shelf.open() as store:
        execute(path, "DROP TABLE control")
        stores.remove(shelf.tenant.tenant_id)
        assert not path.exists()
        with pytest.raises(Unavailable):
            store.usage()
