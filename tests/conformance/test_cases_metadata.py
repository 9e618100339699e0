"""Metadata edge cases on both databases, tested through the services."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest
from samples import Library, RawSql
from sqlalchemy.exc import IntegrityError

from akidb.deployment.local import LocalOperations, open_local
from akidb.domain.entities import User
from akidb.domain.errors import AlreadyExists, NotFound, QuotaExceeded, RateLimited
from akidb.domain.fields import CollectionPath
from akidb.domain.ids import AuditEntryId, UserId
from akidb.metadata.store import METADATA_SCHEMA
from akidb.operations.archives import CopyTenant
from akidb.operations.audit import ListAuditEntries
from akidb.operations.collections import (
    CountCollections,
    CreateCollection,
    DeleteCollection,
    GetCollection,
    PurgeCollection,
    UpdateCollection,
)
from akidb.operations.databases import (
    CountDatabases,
    CreateDatabase,
    DeleteDatabase,
    GetDatabase,
    PurgeDatabase,
    UpdateDatabase,
)
from akidb.operations.documents import (
    CountDocuments,
    DeleteDocuments,
    ScanDocuments,
    SearchDocuments,
    UpsertDocuments,
)
from akidb.operations.tenants import (
    ActivateTenant,
    CountTenants,
    CreateTenant,
    DeleteTenant,
    GetTenant,
    GetUsage,
    ListTenants,
    PurgeTenant,
    RestoreTenant,
    SuspendTenant,
    UpdateTenant,
)
from akidb.operations.upkeep import CheckStores, MaintainStores
from akidb.ports.metadata import MetadataStore
from akidb.settings import Settings
from clocks import SetClock

if TYPE_CHECKING:
    from akidb.operations.declare import Request

DIMENSION = 16
NOTES = CollectionPath("aki-labs", "kb", "notes")


def settings(folder: Path) -> Settings:
    return Settings(models_dir=str(folder), default_model="hash")


@pytest.fixture(params=["sqlite", "postgresql"])
def ops(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalOperations]:
    target = tmp_path / "data" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    made = open_local(target, settings(tmp_path))
    yield made
    made.close()


def fill(ops: LocalOperations, **fields: Any) -> None:
    ops.perform(CreateTenant(name="Aki Labs", **fields))
    ops.perform(CreateDatabase(tenant="aki-labs", name="kb"))
    ops.perform(CreateCollection(tenant="aki-labs", database="kb", name="notes", dimension=DIMENSION))


def vectors(seed: int, number: int) -> Any:
    return np.random.default_rng(seed).standard_normal((number, DIMENSION)).astype(np.float32)


def documents(*ids: str, seed: int = 0) -> list[dict[str, Any]]:
    made = vectors(seed, len(ids))
    return [{"id": id, "vector": vector} for id, vector in zip(ids, made, strict=True)]


def test_both_databases_report_same_field_for_two_conflicts(ops: LocalOperations) -> None:
    ops.perform(CreateTenant(name="First", slug="first", external_id="crm-1"))
    second = ops.perform(CreateTenant(name="Second", slug="second", external_id="crm-2"))
    with pytest.raises(AlreadyExists) as caught:
        ops.perform(CreateTenant(name="Third", slug="first", external_id="crm-1"))
    assert caught.value.fields == {"entity": "tenant", "field": "external_id", "value": "crm-1"}
    with pytest.raises(AlreadyExists) as caught:
        ops.perform(UpdateTenant(tenant="second", slug="first", external_id="crm-1"))
    assert caught.value.fields == {"entity": "tenant", "field": "external_id", "value": "crm-1"}
    with pytest.raises(AlreadyExists) as caught:
        ops.perform(UpdateTenant(tenant="second", slug="first", external_id="crm-2"))
    assert caught.value.fields == {"entity": "tenant", "field": "slug", "value": "first"}
    assert ops.perform(GetTenant(tenant="second")) == second


def test_zero_quota_means_zero_not_unlimited(ops: LocalOperations) -> None:
    fill(ops, storage_quota_bytes=0)
    with pytest.raises(QuotaExceeded) as caught:
        ops.perform(UpsertDocuments(**NOTES._asdict(), documents=documents("a")))
    assert caught.value.fields["limit"] == 0
    ops.perform(UpdateTenant(tenant="aki-labs", storage_quota_bytes=10_000))
    ops.perform(UpdateCollection(**NOTES._asdict(), max_document_count=0))
    with pytest.raises(QuotaExceeded) as caught:
        ops.perform(UpsertDocuments(**NOTES._asdict(), documents=documents("a")))
    assert caught.value.fields == {"quota": "max_document_count", "limit": 0, "used": 0, "requested": 1}
    ops.perform(UpdateTenant(tenant="aki-labs", qps_quota=0))
    with pytest.raises(RateLimited):
        ops.perform(CountDocuments(**NOTES._asdict()))


def test_failed_create_releases_its_quota(ops: LocalOperations) -> None:
    """The storage is taken first, then the count refuses: nothing stays taken."""
    fill(ops)
    ops.perform(UpsertDocuments(**NOTES._asdict(), documents=documents("a")))
    used = ops.perform(GetUsage(tenant="aki-labs")).storage_bytes.used
    ops.perform(UpdateTenant(tenant="aki-labs", storage_quota_bytes=3 * used))
    ops.perform(UpdateCollection(**NOTES._asdict(), max_document_count=2))
    for _ in range(3):
        with pytest.raises(QuotaExceeded) as caught:
            ops.perform(UpsertDocuments(**NOTES._asdict(), documents=documents("b", "c")))
        assert caught.value.fields["quota"] == "max_document_count"
    usage = ops.perform(GetUsage(tenant="aki-labs"))
    assert (usage.storage_bytes.used, usage.documents) == (used, 1)
    ops.perform(UpdateCollection(**NOTES._asdict(), max_document_count=3))
    ops.perform(UpsertDocuments(**NOTES._asdict(), documents=documents("b", "c")))  # to the last byte
    assert ops.perform(GetUsage(tenant="aki-labs")).storage_bytes.used == 3 * used
    with pytest.raises(AlreadyExists):
        ops.perform(CreateCollection(tenant="aki-labs", database="kb", name="notes", dimension=DIMENSION))
    assert (
        ops.perform(GetUsage(tenant="aki-labs")).collections
        == ops.perform(CountCollections(tenant="aki-labs", database="kb"))
        == 1
    )


def test_deleted_entities_are_not_counted(ops: LocalOperations) -> None:
    fill(ops)
    ops.perform(UpsertDocuments(**NOTES._asdict(), documents=documents("a", "b")))
    assert ops.perform(DeleteDocuments(**NOTES._asdict(), ids=["a", "b"])) == 2
    usage = ops.perform(GetUsage(tenant="aki-labs"))
    assert (ops.perform(CountDocuments(**NOTES._asdict())), usage.documents, usage.storage_bytes.used) == (
        0,
        0,
        0,
    )
    ops.perform(UpsertDocuments(**NOTES._asdict(), documents=documents("a")))
    ops.perform(DeleteCollection(**NOTES._asdict()))
    assert ops.perform(CountCollections(tenant="aki-labs", database="kb")) == 0
    assert ops.perform(GetUsage(tenant="aki-labs")).documents == 0
    ops.perform(DeleteDatabase(tenant="aki-labs", database="kb"))
    usage = ops.perform(GetUsage(tenant="aki-labs"))
    assert (usage.databases, usage.collections, usage.documents) == (0, 0, 0)
    assert ops.perform(CountDatabases(tenant="aki-labs")) == 0
    ops.perform(PurgeDatabase(tenant="aki-labs", database="kb"))
    assert ops.perform(GetUsage(tenant="aki-labs")).storage_bytes.used == 0
    ops.perform(DeleteTenant(tenant="aki-labs"))
    assert ops.perform(CountTenants()) == 0
    assert all(finding.ok for finding in ops.perform(CheckStores()).items)


def test_update_of_deleted_or_purged_entity_is_not_found(ops: LocalOperations) -> None:
    """Deleted or purged, by name or by ID, with the version that was read or without."""
    fill(ops)
    tenant = ops.perform(GetTenant(tenant="aki-labs"))
    database = ops.perform(GetDatabase(tenant="aki-labs", database="kb"))
    collection = ops.perform(GetCollection(**NOTES._asdict()))

    in_tenant: dict[str, Any] = {"tenant": "aki-labs"}
    in_database = {**in_tenant, "database": "kb"}
    at = {**in_database, "collection": "notes"}
    steps: list[tuple[tuple[Request[Any], Request[Any]], Callable[[Any], Request[Any]], tuple[Any, Any]]] = [
        (
            (DeleteCollection(**at), PurgeCollection(**at)),
            lambda it: UpdateCollection(**in_database, collection=it, hnsw_m=4, if_version=1),
            ("notes", collection.collection_id),
        ),
        (
            (DeleteDatabase(**in_database), PurgeDatabase(**in_database)),
            lambda it: UpdateDatabase(**in_tenant, database=it, description="x", if_version=1),
            ("kb", database.database_id),
        ),
        (
            (DeleteTenant(**in_tenant), PurgeTenant(**in_tenant)),
            lambda it: UpdateTenant(tenant=it, name="x", if_version=1),
            ("aki-labs", tenant.tenant_id),
        ),
    ]
    for removals, update, references in steps:
        for removal in removals:
            ops.perform(removal)
            for reference in references:
                with pytest.raises(NotFound) as caught:
                    ops.perform(update(reference))
                assert caught.value.fields["id"] == str(reference)


def test_entity_times_do_not_go_backwards_when_clock_does(
    ops: LocalOperations, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Times of one thing never run backwards; a list by creation goes by the clock, then by ID."""
    now = datetime(2026, 1, 31, 12, tzinfo=UTC)
    target = ops._runtime.target
    ops.close()
    clock = SetClock(now)
    clock.install(monkeypatch)
    ops = open_local(target, settings(tmp_path))
    try:
        first = ops.perform(CreateTenant(name="First"))
        clock.time -= timedelta(hours=1)
        second, third = ops.perform(CreateTenant(name="Second")), ops.perform(CreateTenant(name="Third"))
        assert second.created_at == third.created_at < first.created_at
        assert second.tenant_id < third.tenant_id
        assert [tenant.slug for tenant in ops.perform(ListTenants()).items] == ["second", "third", "first"]
        changed = ops.perform(UpdateTenant(tenant="first", name="Other"))
        assert (changed.version, changed.updated_at) == (2, first.updated_at)
        ops.perform(DeleteTenant(tenant="first"))
        restored = ops.perform(RestoreTenant(tenant="first"))
        assert (restored.version, restored.updated_at) == (4, first.updated_at)
        assert ops.perform(GetTenant(tenant="first")) == restored
    finally:
        ops.close()


