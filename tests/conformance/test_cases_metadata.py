"""Cases of the metadata layer that no other suite has on both databases, through the services."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from samples import Library, RawSql
from sqlalchemy.exc import IntegrityError

from akidb.deployment import local as runtime
from akidb.deployment.local import LocalOperations, open_local
from akidb.domain.entities import User
from akidb.domain.errors import AlreadyExists, NotFound, QuotaExceeded, RateLimited
from akidb.domain.ids import AuditEntryId, UserId
from akidb.metadata.store import METADATA_SCHEMA
from akidb.ports.metadata import MetadataStore
from akidb.ports.operations import CollectionChanges, CollectionPath, DatabaseChanges, TenantChanges
from akidb.settings import Settings

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
    ops.tenants.create("Aki Labs", **fields)
    ops.databases.create("aki-labs", "kb")
    ops.collections.create("aki-labs", "kb", "notes", dimension=DIMENSION)


def vectors(seed: int, number: int) -> Any:
    return np.random.default_rng(seed).standard_normal((number, DIMENSION)).astype(np.float32)


def documents(*ids: str, seed: int = 0) -> list[dict[str, Any]]:
    made = vectors(seed, len(ids))
    return [{"id": id, "vector": vector} for id, vector in zip(ids, made, strict=True)]


def test_of_two_fields_that_clash_both_databases_name_the_same(ops: LocalOperations) -> None:
    ops.tenants.create("First", slug="first", external_id="crm-1")
    second = ops.tenants.create("Second", slug="second", external_id="crm-2")
    with pytest.raises(AlreadyExists) as caught:
        ops.tenants.create("Third", slug="first", external_id="crm-1")
    assert caught.value.fields == {"entity": "tenant", "field": "external_id", "value": "crm-1"}
    with pytest.raises(AlreadyExists) as caught:
        ops.tenants.update("second", TenantChanges(slug="first", external_id="crm-1"))
    assert caught.value.fields == {"entity": "tenant", "field": "external_id", "value": "crm-1"}
    with pytest.raises(AlreadyExists) as caught:
        ops.tenants.update("second", TenantChanges(slug="first", external_id="crm-2"))
    assert caught.value.fields == {"entity": "tenant", "field": "slug", "value": "first"}
    assert ops.tenants.get("second") == second


def test_a_quota_of_zero_is_zero_and_not_unlimited(ops: LocalOperations) -> None:
    fill(ops, storage_quota_bytes=0)
    with pytest.raises(QuotaExceeded) as caught:
        ops.documents.upsert(NOTES, documents("a"))
    assert caught.value.fields["limit"] == 0
    ops.tenants.update("aki-labs", TenantChanges(storage_quota_bytes=10_000))
    ops.collections.update(*NOTES, CollectionChanges(max_document_count=0))
    with pytest.raises(QuotaExceeded) as caught:
        ops.documents.upsert(NOTES, documents("a"))
    assert caught.value.fields == {"quota": "max_document_count", "limit": 0, "used": 0, "requested": 1}
    ops.tenants.update("aki-labs", TenantChanges(qps_quota=0))
    with pytest.raises(RateLimited):
        ops.documents.count(NOTES)


def test_a_failed_create_gives_its_quota_back(ops: LocalOperations) -> None:
    """The storage is taken first, then the count refuses: nothing stays taken."""
    fill(ops)
    ops.documents.upsert(NOTES, documents("a"))
    used = ops.tenants.usage("aki-labs").storage_bytes.used
    ops.tenants.update("aki-labs", TenantChanges(storage_quota_bytes=3 * used))
    ops.collections.update(*NOTES, CollectionChanges(max_document_count=2))
    for _ in range(3):
        with pytest.raises(QuotaExceeded) as caught:
            ops.documents.upsert(NOTES, documents("b", "c"))
        assert caught.value.fields["quota"] == "max_document_count"
    usage = ops.tenants.usage("aki-labs")
    assert (usage.storage_bytes.used, usage.documents) == (used, 1)
    ops.collections.update(*NOTES, CollectionChanges(max_document_count=3))
    ops.documents.upsert(NOTES, documents("b", "c"))  # to the last byte
    assert ops.tenants.usage("aki-labs").storage_bytes.used == 3 * used
    with pytest.raises(AlreadyExists):
        ops.collections.create("aki-labs", "kb", "notes", dimension=DIMENSION)
    assert ops.tenants.usage("aki-labs").collections == ops.collections.count("aki-labs", "kb") == 1


def test_what_is_deleted_is_counted_no_more(ops: LocalOperations) -> None:
    fill(ops)
    ops.documents.upsert(NOTES, documents("a", "b"))
    assert ops.documents.delete(NOTES, ids=["a", "b"]) == 2
    usage = ops.tenants.usage("aki-labs")
    assert (ops.documents.count(NOTES), usage.documents, usage.storage_bytes.used) == (0, 0, 0)
    ops.documents.upsert(NOTES, documents("a"))
    ops.collections.delete(*NOTES)
    assert ops.collections.count("aki-labs", "kb") == 0
    assert ops.tenants.usage("aki-labs").documents == 0
    ops.databases.delete("aki-labs", "kb")
    usage = ops.tenants.usage("aki-labs")
    assert (usage.databases, usage.collections, usage.documents) == (0, 0, 0)
    assert ops.databases.count("aki-labs") == 0
    ops.databases.purge("aki-labs", "kb")
    assert ops.tenants.usage("aki-labs").storage_bytes.used == 0
    ops.tenants.delete("aki-labs")
    assert ops.tenants.count() == 0
    assert all(finding.ok for finding in ops.doctor())


def test_what_is_gone_cannot_be_updated(ops: LocalOperations) -> None:
    """Deleted or purged, by name or by ID, with the version that was read or without."""
    fill(ops)
    tenant, database = ops.tenants.get("aki-labs"), ops.databases.get("aki-labs", "kb")
    collection = ops.collections.get(*NOTES)

    def update_collection(reference: Any) -> object:
        return ops.collections.update("aki-labs", "kb", reference, CollectionChanges(hnsw_m=4), if_version=1)

    def update_database(reference: Any) -> object:
        return ops.databases.update("aki-labs", reference, DatabaseChanges(description="x"), if_version=1)

    def update_tenant(reference: Any) -> object:
        return ops.tenants.update(reference, TenantChanges(name="x"), if_version=1)

    steps: list[tuple[str, tuple[Any, ...], Callable[[Any], object], Any]] = [
        ("collections", NOTES, update_collection, collection.collection_id),
        ("databases", NOTES[:2], update_database, database.database_id),
        ("tenants", NOTES[:1], update_tenant, tenant.tenant_id),
    ]
    for service, path, update, identity in steps:
        for verb in ("delete", "purge"):
            getattr(getattr(ops, service), verb)(*path)
            for reference in (path[-1], identity):
                with pytest.raises(NotFound) as caught:
                    update(reference)
                assert caught.value.fields["id"] == str(reference)


def test_the_clock_steps_back(ops: LocalOperations, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Times of one thing never run backwards; a list by creation goes by the clock, then by ID."""
    now = datetime(2026, 1, 31, 12, tzinfo=UTC)
    target = ops._runtime.target
    ops.close()
    monkeypatch.setattr(runtime, "_now", lambda: now)
    ops = open_local(target, settings(tmp_path))
    try:
        first = ops.tenants.create("First")
        now -= timedelta(hours=1)
        second, third = ops.tenants.create("Second"), ops.tenants.create("Third")
        assert second.created_at == third.created_at < first.created_at
        assert second.tenant_id < third.tenant_id
        assert [tenant.slug for tenant in ops.tenants.list().items] == ["second", "third", "first"]
        changed = ops.tenants.update("first", TenantChanges(name="Other"))
        assert (changed.version, changed.updated_at) == (2, first.updated_at)
        ops.tenants.delete("first")
        restored = ops.tenants.restore("first")
        assert (restored.version, restored.updated_at) == (4, first.updated_at)
        assert ops.tenants.get("first") == restored
    finally:
        ops.close()


