"""Constraints and triggers of the metadata schema against raw SQL."""

from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec.structs import replace
from samples import REFUSED, Blob, Clock, Library, RawSql

from akidb.domain.entities import Collection, Database, Tenant
from akidb.ports.metadata import MetadataStore
from akidb.sql.types import format_instant

UUID = "018f3c2e-7b6a-7c3d-8e9f-0a1b2c3d4e5f"
NOW = "2026-01-31T09:15:00.123456Z"
WRONG_NAMES = ["", "a b", "a/b", "../x", "-a", ".a", "a\n", "caf\u00e9", "x" * 129, UUID, UUID.upper()]
ANSWER = "scope, key, fingerprint, answer, created_at, tenant_id"
ENTRY = "audit_entry_id, action, resource_type, resource_id, result, metadata, created_at"
WRONG_TIMES = ["", "2026-21-31T09:15:00.123456Z", "x026-01-31T09:15:00.123456Z", "31 January"]
OTHER_FORMS = [
    "2026-01-31",
    "2026-01-31 09:15:00.123456Z",
    "2026-01-31T09:15:00Z",
    "2026-01-31T09:15:00.123Z",
    "2026-01-31T09:15:00.123456+00:00",
    "2026-01-31T09:15:00.1234560Z",
]
"""Times in other forms than that of SQLite's columns."""

WRONG_TENANTS: list[tuple[str, Any]] = [
    *[
        ("slug", slug)
        for slug in ["", "A", "a b", "-a", "a-", "a_b", "x" * 64, UUID, "caf\u00e9", "a\n", "../x"]
    ],
    *[("name", name) for name in ["", "x" * 256]],
    *[("external_id", text) for text in ["", "x" * 256]],
    *[("status", status) for status in ["", "ACTIVE", "deleted", "ready"]],
    *[(quota, -1) for quota in ["memory_quota_bytes", "storage_quota_bytes", "qps_quota"]],
    *[(quota, "many") for quota in ["memory_quota_bytes", "storage_quota_bytes", "qps_quota"]],
    *[("metadata", text) for text in ["", "[]", "7", "null", "{", "{'a': 1}", '"{}"']],
    *[("version", number) for number in [0, -1, "one"]],
    *[(column, time) for column in ["created_at", "updated_at"] for time in WRONG_TIMES],
    *[(column, None) for column in ["slug", "name", "status", "metadata", "version", "created_at"]],
    *[("tenant_id", value) for value in [bytes(15), bytes(17), b"", None, "one"]],
]
WRONG_DATABASES: list[tuple[str, Any]] = [
    *[("name", name) for name in WRONG_NAMES],
    *[("state", state) for state in ["", "active", "creating", "READY"]],
    *[("schema_version", number) for number in [0, -1]],
    *[("description", None), ("version", 0), ("updated_at", "soon")],
    *[("database_id", value) for value in [bytes(15), bytes(17), None]],
    ("tenant_id", bytes(16)),
    *[("metadata", text) for text in ["", "[]", "null", "{", "x"]],
]
WRONG_COLLECTIONS: list[tuple[str, Any]] = [
    *[("name", name) for name in WRONG_NAMES],
    *[("dimension", number) for number in [0, 4097, -1]],
    *[("metadata", text) for text in ["", "[]", "null", "{", "x"]],
    *[("metric", word) for word in ["", "euclid", "COSINE"]],
    *[("state", word) for word in ["", "active", "migrating"]],
    *[("hnsw_m", 1), ("hnsw_ef_construction", 0), ("max_document_count", -1), ("version", 0)],
    *[("embedding_model", "hash"), ("embedding_fingerprint", "sha256:00")],
    *[("collection_id", value) for value in [bytes(15), bytes(17), None]],
    *[("database_id", bytes(16)), ("tenant_id", bytes(16))],
]


@pytest.fixture
def tenant(library: Library) -> Tenant:
    return library.tenant()


@pytest.fixture
def database(library: Library, tenant: Tenant) -> Database:
    return library.database(tenant)


@pytest.fixture
def collection(library: Library, database: Database) -> Collection:
    return library.collection(database)


def refused(raw: RawSql, table: str, column: str, value: Any) -> None:
    before = raw(f"SELECT * FROM {table}")
    with pytest.raises(REFUSED):
        raw(f"UPDATE {table} SET {column} = ?", value)
    assert raw(f"SELECT * FROM {table}") == before


@pytest.mark.parametrize(("column", "value"), WRONG_TENANTS)
def test_invalid_tenant_is_refused(raw: RawSql, tenant: Tenant, column: str, value: Any) -> None:
    refused(raw, "tenants", column, value)


