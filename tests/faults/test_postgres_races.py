"""What several processes on one PostgreSQL database do at the same instant, each step where it hurts."""

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
from fault_tools import add_tenant, unsound

from akidb.domain.errors import NotFound
from akidb.domain.ids import CollectionId
from akidb.metadata.collections import SqlCollectionRepository
from akidb.metadata.legacy import SqlLegacyManifests
from akidb.metadata.tenants import SqlTenantCatalog
from akidb.ports.operations import TenantChanges
from akidb.services.migration import _Writing
from akidb.services.runtime import LocalOperations, _Runtime
from akidb.settings import Settings
from akidb.sql.postgresql import PostgresDatabase

SLUG = "shared"
SECONDS = 30


@pytest.fixture
def pair(postgres_url: str) -> Iterator[tuple[LocalOperations, LocalOperations]]:
    """Two that know nothing of each other, as in two processes."""
    one, other = (LocalOperations(_Runtime(postgres_url, Settings())) for _ in range(2))
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


def test_an_interrupt_when_the_lock_is_taken_leaves_it_to_nobody(
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


def test_sweepers_of_mixed_tenants_do_not_stop_each_other(
    pair: tuple[LocalOperations, LocalOperations], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = pair[0]
    names = [f"c{number}" for number in range(60)]
    for slug in ("v1", "v2"):
        add_tenant(one, slug, *names)
    mixed = [(slug, name) for slug in ("v1", "v2") for name in names]
    random.Random(3).shuffle(mixed)
    for slug, name in mixed:
        one.collections.delete(slug, "d", name)
    later = datetime.now(UTC) + timedelta(days=8)
    reports = []
    start = threading.Barrier(2)
    for each in pair:
        monkeypatch.setattr(each._runtime.maintenance, "_now", lambda: later)

    def sweep(operations: LocalOperations) -> None:
        start.wait()
        reports.append(operations.maintain())

    threads = [Background(lambda each=each: sweep(each)) for each in pair]  # type: ignore[misc]
    for thread in threads:
        thread.end()
        assert thread.error is None
    assert [report.problems for report in reports] == [[], []]
    assert sum(report.collections_purged for report in reports) == len(mixed)
    assert unsound(one) == []


def test_a_database_is_purged_whose_collection_a_sweeper_purged_first(
    pair: tuple[LocalOperations, LocalOperations], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = pair[0]
    add_tenant(one, SLUG, "c", "e")
    one.databases.delete(SLUG, "d")
    purge = SqlCollectionRepository.purge
    missed: list[CollectionId] = []

    def late(self: Any, tenant_id: Any, collection_id: Any, now: Any) -> None:
        purge(self, tenant_id, collection_id, now)
        if not missed:
            missed.append(collection_id)
            raise NotFound("collection", collection_id)

    monkeypatch.setattr(SqlCollectionRepository, "purge", late)
    one.databases.purge(SLUG, "d")
    assert missed
    assert one.databases.list(SLUG, deleted=True).items == []


def test_a_migration_that_overwrites_waits_for_an_update(
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
    one.migration.v1_to_v2(tmp_path)
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
    thread = Background(lambda: other.tenants.update(SLUG, TenantChanges(qps_quota=7)))
    assert locked.wait(SECONDS)
    assert one.migration.v1_to_v2(tmp_path, overwrite=True).counts.overwritten == 1
    thread.end()
    assert thread.error is None
    assert attempts == [1]  # it was no deadlock
    assert one.tenants.get(SLUG).name == "Second"
