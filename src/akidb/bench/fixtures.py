"""Fixtures of the suites: a fresh store, documents from a seeded generator, the raw driver."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akidb.deployment.local import LocalOperations, open_local
from akidb.domain.fields import CollectionPath
from akidb.operations.collections import CreateCollection
from akidb.operations.databases import CreateDatabase
from akidb.operations.tenants import CreateTenant
from akidb.settings import load
from akidb.sql.sqlite_library import library

DIMENSION = 384
PATH = CollectionPath("bench", "bench", "documents")
UNLIMITED = 2**31


@contextmanager
def fresh_store() -> Iterator[LocalOperations]:
    """Open a temporary store with one empty collection."""
    with TemporaryDirectory(prefix="akidb-bench-") as directory:
        operations = open_local(Path(directory) / "data", load())
        try:
            prepare(operations)
            yield operations
        finally:
            operations.close()


def prepare(operations: Any) -> None:
    """Create the tenant, database and collection that the suites write to."""
    operations.perform(CreateTenant(name="bench", qps_quota=None))
    operations.perform(CreateDatabase(tenant="bench", name="bench"))
    operations.perform(
        CreateCollection(tenant="bench", database="bench", name="documents", dimension=DIMENSION)
    )


def vectors(count: int, seed: int = 7) -> NDArray[np.float32]:
    """Return unit vectors of shape `(count, 384)`."""
    rows = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def documents(first: int, rows: NDArray[np.float32]) -> list[dict[str, Any]]:
    """Return documents with a text of about 200 characters and three metadata fields."""
    return [
        {
            "id": f"document-{first + place}",
            "text": f"Document {first + place}. " + "The quick brown fox jumps over the lazy dog. " * 4,
            "vector": row,
            "metadata": {"year": 1990 + place % 35, "kind": "even" if place % 2 else "odd", "n": place},
        }
        for place, row in enumerate(rows)
    ]


def raw_connection(path: Path) -> Any:
    """The raw driver with the settings of AkiDB's own connections, including durability."""
    connection = library.connect(path, isolation_level=None)
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


@contextmanager
def copied_schema(source: Path) -> Iterator[Any]:
    """The raw driver on an empty database with the tables, indexes and triggers of another."""
    origin = raw_connection(source)
    statements = [
        row[0]
        for row in origin.execute(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' AND name NOT IN"
            " (SELECT name FROM pragma_table_list WHERE type = 'shadow')"  # made by their virtual table
            " ORDER BY type = 'trigger', type = 'index', rowid"
        )
    ]
    origin.close()
    with TemporaryDirectory(prefix="akidb-bench-raw-") as directory:
        connection = raw_connection(Path(directory) / "raw.db")
        for statement in statements:
            connection.execute(statement)
        try:
            yield connection
        finally:
            connection.close()


def insert_raw(raw: Any, number: int) -> None:
    """The statements of `tenants.create`: a tenant and its audit entry, in one durable transaction."""
    raw.execute("BEGIN IMMEDIATE")
    insert_rows(raw, number)
    raw.execute("COMMIT")


def insert_rows(raw: Any, number: int) -> None:
    """A tenant and its audit entry, within a transaction."""
    now = "2026-01-31T09:15:00.123456Z"
    tenant_id = secrets.token_bytes(16)
    raw.execute(
        "INSERT INTO tenants (tenant_id, name, name_folded, slug, status, memory_quota_bytes,"
        " storage_quota_bytes, qps_quota, metadata, version, created_at, updated_at)"
        " VALUES (?, ?, ?, ?, 'active', 34359738368, 1099511627776, 200, '{}', 1, ?, ?)",
        (tenant_id, f"Raw {number}", f"raw {number}", f"raw-{number}", now, now),
    )
    raw.execute(
        "INSERT INTO audit_entries (audit_entry_id, tenant_id, action, resource_type, resource_id, result,"
        " metadata, created_at) VALUES (?, ?, 'tenant.create', 'tenant', ?, 'allowed', '{}', ?)",
        (secrets.token_bytes(16), tenant_id, tenant_id.hex(), now),
    )