def test_search_in_copy_with_overlapping_sequences_matches_brute_force(
    ops: LocalOperations,
) -> None:
    fill(ops)
    ops.perform(
        UpsertDocuments(
            **NOTES._asdict(), documents=documents(*(f"n{number}" for number in range(60)), seed=1)
        )
    )
    question = vectors(2, 1)[0]
    made = ops.perform(SearchDocuments(**NOTES._asdict(), vector=question))  # the index of the original
    assert made.matches
    ops.perform(CopyTenant(tenant="aki-labs", slug="branch"))
    paths = (NOTES, NOTES._replace(tenant="branch"))
    held = {path: dict(enumerate(vectors(1, 60))) for path in paths}
    for turn in range(3):
        for at, path in enumerate(paths):
            new = vectors(10 * turn + at + 3, 20)
            ids = [f"n{number}" for number in range(20 * turn, 20 * turn + 20)]
            ops.perform(
                UpsertDocuments(
                    **path._asdict(),
                    documents=[{"id": id, "vector": vector} for id, vector in zip(ids, new, strict=True)],
                )
            )
            held[path] |= dict(enumerate(new, 20 * turn))
        for path in paths:
            found = [
                match.id
                for match in ops.perform(SearchDocuments(**path._asdict(), vector=question, top_k=60)).matches
            ]
            scores = {
                f"n{number}": float(vector @ question / np.linalg.norm(vector))
                for number, vector in held[path].items()
            }
            assert found == sorted(scores, key=lambda each: -scores[each])


