"""Tenants: get, create durably, list, concurrent writers; in a small store, a large one, on PostgreSQL.

Compared with the raw driver on the same tables and triggers, and with Chroma.
"""

from typing import Any

from akidb.bench import crowd, postgresql, scale
from akidb.bench.chroma import started
from akidb.bench.fixtures import copied_schema, fresh_store, insert_raw
from akidb.bench.measure import Line, Series, Work, at_most, in_turns, latency_lines, on_top_of
from akidb.operations.tenants import CreateTenant, GetTenant, ListTenants

SUITE = "metadata"
PAGE = 100
GET_BY_ID = "get a tenant by ID"
GET_BY_SLUG = "get a tenant by slug"
CREATE = "create a tenant, durable"
LIST = f"list {PAGE}"


def run() -> list[Line]:
    """Return the results of this suite."""
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
"""Lines of the report, and AkiDB's own times by workload."""


def _get(operations: Any, raw: Any, peer: Any) -> Part:
    insert_raw(raw, 0)
    tenant_id = operations.perform(GetTenant(tenant="bench")).tenant_id
    raw_id = raw.execute("SELECT tenant_id FROM tenants").fetchone()[0]
    sides: dict[str, Work] = {
        "akidb": lambda _: operations.perform(GetTenant(tenant=tenant_id)),
        "raw sqlite3": lambda _: raw.execute(
            "SELECT * FROM tenants WHERE tenant_id = ? AND deleted_at IS NULL", (raw_id,)
        ).fetchall(),
    }
    by_id = in_turns(sides, 2000)
    sides = {
        "akidb": lambda _: operations.perform(GetTenant(tenant="bench")),
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
        "akidb": lambda n: operations.perform(CreateTenant(name=f"Tenant {n}")),
        "raw sqlite3": lambda n: insert_raw(raw, n + 1),
    }
    chroma = None if peer is None else ("chroma", lambda n: peer[1].create_tenant(f"tenant-{n}"))
    taken = in_turns(sides, 1000, peer=chroma)
    return latency_lines(SUITE, CREATE, taken, on_top_of("raw sqlite3", 60)), {CREATE: taken["akidb"]}


def _list(operations: Any, raw: Any, peer: Any) -> Part:
    statement = "SELECT * FROM tenants WHERE deleted_at IS NULL ORDER BY created_at, tenant_id LIMIT ?"
    sides: dict[str, Work] = {
        "akidb": lambda _: operations.perform(ListTenants(limit=PAGE)),
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
