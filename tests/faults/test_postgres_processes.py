"""Consistency between processes on one PostgreSQL database: quotas, names, states, purges, idempotency."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, NoReturn

import psycopg
import pytest
from fault_tools import DIMENSION, add_tenant, at, document, outcome, size_bytes, unsound
from postgres_workers import (
    Refusal,
    Worker,
    at_once,
    keyed,
    ready,
    workers,
    write_each,
    write_until_refused,
)

from akidb.deployment.local import LocalOperations, open_local
from akidb.domain.entities import Tenant
from akidb.domain.errors import NotFound
from akidb.domain.ids import TenantId
from akidb.operations.audit import ListAuditEntries
from akidb.operations.collections import (
    CreateCollection,
    DeleteCollection,
    ListCollections,
    RestoreCollection,
    UpdateCollection,
)
from akidb.operations.documents import CountDocuments, GetDocuments, SearchDocuments, UpsertDocuments
from akidb.operations.tenants import (
    ActivateTenant,
    CountTenants,
    CreateTenant,
    DeleteTenant,
    GetTenant,
    GetUsage,
    PurgeTenant,
    SuspendTenant,
    UpdateTenant,
)
from akidb.operations.upkeep import MaintainStores
from akidb.settings import Settings

PROCESSES = 4
SLUG = "shared"


@pytest.fixture
def operations(postgres_url: str) -> Iterator[LocalOperations]:
    """This process's own connection."""
    made = open_local(postgres_url, Settings())
    yield made
    made.close()


@pytest.fixture
def others(postgres_url: str, operations: LocalOperations) -> Iterator[list[Worker]]:
    """Four more processes on the same database."""
    with workers(postgres_url, PROCESSES, postgresql_pool_size=4) as made:  # of 100 connections of a server
        yield made


def settled(operations: LocalOperations) -> None:
    """Nothing is left undone or miscounted."""
    assert unsound(operations) == []
    with operations._runtime.metadata.read() as tx:
        assert tx.outbox.depth() == 0


@pytest.mark.parametrize("quota", ["storage_quota_bytes", "max_document_count"])
def test_concurrent_creates_over_quota_stop_at_quota(
    operations: LocalOperations, others: list[Worker], quota: str
) -> None:
    limit = 31
    add_tenant(operations, SLUG, "c")
    if quota == "storage_quota_bytes":
        bytes_of_one = size_bytes(document("0-0"))
        operations.perform(UpdateTenant(tenant=SLUG, storage_quota_bytes=limit * bytes_of_one))
    else:
        operations.perform(
            UpdateCollection(tenant=SLUG, database="d", collection="c", max_document_count=limit)
        )
    for worker in others:
        worker.do(ready)
    for number, worker in enumerate(others):
        worker.begin(write_each, SLUG, [f"{number}-{turn}" for turn in range(8)])
    answers = sum((worker.result() for worker in others), Counter[str]())
    assert answers == {"written": limit, "QuotaExceeded": 1}
    assert operations.perform(CountDocuments(**at(SLUG)._asdict())) == limit
    assert operations.perform(GetUsage(tenant=SLUG)).documents == limit
    settled(operations)


def await_documents(operations: LocalOperations, number: int) -> None:
    """Until others have written so many."""
    until = time.monotonic() + 30
    while operations.perform(CountDocuments(**at(SLUG)._asdict())) < number:
        assert time.monotonic() < until
        time.sleep(0.005)


def suspend(operations: LocalOperations) -> Any:
    return operations.perform(SuspendTenant(tenant=SLUG))


def lower_the_storage(operations: LocalOperations) -> Any:
    return operations.perform(UpdateTenant(tenant=SLUG, storage_quota_bytes=10))


def lower_the_count(operations: LocalOperations) -> Any:
    return operations.perform(
        UpdateCollection(tenant=SLUG, database="d", collection="c", max_document_count=3)
    )