def test_a_copy_that_is_written_until_its_sequences_overlap_answers_like_brute_force(
    ops: LocalOperations,
) -> None:
    fill(ops)
    ops.documents.upsert(NOTES, documents(*(f"n{number}" for number in range(60)), seed=1))
    question = vectors(2, 1)[0]
    assert ops.documents.search(NOTES, vector=question).matches  # the index of the original is made
    ops.archives.copy("aki-labs", "branch")
    paths = (NOTES, NOTES._replace(tenant="branch"))
    held = {path: dict(enumerate(vectors(1, 60))) for path in paths}
    for turn in range(3):
        for at, path in enumerate(paths):
            new = vectors(10 * turn + at + 3, 20)
            ids = [f"n{number}" for number in range(20 * turn, 20 * turn + 20)]
            ops.documents.upsert(
                path, [{"id": id, "vector": vector} for id, vector in zip(ids, new, strict=True)]
            )
            held[path] |= dict(enumerate(new, 20 * turn))
        for path in paths:
            found = [match.id for match in ops.documents.search(path, vector=question, top_k=60).matches]
            scores = {
                f"n{number}": float(vector @ question / np.linalg.norm(vector))
                for number, vector in held[path].items()
            }
            assert found == sorted(scores, key=lambda each: -scores[each])


def test_the_metadata_of_yesterday_restored_alone_deletes_no_document(
    postgres_url: str, tmp_path: Path
) -> None:
    """On PostgreSQL the two kinds of store are two schemas; on SQLite files, as another suite has it."""
    ops = open_local(postgres_url, settings(tmp_path))
    fill(ops)
    ops.documents.upsert(NOTES, documents("a", "b"))
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
    ops.collections.create("aki-labs", "kb", "today", dimension=DIMENSION)
    today = NOTES._replace(collection="today")
    ops.documents.upsert(today, documents("t"))
    ops.documents.upsert(NOTES, documents("c"))
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
        assert ops.documents.count(NOTES) == 3
        with pytest.raises(NotFound):
            ops.documents.count(today)
        ops.tenants.suspend("aki-labs")
        ops.tenants.activate("aki-labs")
        ops.maintain()
        assert [each.id for each in ops.documents.scan(NOTES).items] == ["a", "b", "c"]
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
def test_a_corrupt_row_hides_no_other(metadata: MetadataStore, library: Library, kind: str) -> None:
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


def test_the_audit_outlives_its_tenant_and_cannot_be_changed(ops: LocalOperations) -> None:
    fill(ops)
    tenant_id = ops.tenants.get("aki-labs").tenant_id
    ops.tenants.delete("aki-labs")
    ops.tenants.purge("aki-labs")
    told = ["tenant.create", "database.create", "collection.create", "tenant.delete", "tenant.purge"]
    raw = RawSql(ops._runtime.metadata._database)  # type: ignore[attr-defined]
    for statement in ("DELETE FROM audit_entries", "UPDATE audit_entries SET action = 'nothing'"):
        with pytest.raises(IntegrityError):
            raw(statement)
    assert [entry.action for entry in ops.audit.list(tenant_id).items] == told
