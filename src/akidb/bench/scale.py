"""The same workloads in a store of 100,000 tenants and 1,000,000 collections, and opening it after a kill."""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from akidb.bench.measure import Line, Series, Work, at_most, in_turns, latency_lines, times
from akidb.deployment.local import open_local
from akidb.deployment.note import METADATA_NAME
from akidb.operations.tenants import CreateTenant, GetTenant, ListTenants
from akidb.settings import load
from akidb.sql.sqlite_library import library

TENANTS = 100_000
COLLECTIONS_EACH = 10
PAGE = 100
_SMALL = "the small store"

_TIME = "'2026-01-31T09:15:' || printf('%02d', n / 10000 % 60) || '.' || printf('%06d', n % 1000000) || 'Z'"
_FILL = (
    f"""
    INSERT INTO tenants (tenant_id, name, name_folded, slug, status, memory_quota_bytes,
        storage_quota_bytes, qps_quota, metadata, version, created_at, updated_at)
    SELECT randomblob(16), 'Tenant ' || n, 'tenant ' || n, 'tenant-' || n, 'active', 34359738368,
        1099511627776, 200, '{{}}', 1, {_TIME}, {_TIME} FROM numbers""",
    """
    INSERT INTO databases (database_id, tenant_id, name, description, state, schema_version, version,
        created_at, updated_at)
    SELECT randomblob(16), tenant_id, 'kb', '', 'ready', 1, 1, created_at, updated_at FROM tenants""",
    f"""
    INSERT INTO collections (collection_id, tenant_id, database_id, name, dimension, metric, hnsw_m,
        hnsw_ef_construction, max_document_count, state, version, created_at, updated_at)
    SELECT randomblob(16), tenant_id, database_id, 'collection-' || n, 384, 'cosine', 16, 128, 50000000,
        'ready', 1, created_at, updated_at FROM databases JOIN numbers ON n < {COLLECTIONS_EACH}""",
)
_WRITE_AND_HANG = """
import sys, time
from pathlib import Path
from akidb.deployment.local import open_local
from akidb.operations.tenants import CreateTenant
from akidb.settings import load
operations = open_local(Path(sys.argv[1]), load())
for number in range(200):
    operations.perform(CreateTenant(name=f"Before the kill {sys.argv[2]} {number}"))
print("written", flush=True)
time.sleep(600)
"""


def run(suite: str, small: dict[str, Series]) -> list[Line]:
    """Return the results of this suite, next to those of the small store."""
    with _large_store() as directory:
        operations = open_local(directory, load())
        try:
            lines = _latencies(suite, operations, small)
        finally:
            operations.close()
        return [*lines, *_open_after_kill(suite, directory)]


@contextmanager
def _large_store() -> Iterator[Path]:
    with TemporaryDirectory(prefix="akidb-bench-") as name:
        directory = Path(name) / "data"
        open_local(directory, load()).close()
        connection = library.connect(directory / METADATA_NAME, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=OFF")  # filling is not measured
        connection.execute("CREATE TEMP TABLE numbers (n INTEGER PRIMARY KEY)")
        connection.executemany("INSERT INTO numbers VALUES (?)", ((n,) for n in range(TENANTS)))
        for statement in _FILL:
            connection.execute(statement)
        connection.close()
        yield directory


def _latencies(suite: str, operations: Any, small: dict[str, Series]) -> list[Line]:
    chance = random.Random(7)
    page = operations.perform(ListTenants(limit=1000))
    ids = [tenant.tenant_id for tenant in page.items]
    works: dict[str, Work] = {
        "get a tenant by ID": lambda _: operations.perform(GetTenant(tenant=chance.choice(ids))),
        "get a tenant by slug": lambda _: operations.perform(
            GetTenant(tenant=f"tenant-{chance.randrange(TENANTS)}")
        ),
        "create a tenant, durable": lambda n: operations.perform(CreateTenant(name=f"New {n}")),
        f"list {PAGE}": lambda _: operations.perform(ListTenants(limit=PAGE)),
    }
    lines: list[Line] = []
    for name, work in works.items():
        rounds = 1000 if "create" in name else 2000
        sides = {"akidb": in_turns({"akidb": work}, rounds)["akidb"], _SMALL: small[name]}
        lines += latency_lines(
            suite, f"{name}, of {TENANTS:,} with 1,000,000 collections", sides, times(_SMALL, 2, p95=True)
        )
    return lines


def _open_after_kill(suite: str, directory: Path) -> list[Line]:
    seconds = []
    for number in range(5):
        command = [sys.executable, "-c", _WRITE_AND_HANG, str(directory), str(number)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"written\n"
            process.kill()
        started = time.perf_counter()
        operations = open_local(directory, load())
        operations.perform(GetTenant(tenant=f"before-the-kill-{number}-199"))
        seconds.append(time.perf_counter() - started)
        operations.close()
    taken = {"akidb": Series(seconds)}
    return latency_lines(suite, "open that store after a kill, and get a tenant", taken, at_most(2_000_000))