def delete_the_collection(operations: LocalOperations) -> Any:
    operations.perform(DeleteCollection(tenant=SLUG, database="d", collection="c"))


@pytest.mark.parametrize(
    ("stop", "refusal"),
    [
        (suspend, "InvalidState"),
        (lower_the_storage, "QuotaExceeded"),
        (lower_the_count, "QuotaExceeded"),
        (delete_the_collection, "NotFound"),
    ],
)
def test_writes_stop_in_all_processes_after_state_change(
    operations: LocalOperations, others: list[Worker], stop: Any, refusal: str
) -> None:
    add_tenant(operations, SLUG, "c")
    for worker in others:
        worker.do(ready)
    for number, worker in enumerate(others):
        worker.begin(write_until_refused, SLUG, str(number))
    await_documents(operations, 64)
    stop(operations)
    acknowledged = time.time()
    used = operations.perform(GetUsage(tenant=SLUG)).storage_bytes.used
    found = [worker.result() for worker in others]
    answers = sum((counted for counted, _ in found), Counter[str]())
    assert set(answers) == {"written", refusal}
    assert max(last for _, last in found) <= acknowledged
    assert operations.perform(GetUsage(tenant=SLUG)).storage_bytes.used == used
    if stop is suspend:
        operations.perform(ActivateTenant(tenant=SLUG))
    if stop is delete_the_collection:
        operations.perform(RestoreCollection(tenant=SLUG, database="d", collection="c"))
    assert operations.perform(CountDocuments(**at(SLUG)._asdict())) == answers["written"]
    settled(operations)


def create(operations: LocalOperations, name: str, **fields: Any) -> Tenant:
    return operations.perform(CreateTenant(name=name, **fields))


def test_only_one_of_two_processes_creates_same_slug(
    operations: LocalOperations, others: list[Worker]
) -> None:
    for turn in range(10):
        answers = at_once(others, create, f"Name {turn}")
        lost = [answer for answer in answers if isinstance(answer, Refusal)]
        assert len(lost) == PROCESSES - 1
        for each in lost:
            assert each.name == "AlreadyExists"
            assert each.fields == {"entity": "tenant", "field": "slug", "value": f"name-{turn}"}
    assert operations.perform(CountTenants()) == 10


def upsert_unnamed(operations: LocalOperations) -> Any:
    return operations.perform(
        UpsertDocuments(**at(SLUG)._asdict(), documents=[{**document("x"), "id": None}])
    )


def create_collection(operations: LocalOperations) -> Any:
    return operations.perform(CreateCollection(tenant=SLUG, database="d", name="made", dimension=DIMENSION))


def test_idempotency_key_used_concurrently_in_several_processes_has_one_effect(
    operations: LocalOperations, others: list[Worker]
) -> None:
    add_tenant(operations, SLUG, "c")
    for turn in range(5):
        tenants = at_once(others, keyed, f"tenant {turn}", create, f"Keyed {turn}")
        assert [type(each) for each in tenants] == [Tenant] * PROCESSES
        assert len({each.tenant_id for each in tenants}) == 1
        written = at_once(others, keyed, f"documents {turn}", upsert_unnamed)
        assert len({tuple(each.ids) for each in written}) == 1
    made = at_once(others, keyed, "collection", create_collection)
    assert len({each.collection_id for each in made}) == 1
    assert operations.perform(CountDocuments(**at(SLUG)._asdict())) == 5
    actions = [entry.action for entry in operations.perform(ListAuditEntries(tenant=SLUG)).items]
    assert actions.count("collection.create") == 2
    settled(operations)