@pytest.mark.parametrize("form", OTHER_FORMS)
def test_times_are_stored_in_one_format_only(raw: RawSql, tenant: Tenant, form: str) -> None:
    """SQLite, whose times are text, refuses other forms; PostgreSQL reads the instant that they name."""
    if raw.system == "sqlite":
        refused(raw, "tenants", "created_at", form)
        return
    raw("UPDATE tenants SET version = 2, created_at = ?", form)
    instant = datetime.fromisoformat(form).replace(tzinfo=UTC)
    assert raw("SELECT created_at FROM tenants") == [(format_instant(instant),)]


@pytest.mark.parametrize(("column", "value"), WRONG_DATABASES)
def test_invalid_database_is_refused(raw: RawSql, database: Database, column: str, value: Any) -> None:
    refused(raw, "databases", column, value)


@pytest.mark.parametrize(("column", "value"), WRONG_COLLECTIONS)
def test_invalid_collection_is_refused(raw: RawSql, collection: Collection, column: str, value: Any) -> None:
    refused(raw, "collections", column, value)


@pytest.mark.parametrize(
    ("table", "state", "deleted"),
    [
        ("tenants", "status", "decommissioned"),
        ("databases", "state", "deleting"),
        ("collections", "state", "deleting"),
    ],
)
def test_deleted_state_requires_deletion_time(
    raw: RawSql, collection: Collection, table: str, state: str, deleted: str
) -> None:
    for wrong in (f"{state} = '{deleted}'", f"deleted_at = '{NOW}'", f"state_before_deletion = '{deleted}'"):
        with pytest.raises(sa.exc.IntegrityError):
            raw(f"UPDATE {table} SET version = version + 1, {wrong}")
    raw(f"UPDATE {table} SET version = version + 1, {state} = '{deleted}', deleted_at = '{NOW}'")
    assert raw(f"SELECT count(*) FROM {table} WHERE deleted_at IS NOT NULL") == [(1,)]


def test_collection_cannot_reference_two_tenants(
    raw: RawSql, library: Library, collection: Collection
) -> None:
    other = library.tenant("other")
    elsewhere = library.database(other)
    with pytest.raises(sa.exc.IntegrityError, match=r"(?i)foreign key"):
        raw("UPDATE collections SET version = 2, tenant_id = ?", other.tenant_id.raw)
    with pytest.raises(sa.exc.IntegrityError, match=r"(?i)foreign key"):
        raw("UPDATE collections SET version = 2, database_id = ?", elsewhere.database_id.raw)
    with pytest.raises(sa.exc.IntegrityError), library.metadata.transaction() as tx:
        tx.collections.create(replace(library.new_collection(elsewhere), tenant_id=collection.tenant_id))


def test_only_unique_violation_raises_already_exists(library: Library, metadata: MetadataStore) -> None:
    """What else the schema refuses is a defect of the program, and is not hidden as something else."""
    with pytest.raises(sa.exc.IntegrityError), metadata.transaction() as tx:
        tx.tenants.create(library.new_tenant(memory_quota_bytes=-1))


def test_tenant_purge_removes_its_databases_and_collections(
    raw: RawSql, metadata: MetadataStore, library: Library, collection: Collection, clock: Clock
) -> None:
    kept = library.collection(library.database(library.tenant("other")))
    with metadata.transaction() as tx:
        tx.tenants.purge(collection.tenant_id, clock.now)
    assert raw("SELECT count(*) FROM databases") == [(1,)]
    assert raw("SELECT collection_id FROM collections") == [(kept.collection_id.raw,)]
    assert raw("SELECT entity_id, entity FROM purged") == [(collection.tenant_id.raw, "tenant")]


@pytest.mark.parametrize("table", ["tenants", "databases", "collections"])
def test_raw_update_increments_version_and_sets_updated_at(
    raw: RawSql, collection: Collection, clock: Clock, table: str
) -> None:
    started = format_instant(datetime.now(UTC).replace(microsecond=0))
    raw(f"UPDATE {table} SET name = 'renamed'")
    [(version, updated_at)] = raw(f"SELECT version, updated_at FROM {table}")
    assert version == 2
    assert len(updated_at) == len(started)
    if started > format_instant(clock.now):
        assert updated_at >= started


@pytest.mark.parametrize("table", ["tenants", "databases", "collections"])
def test_updated_at_never_goes_backwards(raw: RawSql, collection: Collection, table: str) -> None:
    future = "2999-01-31T09:15:00.123456Z"
    raw(f"UPDATE {table} SET version = version + 1, updated_at = ?", future)
    raw(f"UPDATE {table} SET name = 'renamed'")
    assert raw(f"SELECT version, updated_at FROM {table}") == [(3, future)]
    raw(f"UPDATE {table} SET updated_at = '2001-01-31T09:15:00.123456Z'")
    assert raw(f"SELECT version, updated_at FROM {table}") == [(4, future)]