def test_restoring_older_metadata_only_deletes_no_documents(postgres_url: str, tmp_path: Path) -> None:
    """On PostgreSQL the two kinds of store are two schemas; on SQLite files, as another suite has it."""
    ops = open_local(postgres_url, settings(tmp_path))
    fill(ops)
    ops.perform(UpsertDocuments(**NOTES._asdict(), documents=documents("a", "b")))
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        tables = [
            name
            for (name,) in connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = %s", (METADATA_SCHEMA,)
            )
        ]
        connection.execute("CREATE SCHEMA yesterday")
        for name in tables:
            connection.execute(f"CREATE TABLE yesterday.{name} AS TABLE {METADATA_SCHEMA}.{name}".encode())
    ops.perform(CreateCollection(tenant="aki-labs", database="kb", name="today", dimension=DIMENSION))
    today = NOTES._replace(collection="today")
    ops.perform(UpsertDocuments(**today._asdict(), documents=documents("t")))
    ops.perform(UpsertDocuments(**NOTES._asdict(), documents=documents("c")))
    ops.close()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # no triggers, no references
        for name in tables:
            connection.execute(f"DELETE FROM {METADATA_SCHEMA}.{name}".encode())
            connection.execute(
                f"INSERT INTO {METADATA_SCHEMA}.{name} OVERRIDING SYSTEM VALUE"
                f" TABLE yesterday.{name}".encode()
            )
    ops = open_local(postgres_url, settings(tmp_path))
    try:
        assert ops.perform(CountDocuments(**NOTES._asdict())) == 3
        with pytest.raises(NotFound):
            ops.perform(CountDocuments(**today._asdict()))
        ops.perform(SuspendTenant(tenant="aki-labs"))
        ops.perform(ActivateTenant(tenant="aki-labs"))
        ops.perform(MaintainStores())
        assert [each.id for each in ops.perform(ScanDocuments(**NOTES._asdict())).items] == ["a", "b", "c"]
        with psycopg.connect(postgres_url) as connection:
            kept = connection.execute("SELECT count(*) FROM akidb_documents.documents").fetchone()
        assert kept == (4,)
    finally:
        ops.close()


