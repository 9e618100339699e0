"""Small stores with data, as created by each released version, in plain SQL without current code.

Each release adds its own stores and never changes existing ones.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import psycopg

from akidb.sql.sqlite_library import library

HERE = Path(__file__).parent
METADATA_VERSIONS = ("0001",)
"""Those that a program was released with."""

AKI, QUIET, GONE = (UUID(int=0x018F3C2E7B6A7C3D8E9F0A1B2C3D4E00 + number) for number in range(3))
KB, OLD = (UUID(int=0x018F3C2E7B6A7C3D8E9F0A1B2C3D4F00 + number) for number in range(2))
NOTES, DROPPED = (UUID(int=0x018F3C2E7B6A7C3D8E9F0A1B2C3D5000 + number) for number in range(2))
STORE, ENTRY, PURGED = (UUID(int=0x018F3C2E7B6A7C3D8E9F0A1B2C3D5100 + number) for number in range(3))
MADE, CHANGED, DELETED = (f"2026-01-{day}T09:15:00.123456Z" for day in (28, 29, 30))
VECTORS = np.eye(2, 16, dtype="<f4")

Row = Mapping[str, Any]


def _entity(**values: Any) -> Row:
    row = {"version": 2, "created_at": MADE, "updated_at": CHANGED, "deleted_at": None}
    return {**row, "state_before_deletion": None, **values}


def _tenant(tenant_id: UUID, slug: str, status: str, **values: Any) -> Row:
    return _entity(
        tenant_id=tenant_id,
        external_id=f"crm-{slug}",
        name="Café 日本語" if slug == "aki-labs" else slug.title(),
        slug=slug,
        status=status,
        memory_quota_bytes=0,
        storage_quota_bytes=2**63 - 1,
        qps_quota=200,
        placement=None,
        metadata='{"plan":"pro"}',
        **values,
    )


def _database(database_id: UUID, name: str, state: str, **values: Any) -> Row:
    return _entity(
        database_id=database_id,
        tenant_id=AKI,
        name=name,
        description="What is known.",
        state=state,
        schema_version=1,
        **values,
    )


def _collection(collection_id: UUID, name: str, state: str, **values: Any) -> Row:
    return _entity(
        collection_id=collection_id,
        tenant_id=AKI,
        database_id=KB,
        name=name,
        dimension=16,
        metric="cosine",
        embedding_model=None,
        embedding_fingerprint=None,
        hnsw_m=16,
        hnsw_ef_construction=128,
        max_document_count=1000,
        state=state,
        **values,
    )


def _control(key: int, collection_id: UUID, state: str, **values: Any) -> Row:
    return {
        "collection_key": key,
        "collection_id": collection_id,
        "database_id": KB,
        "version": 2,
        "state": state,
        "database_state": "ready",
        "dimension": 16,
        "metric": "cosine",
        "max_document_count": 1000,
        "tombstone_floor": 0,
        **values,
    }


_WAS_ACTIVE = {"deleted_at": DELETED, "state_before_deletion": "active"}
_WAS_READY = {"deleted_at": DELETED, "state_before_deletion": "ready"}
METADATA: Mapping[str, Sequence[Row]] = {
    "tenants": [
        _tenant(AKI, "aki-labs", "active"),
        _tenant(QUIET, "quiet", "suspended"),
        _tenant(GONE, "gone", "decommissioned", **_WAS_ACTIVE),
    ],
    "databases": [_database(KB, "kb", "ready"), _database(OLD, "old", "deleting", **_WAS_READY)],
    "collections": [
        _collection(NOTES, "notes", "ready"),
        _collection(DROPPED, "dropped", "deleting", **_WAS_READY),
    ],
    "audit_entries": [
        {
            "audit_entry_id": ENTRY,
            "tenant_id": AKI,
            "user_id": None,
            "action": "tenant.create",
            "resource_type": "tenant",
            "resource_id": str(AKI),
            "result": "allowed",
            "reason": None,
            "metadata": "{}",
            "ip_address": "192.0.2.1",
            "user_agent": None,
            "request_id": "first",
            "created_at": MADE,
        }
    ],
    "tenant_stores": [{"tenant_id": AKI, "store_id": STORE}],
    # A crash left it: the store was not told of its tenant's last change.
    "outbox": [{"tenant_id": AKI, "subject": "tenant", "subject_id": AKI.bytes}],
    "purged": [{"entity_id": PURGED.bytes, "entity": "tenant", "purged_at": CHANGED}],
    "remembered_answers": [
        {
            "scope": "tenant.create",
            "key": "once",
            "fingerprint": bytes(32),
            "answer": b"{}",
            "tenant_id": AKI,
            "created_at": MADE,
        }
    ],
}
TENANT: Mapping[str, Sequence[Row]] = {
    "control": [
        {
            "singleton": 1,
            "store_id": STORE,
            "tenant_id": AKI,
            "tenant_version": 1,
            "tenant_status": "active",
            "storage_quota_bytes": 1,
            "storage_used_bytes": 136,
        }
    ],
    "collections": [
        _control(1, NOTES, "ready", document_count=2, storage_used_bytes=136, sequence=3),
        _control(2, DROPPED, "deleting", document_count=0, storage_used_bytes=0, sequence=0),
    ],
    "documents": [
        {
            "document_key": number + 1,
            "collection_key": 1,
            "id": id,
            "sequence": number + 1,
            "size_bytes": 68,
            "text": "t",
            "metadata": "{}",
            "vector": VECTORS[number].tobytes(),
        }
        for number, id in enumerate("ab")
    ],
    "tombstones": [{"collection_key": 1, "sequence": 3, "id": "c"}],
    "remembered_answers": [
        {
            "scope": "document.upsert",
            "key": "once",
            "fingerprint": bytes(32),
            "answer": b"{}",
            "collection_key": 1,
            "created_at": MADE,
        }
    ],
}


def make_metadata_file(path: Path, version: str = "0001") -> None:
    """The metadata store on SQLite."""
    _make_file(path, HERE / f"metadata_{version}_sqlite.sql", METADATA)


def make_tenant_file(path: Path, version: int = 1) -> None:
    """The store of the tenant AKI."""
    _make_file(path, HERE / f"tenant_{version}_sqlite.sql", TENANT)


def make_directory(directory: Path) -> None:
    """All of a data directory."""
    (directory / "tenants").mkdir(parents=True)
    make_metadata_file(directory / "metadata.db")
    make_tenant_file(directory / "tenants" / f"{AKI}.db")


def _make_file(path: Path, script: Path, contents: Mapping[str, Sequence[Row]]) -> None:
    connection = library.connect(str(path))
    connection.execute("PRAGMA foreign_keys = ON")
    connection.executescript(script.read_text())
    for table, rows in contents.items():
        for row in rows:
            values = [value.bytes if isinstance(value, UUID) else value for value in row.values()]
            places = ", ".join("?" * len(values))
            connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", values)
    connection.commit()
    connection.close()


def make_metadata_database(url: str, version: str = "0001") -> None:
    """The metadata store on PostgreSQL."""
    with psycopg.connect(url) as connection:
        connection.execute("CREATE SCHEMA akidb_metadata")
        connection.execute("SET search_path TO akidb_metadata")
        connection.execute((HERE / f"metadata_{version}_postgresql.sql").read_bytes())
        for table, rows in METADATA.items():
            for row in rows:
                places = ", ".join(["%s"] * len(row))
                statement = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})"
                connection.execute(statement.encode(), list(row.values()))
