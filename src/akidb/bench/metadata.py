"""Tenants: get, create durably, list, many writers at once; in a small store, a large one, on PostgreSQL.

Beside the raw driver on the same tables with the same triggers, and Chroma.
"""

import secrets
from typing import Any

from akidb.bench import crowd, postgresql, scale
from akidb.bench.chroma import started
from akidb.bench.fixtures import copied_schema, fresh_store
from akidb.bench.measure import Line, Series, Work, at_most, in_turns, latency_lines, on_top_of

SUITE = "metadata"
PAGE = 100
GET_BY_ID = "get a tenant by ID"
GET_BY_SLUG = "get a tenant by slug"
CREATE = "create a tenant, durable"
LIST = f"list {PAGE}"


def run() -> list[Line]:
    """All figures of this suite."""
    lines: list[Line] = []
    small: dict[str, Series] = {}
    with fresh_store() as operations:
        assert operations.directory is not None
        with copied_schema(operations.directory / "metadata.db") as raw, started() as peer:
            for part in (_get, _create, _list):
                made, taken = part(operations, raw, peer)
                lines += made
                small |= taken
    return [*lines, *crowd.run(SUITE), *scale.run(SUITE, small), *postgresql.run(SUITE)]


Part = tuple[list[Line], dict[str, Series]]
"""Lines of the report, and AkiDB's own figures by the work."""


def _get(operations: Any, raw: Any, peer: Any) -> Part:
    insert_raw(raw, 0)
    tenant_id = operations.tenants.get("bench").tenant_id
    raw_id = raw.execute("SELECT tenant_id FROM tenants").fetchone()[0]
    sides: dict[str, Work] = {
        "akidb": lambda _: operations.tenants.get(tenant_id),
        "raw sqlite3": lambda _: raw.execute(
            "SELECT * FROM tenants WHERE tenant_id = ? AND deleted_at IS NULL", (raw_id,)
        ).fetchall(),
    }
    by_id = in_turns(sides, 2000)
    sides = {
        "akidb": lambda _: operations.tenants.get("bench"),
        "raw sqlite3": lambda _: raw.execute(
            "SELECT * FROM tenants WHERE slug = ? AND deleted_at IS NULL", ("raw-0",)
        ).fetchall(),
    }
    chroma = None if peer is None else ("chroma", lambda _: peer[1].get_tenant("default_tenant"))
    by_slug = in_turns(sides, 2000, peer=chroma)
    lines = latency_lines(SUITE, GET_BY_ID, by_id, at_most(35, 60))
    lines += latency_lines(SUITE, GET_BY_SLUG, by_slug, at_most(35, 60))
    return lines, {GET_BY_ID: by_id["akidb"], GET_BY_SLUG: by_slug["akidb"]}


def _create(operations: Any, raw: Any, peer: Any) -> Part:
    sides: dict[str, Work] = {
        "akidb": lambda n: operations.tenants.create(f"Tenant {n}"),
        "raw sqlite3": lambda n: insert_raw(raw, n + 1),
    }
    chroma = None if peer is None else ("chroma", lambda n: peer[1].create_tenant(f"tenant-{n}"))
    taken = in_turns(sides, 1000, peer=chroma)
    return latency_lines(SUITE, CREATE, taken, on_top_of("raw sqlite3", 60)), {CREATE: taken["akidb"]}


def _list(operations: Any, raw: Any, peer: Any) -> Part:
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
    taken = in_turns(sides, 500, peer=chroma)
    return latency_lines(SUITE, LIST, taken, at_most(300)), {LIST: taken["akidb"]}


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
