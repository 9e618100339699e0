"""Race conditions between processes on one PostgreSQL database, with each critical step forced."""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fault_tools import add_tenant, at, document, unsound

from akidb.deployment.composition import Runtime
from akidb.deployment.local import LocalOperations
from akidb.documents.base import SqlTenantStore
from akidb.domain.errors import InvalidState, NotFound, Unavailable
from akidb.metadata.collections import SqlCollectionRepository
from akidb.metadata.legacy import SqlLegacyManifests
from akidb.metadata.tenants import SqlTenantCatalog
from akidb.operations.collections import DeleteCollection
from akidb.operations.databases import DeleteDatabase, ListDatabases, PurgeDatabase, RestoreDatabase
from akidb.operations.documents import CountDocuments, UpsertDocuments
from akidb.operations.migration import MigrateV1ToV2
from akidb.operations.tenants import GetTenant, SuspendTenant, UpdateTenant
from akidb.operations.upkeep import MaintainStores
from akidb.services.migration import _Writing
from akidb.settings import Settings
from akidb.sql.postgresql import PostgresDatabase
from clocks import SetClock

SLUG = "shared"
SECONDS = 30


@pytest.fixture
def pair(postgres_url: str) -> Iterator[tuple[LocalOperations, LocalOperations]]:
    """Two independent instances, as in two processes."""
    one, other = (LocalOperations(Runtime(postgres_url, Settings())) for _ in range(2))
    yield one, other
    one.close()
    other.close()


