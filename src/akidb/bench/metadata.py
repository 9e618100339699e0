"""Tenants: get, create durably, list; beside the raw driver and Chroma."""

import secrets
from typing import Any

from akidb.bench.chroma import started
from akidb.bench.fixtures import copied_schema, fresh_store
from akidb.bench.measure import Line, Work, at_most, in_turns, latency_lines, on_top_of

SUITE = "metadata"
PAGE = 100


def run() -> list[Line]:
    """All figures of this suite."""
    with fresh_store() as operations:
        assert operations.directory is not None
        copy = operations.directory / "metadata.db"
        with copied_schema(copy) as raw, started() as peer:
            return [
                *_get(operations, raw, peer),
                *_create(operations, raw, peer),
                *_list(operations, raw, peer),
            ]


def _get(operations: Any, raw: Any, peer: Any) -> list[Line]:
    _insert(raw, 0)
    statement = "SELECT * FROM tenants WHERE slug = ? AND deleted_at IS NULL"
    sides: dict[str, Work] = {
        "akidb": lambda _: operations.tenants.get("bench"),
        "raw sqlite3": lambda _: raw.execute(statement, ("raw-0",)).fetchall(),
    }
    chroma = None if peer is None else ("chroma", lambda _: peer[1].get_tenant("default_tenant"))
    return latency_lines(SUITE, "get a tenant by slug", in_turns(sides, 2000, peer=chroma), at_most(50))


def _create(operations: Any, raw: Any, peer: Any) -> list[Line]:
    sides: dict[str, Work] = {
        "akidb": lambda n: operations.tenants.create(f"Tenant {n}"),
        "raw sqlite3": lambda n: _insert(raw, n + 1),
    }
    chroma = None if peer is None else ("chroma", lambda n: peer[1].create_tenant(f"tenant-{n}"))
    taken = in_turns(sides, 500, peer=chroma)
    return latency_lines(SUITE, "create a tenant, durable", taken, on_top_of("raw sqlite3", 80))


def _list(operations: Any, raw: Any, peer: Any) -> list[Line]:
    statement = "SELECT * FROM tenants WHERE deleted_at IS NULL ORDER BY created_at, tenant_id LIMIT ?"
    sides: dict[str, Work] = {
        "akidb": lambda _: operations.tenants.list(limit=PAGE),
        "raw sqlite3": lambda _: raw.execute(statement, (PAGE,)).fetchall(),
    }
    chroma: tuple[str, Work] | None = None
    if peer is not None:
        for number in range(PAGE):
            peer[1].create_database(f"database-{number}")
        # Chroma lists databases, not tenants.
        chroma = ("chroma", lambda _: peer[1].list_databases(limit=PAGE))
    return latency_lines(SUITE, f"list {PAGE}", in_turns(sides, 500, peer=chroma), at_most(350))


def _insert(raw: Any, number: int) -> None:
    """The statements of `tenants.create`: a tenant and its audit entry, in one durable transaction."""
    now = "2026-01-31T09:15:00.123456Z"
    tenant_id = secrets.token_bytes(16)
    raw.execute("BEGIN IMMEDIATE")
    raw.execute(
        "INSERT INTO tenants (tenant_id, name, name_folded, slug, status, memory_quota_bytes, storage_quota_bytes,"
        " qps_quota, metadata, version, created_at, updated_at)"
        " VALUES (?, ?, ?, ?, 'active', 34359738368, 1099511627776, 200, '{}', 1, ?, ?)",
        (tenant_id, f"Raw {number}", f"raw {number}", f"raw-{number}", now, now),
    )
    raw.execute(
        "INSERT INTO audit_entries (audit_entry_id, tenant_id, action, resource_type, resource_id, result,"
        " metadata, created_at) VALUES (?, ?, 'tenant.create', 'tenant', ?, 'allowed', '{}', ?)",
        (secrets.token_bytes(16), tenant_id, tenant_id.hex(), now),
    )
    raw.execute("COMMIT")