def die(*_arguments: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def stop_untold(operations: LocalOperations, stop: Any) -> NoReturn:
    """Die between the commit of the metadata and telling the store."""
    operations._runtime.stores.apply_pending = die  # type: ignore[assignment]
    stop(operations)
    raise AssertionError


@pytest.mark.parametrize(
    ("stop", "refusal"),
    [(suspend, "InvalidState"), (lower_the_storage, "QuotaExceeded"), (delete_the_collection, "NotFound")],
)
def test_pending_change_of_killed_process_is_applied_by_next_process(
    operations: LocalOperations, others: list[Worker], stop: Any, refusal: str
) -> None:
    add_tenant(operations, SLUG, "c")
    assert others[1].do(write_each, SLUG, ["before"]) == {"written": 1}
    others[0].begin(stop_untold, stop)
    with pytest.raises(EOFError):
        others[0].result()
    del others[0]
    with operations._runtime.metadata.read() as tx:
        assert tx.outbox.depth() == 1
    assert others[0].do(write_each, SLUG, ["after"]) == {refusal: 1}
    settled(operations)


def make_half_a_store(operations: LocalOperations) -> NoReturn:
    """Die when the rows of a store are there and the metadata does not know."""
    tenant_id = operations.perform(GetTenant(tenant=SLUG)).tenant_id
    stores = operations._runtime.stores
    create = stores._stores.create

    def create_and_die(*arguments: Any) -> None:
        create(*arguments)
        die()

    stores._stores.create = create_and_die  # type: ignore[assignment]
    with stores.made(tenant_id):
        raise AssertionError


def test_incomplete_store_left_by_killed_process_is_replaced(
    operations: LocalOperations, others: list[Worker]
) -> None:
    add_tenant(operations, SLUG, "c")
    others[0].begin(make_half_a_store)
    with pytest.raises(EOFError):
        others[0].result()
    del others[0]
    assert operations._runtime.tenant_stores.names() == [
        str(operations.perform(GetTenant(tenant=SLUG)).tenant_id)
    ]
    assert others[0].do(write_each, SLUG, ["first"]) == {"written": 1}
    assert operations.perform(CountDocuments(**at(SLUG)._asdict())) == 1
    settled(operations)


def test_concurrent_first_writes_of_several_processes_create_one_store(
    operations: LocalOperations, others: list[Worker]
) -> None:
    for turn in range(5):
        slug = f"fresh-{turn}"
        add_tenant(operations, slug, "c")
        assert sum(at_once(others, write_each, slug, ["same"]), Counter[str]()) == {"written": PROCESSES}
        assert operations.perform(CountDocuments(**at(slug)._asdict())) == 1
    settled(operations)


def test_tenant_purged_during_concurrent_writes_leaves_nothing(
    operations: LocalOperations, others: list[Worker], postgres_url: str
) -> None:
    for worker in others:
        worker.do(ready)
    for turn in range(3):
        add_tenant(operations, SLUG, "c")
        tenant_id = operations.perform(GetTenant(tenant=SLUG)).tenant_id
        for number, worker in enumerate(others):
            worker.begin(write_until_refused, SLUG, str(number))
        await_documents(operations, 64)
        operations.perform(DeleteTenant(tenant=SLUG))
        operations.perform(PurgeTenant(tenant=SLUG))
        answers = sum((worker.result()[0] for worker in others), Counter[str]())
        assert set(answers) == {"written", "NotFound"}, turn
        assert outcome(operations.perform, GetTenant(tenant=SLUG)) == "NotFound"
        assert rows_of(postgres_url, str(tenant_id)) == {}
        assert operations._runtime.tenant_stores.names() == []
    settled(operations)


def test_concurrent_reads_of_tenant_being_purged_are_complete_or_not_found(
    operations: LocalOperations, others: list[Worker]
) -> None:
    for worker in others:
        worker.do(ready)
    answers, rounds = Counter[str](), 0
    while rounds < 3 or set(answers) != {"read", "NotFound"}:
        assert rounds < 30, answers
        rounds += 1
        add_tenant(operations, SLUG, "c")
        operations.perform(UpsertDocuments(**at(SLUG)._asdict(), documents=[document("x")]))
        for worker in others:
            worker.begin(read_for, 0.6)
        time.sleep(0.2)
        operations.perform(DeleteTenant(tenant=SLUG))
        operations.perform(PurgeTenant(tenant=SLUG))
        answers += sum((worker.result() for worker in others), Counter[str]())
        assert set(answers) <= {"read", "NotFound"}


def read_for(operations: LocalOperations, seconds: float) -> Counter[str]:
    """Read all there is to read of a tenant until time is up; counts the answers."""
    answers: Counter[str] = Counter()
    calls: list[Any] = [
        lambda: operations.perform(GetUsage(tenant=SLUG)),
        lambda: operations.perform(GetDocuments(**at(SLUG)._asdict(), ids=["x"])),
        lambda: operations.perform(CountDocuments(**at(SLUG)._asdict())),
        lambda: operations.perform(SearchDocuments(**at(SLUG)._asdict(), vector=document("x")["vector"])),
        lambda: operations.perform(ListCollections(tenant=SLUG, database="d")),
    ]
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for call in calls:
            try:
                call()
                answers["read"] += 1
            except NotFound:
                answers["NotFound"] += 1
    return answers


def search(operations: LocalOperations) -> int:
    return len(
        operations.perform(SearchDocuments(**at(SLUG)._asdict(), vector=document("x")["vector"])).matches
    )


def kept_in_memory(operations: LocalOperations, tenant_id: TenantId) -> int:
    """What the next round of maintenance leaves of a tenant's index."""
    assert operations.perform(MaintainStores()).problems == []
    return operations._runtime.stores._index.memory_bytes(tenant_id)


def test_delete_in_another_process_removes_index_from_memory(
    operations: LocalOperations, others: list[Worker]
) -> None:
    add_tenant(operations, SLUG, "c")
    operations.perform(UpsertDocuments(**at(SLUG)._asdict(), documents=[document("x")]))
    tenant_id = operations.perform(GetTenant(tenant=SLUG)).tenant_id
    assert others[0].do(search) == 1
    assert others[0].do(kept_in_memory, tenant_id) > 0
    operations.perform(DeleteTenant(tenant=SLUG))
    assert others[0].do(kept_in_memory, tenant_id) == 0


def rows_of(url: str, tenant_id: str) -> dict[str, int]:
    """How many rows of any table but the audit's and the memory of what was purged name a tenant."""
    with psycopg.connect(url, autocommit=True) as connection:
        tables = connection.execute(
            "SELECT table_schema || '.' || table_name FROM information_schema.columns"
            " WHERE column_name = 'tenant_id' AND table_schema LIKE 'akidb%'"
            " AND table_name <> 'audit_entries'"
        ).fetchall()
        assert len(tables) > 80
        counts = {
            name: connection.execute(
                f"SELECT count(*) FROM {name} WHERE tenant_id = %s".encode(), (tenant_id,)
            ).fetchall()[0][0]
            for (name,) in tables
        }
    return {name: count for name, count in counts.items() if count}


def create_own(operations: LocalOperations) -> str:
    return operations.perform(CreateTenant(name=f"Process {os.getpid()}")).slug


def test_concurrent_start_on_empty_database_creates_tables_once(
    empty_postgres_url: str,
) -> None:
    with workers(empty_postgres_url, PROCESSES, postgresql_pool_size=4) as those:
        for worker in those:
            worker.begin(create_own)
        slugs = [worker.result() for worker in those]
    assert all(str(slug).startswith("process-") for slug in slugs), slugs
    with psycopg.connect(empty_postgres_url) as connection:
        for schema in ("akidb_metadata", "akidb_documents"):
            rows = connection.execute(f"SELECT version_num FROM {schema}.alembic_version".encode())
            assert len(rows.fetchall()) == 1
        made = connection.execute("SELECT count(*) FROM akidb_metadata.tenants").fetchall()
    assert made == [(PROCESSES,)]