DAMAGE = {
    "databases": "UPDATE databases SET state = 'lost' WHERE name = 'broken'",
    "collections": "UPDATE collections SET metric = 'lost' WHERE name = 'broken'",
    "users": "UPDATE users SET role = 'lost' WHERE email = 'broken@x'",
    "audit": "INSERT INTO audit_entries SELECT {broken}, tenant_id, user_id, 'broken', resource_type,"
    " resource_id, 'perhaps', reason, metadata, ip_address, user_agent, request_id, created_at"
    " FROM audit_entries LIMIT 1",
}


@pytest.mark.parametrize("kind", list(DAMAGE))
@pytest.mark.parametrize("metadata", ["sqlite"], indirect=True)
def test_corrupt_row_does_not_hide_other_rows(metadata: MetadataStore, library: Library, kind: str) -> None:
    """PostgreSQL's types leave no way to write such a row; tenants are in another suite."""
    tenant = library.tenant()
    parent = library.database(tenant, "kb")
    names = ["a", "broken", "c", "d"]
    library.audit(tenant, "a")
    broken = library.ids.new(AuditEntryId).raw.hex()
    library.audit(tenant, "c")
    library.audit(tenant, "d")
    with metadata.transaction() as tx:
        for name in names:
            tx.databases.create(library.new_database(tenant, name))
            tx.collections.create(library.new_collection(parent, name))
            user = User(
                user_id=library.ids.new(UserId),
                tenant_id=tenant.tenant_id,
                email=f"{name}@x",
                created_at=library.clock.now,
                updated_at=library.clock.now,
            )
            tx.users.create(user, "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA")
        connection = tx.tenants._connection  # type: ignore[attr-defined]
        connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        connection.exec_driver_sql(DAMAGE[kind].format(broken=f"x'{broken}'"))
        connection.exec_driver_sql("PRAGMA ignore_check_constraints = OFF")
    paging: dict[str, Any] = {"deleted": False}
    lists: dict[str, tuple[Callable[..., Any], str]] = {
        "databases": (lambda tx, **how: tx.databases.list(tenant.tenant_id, **paging, **how), "name"),
        "collections": (
            lambda tx, **how: tx.collections.list(tenant.tenant_id, parent.database_id, **paging, **how),
            "name",
        ),
        "users": (lambda tx, **how: tx.users.list(tenant.tenant_id, **how), "email"),
        "audit": (lambda tx, **how: tx.audit.list(tenant.tenant_id, **how), "action"),
    }
    read, field = lists[kind]
    for limit in (1, 2, 3, 4, 10):
        found: list[str] = []
        cursor = None
        with metadata.read() as tx:
            while True:
                page = read(tx, limit=limit, cursor=cursor)
                found += [getattr(item, field).partition("@")[0] for item in page.items]
                cursor = page.next_cursor
                if cursor is None:
                    break
        assert [name for name in found if name in names] == ["a", "c", "d"]
    told = {"databases": "database", "collections": "collection", "users": "user", "audit": "audit entry"}
    named = [finding for finding in metadata.check() if "cannot be read" in finding]
    assert [finding.startswith(f"{told[kind]} ") for finding in named] == [True]


def test_audit_entries_survive_tenant_purge_and_are_immutable(ops: LocalOperations) -> None:
    fill(ops)
    tenant_id = ops.perform(GetTenant(tenant="aki-labs")).tenant_id
    ops.perform(DeleteTenant(tenant="aki-labs"))
    ops.perform(PurgeTenant(tenant="aki-labs"))
    told = ["tenant.create", "database.create", "collection.create", "tenant.delete", "tenant.purge"]
    raw = RawSql(ops._runtime.metadata._database)  # type: ignore[attr-defined]
    for statement in ("DELETE FROM audit_entries", "UPDATE audit_entries SET action = 'nothing'"):
        with pytest.raises(IntegrityError):
            raw(statement)
    assert [entry.action for entry in ops.perform(ListAuditEntries(tenant=tenant_id)).items] == told