@pytest.mark.parametrize("table", ["tenants", "databases", "collections"])
def test_versioned_update_keeps_given_updated_at(raw: RawSql, collection: Collection, table: str) -> None:
    past = "2001-01-31T09:15:00.123456Z"
    raw(f"UPDATE {table} SET version = 7, updated_at = ?", past)
    assert raw(f"SELECT version, updated_at FROM {table}") == [(7, past)]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entries SET reason = 'none'",
        "UPDATE audit_entries SET tenant_id = NULL",
        "DELETE FROM audit_entries",
        "DELETE FROM audit_entries WHERE action = 'tenant.create'",
    ],
)
def test_audit_entries_cannot_be_changed_or_deleted(
    raw: RawSql, library: Library, tenant: Tenant, statement: str
) -> None:
    library.audit(tenant)
    before = raw("SELECT * FROM audit_entries")
    with pytest.raises(sa.exc.IntegrityError, match="never changed or deleted"):
        raw(statement)
    assert raw("SELECT * FROM audit_entries") == before


def test_audit_entries_cannot_be_replaced(raw: RawSql, library: Library, tenant: Tenant) -> None:
    library.audit(tenant)
    before = raw("SELECT * FROM audit_entries")
    columns = ENTRY.replace("action", "'forged'", 1)
    forged = f"INTO audit_entries ({ENTRY}) SELECT {columns} FROM audit_entries"
    if raw.system == "postgresql":
        statement = f"INSERT {forged} ON CONFLICT (audit_entry_id) DO UPDATE SET action = excluded.action"
    else:
        statement = f"INSERT OR REPLACE {forged}"
    with pytest.raises(sa.exc.IntegrityError, match="never changed or deleted"):
        raw(statement)
    assert raw("SELECT * FROM audit_entries") == before


def test_audit_entries_cannot_be_truncated(raw: RawSql, library: Library, tenant: Tenant) -> None:
    library.audit(tenant)
    truncation = "TRUNCATE audit_entries" if raw.system == "postgresql" else "DELETE FROM audit_entries"
    for statement in (truncation, f"{truncation} CASCADE" if raw.system == "postgresql" else truncation):
        with pytest.raises(sa.exc.IntegrityError, match="never changed or deleted"):
            raw(statement)
    assert raw("SELECT count(*) FROM audit_entries") == [(1,)]


@pytest.mark.parametrize(
    ("insert", "values"),
    [
        ("outbox (tenant_id, subject, subject_id)", (bytes(15), "tenant", Blob(16))),
        ("outbox (tenant_id, subject, subject_id)", (bytes(16), "tenant", Blob(15))),
        ("outbox (tenant_id, subject, subject_id)", (bytes(16), "x", Blob(16))),
        ("tenant_stores (tenant_id, store_id)", (bytes(16), bytes(16))),
        ("purged (entity_id, entity, purged_at)", (Blob(15), "tenant", NOW)),
        ("purged (entity_id, entity, purged_at)", (Blob(16), "tenant", "soon")),
        (f"remembered_answers ({ANSWER})", ("s", "k", Blob(31), Blob(), NOW, None)),
        (f"remembered_answers ({ANSWER})", ("s", "k", Blob(32), Blob(), NOW, bytes(16))),
        (f"audit_entries ({ENTRY})", (bytes(16), "a", "t", "i", "maybe", "{}", NOW)),
        (f"audit_entries ({ENTRY})", (bytes(15), "a", "t", "i", "denied", "{}", NOW)),
        (f"audit_entries ({ENTRY})", (bytes(16), "a", "t", "i", "denied", "[]", NOW)),
    ],
)
def test_invalid_rows_of_other_tables_are_refused(
    raw: RawSql, insert: str, values: tuple[object, ...]
) -> None:
    places = ", ".join("?" * len(values))
    with pytest.raises(REFUSED):
        raw(f"INSERT INTO {insert} VALUES ({places})", *values)


def test_valid_rows_of_other_tables_are_accepted(raw: RawSql, tenant: Tenant) -> None:
    """So that nothing above is refused for how it is written."""
    for insert, values in (
        ("outbox (tenant_id, subject, subject_id)", (bytes(16), "tenant", Blob(16))),
        ("tenant_stores (tenant_id, store_id)", (tenant.tenant_id.raw, bytes(16))),
        ("purged (entity_id, entity, purged_at)", (Blob(16), "tenant", NOW)),
        (f"remembered_answers ({ANSWER})", ("s", "k", Blob(32), Blob(), NOW, tenant.tenant_id.raw)),
        (f"audit_entries ({ENTRY})", (bytes(16), "a", "t", "i", "denied", "{}", NOW)),
    ):
        raw(f"INSERT INTO {insert} VALUES ({', '.join('?' * len(values))})", *values)