class Background(threading.Thread):
    """A call in a thread; `error` is what it raised."""

    def __init__(self, call: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.error: BaseException | None = None
        self._call = call
        self.start()

    def run(self) -> None:
        try:
            self._call()
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.error = error

    def end(self) -> None:
        self.join(SECONDS)
        assert not self.is_alive()


def end_lock_holders(url: str) -> None:
    """End the connections that hold an advisory lock, as a failover would."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )


def locks_held(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        ).fetchone()
    assert found is not None
    return int(found[0])


def test_interrupt_while_acquiring_lock_releases_it(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = PostgresDatabase(postgres_url, "akidb_documents")
    execute = psycopg.Connection.execute

    def interrupted(self: Any, query: Any, *more: Any, **options: Any) -> Any:
        found = execute(self, query, *more, **options)
        if query.startswith("SELECT pg_advisory_lock"):
            raise KeyboardInterrupt
        return found

    with monkeypatch.context() as patched:
        patched.setattr(psycopg.Connection, "execute", interrupted)
        with pytest.raises(KeyboardInterrupt), database.locked(7):
            pytest.fail("it was let through")
    until = time.monotonic() + SECONDS
    while locks_held(postgres_url):
        assert time.monotonic() < until
        time.sleep(0.01)
    with pytest.raises(ZeroDivisionError), database.locked(7):
        raise ZeroDivisionError
    assert locks_held(postgres_url) == 0
    assert sum(database.figures()[:2]) == 1  # what the block raises costs no connection
    database.close()


def test_concurrent_sweepers_of_mixed_tenants_do_not_fail(
    pair: tuple[LocalOperations, LocalOperations], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = pair[0]
    names = [f"c{number}" for number in range(60)]
    for slug in ("v1", "v2"):
        add_tenant(one, slug, *names)
    mixed = [(slug, name) for slug in ("v1", "v2") for name in names]
    random.Random(3).shuffle(mixed)
    for slug, name in mixed:
        one.perform(DeleteCollection(tenant=slug, database="d", collection=name))
    later = datetime.now(UTC) + timedelta(days=8)
    reports = []
    start = threading.Barrier(2)
    for each in pair:
        monkeypatch.setattr(each._runtime.maintenance, "_clock", SetClock(later))

    def sweep(operations: LocalOperations) -> None:
        start.wait()
        reports.append(operations.perform(MaintainStores()))

    threads = [Background(lambda each=each: sweep(each)) for each in pair]  # type: ignore[misc]
    for thread in threads:
        thread.end()
        assert thread.error is None
    assert [report.problems for report in reports] == [[], []]
    assert sum(report.collections_purged for report in reports) == len(mixed)
    assert unsound(one) == []


def test_database_purge_succeeds_when_sweeper_purged_its_collection_first(
    pair: tuple[LocalOperations, LocalOperations], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = pair[0]
    add_tenant(one, SLUG, "c", "e")
    one.perform(DeleteDatabase(tenant=SLUG, database="d"))
    purge = SqlCollectionRepository.purge
    missed: list[object] = []

    def late(self: Any, tenant_id: Any, collection_id: Any, now: Any) -> None:
        purge(self, tenant_id, collection_id, now)
        if not missed:
            missed.append(collection_id)
            raise NotFound("collection", collection_id)

    monkeypatch.setattr(SqlCollectionRepository, "purge", late)
    one.perform(PurgeDatabase(tenant=SLUG, database="d"))
    assert missed
    assert one.perform(ListDatabases(tenant=SLUG, deleted=True)).items == []


def test_overwriting_migration_waits_for_concurrent_update(
    pair: tuple[LocalOperations, LocalOperations], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair
    manifest = {
        "tenant_id": "018f3c2e7b6a7c3d8e9f0a1b2c3d4e5f",
        "name": "First",
        "slug": SLUG,
        "created_at": "2025-03-01T10:00:00Z",
        "updated_at": "2025-03-01T10:00:00Z",
    }
    file = tmp_path / "a.json"
    file.write_text(json.dumps(manifest))
    one.perform(MigrateV1ToV2(v1_data_dir=tmp_path))
    file.write_text(json.dumps({**manifest, "name": "Second"}))
    locked, asked = threading.Event(), threading.Event()
    update, hold, write = SqlTenantCatalog.update, SqlLegacyManifests.hold, _Writing.write
    attempts = []

    def updating(self: Any, tenant: Any) -> None:
        locked.set()  # the row is, by its reading
        assert asked.wait(SECONDS)
        time.sleep(0.2)
        update(self, tenant)

    def holding(self: Any) -> None:
        asked.set()
        hold(self)

    def writing(self: Any, *arguments: Any) -> Any:
        attempts.append(1)
        return write(self, *arguments)

    monkeypatch.setattr(SqlTenantCatalog, "update", updating)
    monkeypatch.setattr(SqlLegacyManifests, "hold", holding)
    monkeypatch.setattr(_Writing, "write", writing)
    thread = Background(lambda: other.perform(UpdateTenant(tenant=SLUG, qps_quota=7)))
    assert locked.wait(SECONDS)
    assert one.perform(MigrateV1ToV2(v1_data_dir=tmp_path, overwrite=True)).counts.overwritten == 1
    thread.end()
    assert thread.error is None
    assert attempts == [1]  # it was no deadlock
    assert one.perform(GetTenant(tenant=SLUG)).name == "Second"


def pause_in_thread(monkeypatch: pytest.MonkeyPatch, name: str) -> tuple[threading.Event, threading.Event]:
    """Have a method of a tenant's store wait when a thread in the background calls it: reached, and go on."""
    real = getattr(SqlTenantStore, name)
    reached, go_on = threading.Event(), threading.Event()

    def paused(self: Any, *arguments: Any) -> Any:
        if isinstance(threading.current_thread(), Background):
            reached.set()
            assert go_on.wait(SECONDS)
        return real(self, *arguments)

    monkeypatch.setattr(SqlTenantStore, name, paused)
    return reached, go_on


def update_tenant(operations: LocalOperations) -> None:
    operations.perform(UpdateTenant(tenant=SLUG, qps_quota=500))


def suspend_tenant(operations: LocalOperations) -> None:
    operations.perform(SuspendTenant(tenant=SLUG))


def restore_database(operations: LocalOperations) -> None:
    operations.perform(RestoreDatabase(tenant=SLUG, database="d"))


def delete_database(operations: LocalOperations) -> None:
    operations.perform(DeleteDatabase(tenant=SLUG, database="d"))


@pytest.mark.parametrize(
    ("first", "second", "refusal"),
    [
        (update_tenant, suspend_tenant, InvalidState),
        # Of one version of the collection, which says nothing of its database.
        (restore_database, delete_database, NotFound),
    ],
)
def test_process_that_lost_lock_does_not_apply_stale_state_to_store(
    pair: tuple[LocalOperations, LocalOperations],
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    first: Callable[[LocalOperations], None],
    second: Callable[[LocalOperations], None],
    refusal: type[Exception],
) -> None:
    one, other = pair
    add_tenant(one, SLUG, "c")
    one.perform(UpsertDocuments(**at(SLUG)._asdict(), documents=[document("x")]))
    if first is restore_database:
        delete_database(one)
    reached, go_on = pause_in_thread(monkeypatch, "apply")
    thread = Background(lambda: first(one))
    assert reached.wait(SECONDS)
    end_lock_holders(postgres_url)
    second(other)
    go_on.set()
    thread.end()
    assert isinstance(thread.error, Unavailable)
    for each in pair:
        with pytest.raises(refusal):
            each.perform(UpsertDocuments(**at(SLUG)._asdict(), documents=[document("y")]))
    assert unsound(other) == []


@pytest.mark.parametrize("first_registers", [True, False])
def test_concurrent_store_creation_after_lost_lock_leaves_one_store(
    pair: tuple[LocalOperations, LocalOperations], postgres_url: str, first_registers: bool
) -> None:
    one, other = pair
    add_tenant(one, SLUG, "c")
    stores: Any = one._runtime.tenant_stores
    others: Any = other._runtime.tenant_stores
    create, create_other = stores.create, others.create
    made, go_on = threading.Event(), threading.Event()

    def making(*arguments: Any) -> None:
        create(*arguments)
        made.set()
        assert go_on.wait(SECONDS)

    def making_other(*arguments: Any) -> None:
        create_other(*arguments)
        if first_registers:
            go_on.set()
            thread.end()

    stores.create, others.create = making, making_other
    thread = Background(lambda: one.perform(UpsertDocuments(**at(SLUG)._asdict(), documents=[document("x")])))
    assert made.wait(SECONDS)
    end_lock_holders(postgres_url)
    other.perform(UpsertDocuments(**at(SLUG)._asdict(), documents=[document("y")]))
    go_on.set()
    thread.end()
    assert isinstance(thread.error, Unavailable | None)
    stores.create, others.create = create, create_other
    for each, id in zip(pair, "xz", strict=True):
        each.perform(UpsertDocuments(**at(SLUG)._asdict(), documents=[document(id)]))
        assert each.perform(CountDocuments(**at(SLUG)._asdict())) >= 2
    assert one.perform(CountDocuments(**at(SLUG)._asdict())) == 3
    assert unsound(one) == []


def test_process_that_lost_lock_does_not_remove_store(
    pair: tuple[LocalOperations, LocalOperations], postgres_url: str
) -> None:
    one, other = pair
    add_tenant(one, SLUG, "c")
    tenant_id = one.perform(GetTenant(tenant=SLUG)).tenant_id
    stores = one._runtime.tenant_stores

    def remove_late() -> None:
        with stores.exclusive(tenant_id):
            end_lock_holders(postgres_url)
            other.perform(UpsertDocuments(**at(SLUG)._asdict(), documents=[document("x")]))
            with pytest.raises(Unavailable, match="held the tenant's lock"):
                stores.remove(tenant_id)

    with pytest.raises(Unavailable):  # the lock is not there to be given back
        remove_late()
    assert other.perform(CountDocuments(**at(SLUG)._asdict())) == 1
    assert unsound(other) == []
