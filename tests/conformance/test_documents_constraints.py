"""Constraints of the tenant store schema against raw SQL, in files and in shared tables."""

from collections.abc import Iterator
from typing import Any

import pytest
from samples import REFUSED, Blob, RawSql, Shelf, document

from akidb.documents.postgresql import PostgresTenantStores
from akidb.domain.ids import TenantId
from akidb.ports.stores import TenantStores

NOW = "2026-01-31T09:15:00.123456Z"
ANSWER = "scope, key, fingerprint, answer, collection_key, created_at"
WRONG: list[tuple[str, str, Any]] = [
    *[("control", "tenant_status", word) for word in ("", "ACTIVE", "ready", None)],
    *[("control", name, -1) for name in ("tenant_version", "storage_quota_bytes", "storage_used_bytes")],
    *[("control", "store_id", value) for value in (bytes(15), bytes(17), None)],
    *[("collections", "state", word) for word in ("", "active", None)],
    *[("collections", "database_state", word) for word in ("", "creating", None)],
    *[("collections", "dimension", number) for number in (0, -1, 4097, "many")],
    *[("collections", "metric", word) for word in ("", "COSINE")],
    *[("collections", "collection_id", value) for value in (bytes(15), bytes(17), None)],
    *[("collections", "database_id", value) for value in (bytes(15), None)],
    *[("collections", "version", number) for number in (0, "one")],
    *[("collections", name, -1) for name in ("max_document_count", "document_count", "storage_used_bytes")],
    *[("collections", "sequence", -1), ("collections", "tombstone_floor", -1)],
    ("collections", "tombstone_floor", 1_000),  # beyond the sequence
    *[("documents", "id", text) for text in ("", "x" * 513, "\u00e9" * 257, None)],
    *[("documents", "sequence", 0), ("documents", "size_bytes", -1), ("documents", "metadata", None)],
    *[("documents", "vector", value) for value in (Blob(3), None)],
    *[(table, "collection_key", 999) for table in ("documents", "tombstones")],
    *[("tombstones", "sequence", 0), ("tombstones", "id", None)],
]


@pytest.fixture
def raw(shelf: Shelf, stores: TenantStores) -> Iterator[RawSql]:
    """Execute raw SQL on a store with one document and one tombstone."""
    shelf.upsert(document("kept"), document("gone"))
    shelf.delete("gone")
    if isinstance(stores, PostgresTenantStores):
        yield RawSql(stores._database)
        return
    with shelf.open() as store:
        yield RawSql(store._database)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("table", "column", "value"), WRONG)
def test_invalid_value_is_refused(raw: RawSql, table: str, column: str, value: Any) -> None:
    before = raw(f"SELECT * FROM {table}")
    assert len(before) == 1
    with pytest.raises(REFUSED):
        raw(f"UPDATE {table} SET {column} = ?", value)
    assert raw(f"SELECT * FROM {table}") == before


def copy_document(raw: RawSql, id: str, sequence: str) -> None:
    """Insert the document once more, with another id and sequence."""
    own = "tenant_id, " if raw.system == "postgresql" else ""
    raw(
        f"INSERT INTO documents ({own}collection_key, id, sequence, size_bytes, metadata, vector)"
        f" SELECT {own}collection_key, {id}, {sequence}, size_bytes, metadata, vector FROM documents"
    )


def test_document_id_and_sequence_are_unique(raw: RawSql) -> None:
    with pytest.raises(REFUSED):
        copy_document(raw, "id", "100")
    with pytest.raises(REFUSED):
        copy_document(raw, "'other'", "sequence")
    copy_document(raw, "'other'", "100")


@pytest.mark.parametrize("fingerprint", [Blob(31), Blob(33), None])
def test_fingerprint_must_have_32_bytes(raw: RawSql, shelf: Shelf, fingerprint: Any) -> None:
    [(key,)] = raw("SELECT collection_key FROM collections")
    values: list[Any] = ["s", "k", fingerprint, Blob(), key, NOW]
    names = ANSWER
    if raw.system == "postgresql":
        names, values = f"tenant_id, {ANSWER}", [shelf.tenant.tenant_id.raw, *values]
    places = ", ".join("?" * len(values))
    with pytest.raises(REFUSED):
        raw(f"INSERT INTO remembered_answers ({names}) VALUES ({places})", *values)
    values[values.index(fingerprint)] = Blob(32)
    raw(f"INSERT INTO remembered_answers ({names}) VALUES ({places})", *values)


def test_collection_with_rows_cannot_be_deleted(raw: RawSql) -> None:
    with pytest.raises(REFUSED):
        raw("DELETE FROM collections")
    assert len(raw("SELECT 1 FROM collections")) == 1


def test_store_has_exactly_one_control_row(raw: RawSql) -> None:
    if raw.system == "sqlite":
        columns = (
            "store_id, tenant_id, tenant_version, tenant_status, storage_quota_bytes, storage_used_bytes"
        )
        for singleton in (1, 2):
            with pytest.raises(REFUSED):
                raw(f"INSERT INTO control (singleton, {columns}) SELECT {singleton}, {columns} FROM control")
    assert len(raw("SELECT 1 FROM control")) == 1


@pytest.mark.parametrize("table", ["control", "collections", "documents", "tombstones"])
def test_row_cannot_move_to_tenant_without_store(raw: RawSql, table: str) -> None:
    """Where rows of several tenants stand together; a file has no such column but in its control row."""
    if raw.system == "sqlite":
        with pytest.raises(REFUSED):
            raw("UPDATE control SET tenant_id = ?", bytes(15))
        return
    with pytest.raises(REFUSED):
        raw(f"UPDATE {table} SET tenant_id = ?", TenantId(bytes(16)).raw)
