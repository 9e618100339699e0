"""Measure the effect of connection and log settings, as published in docs/observability.md.

`python tools/measure_pools.py [PART ...] [--postgresql URL]` prints tables in Markdown. A row is one setting,
measured on the adapters; on raw SQLite if the adapters lack the setting (checkpoints).
"""

import argparse
import itertools
import os
import resource
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from akidb.documents.sqlite_pool import SqliteTenantStores
from akidb.domain.entities import Tenant
from akidb.domain.ids import IdGenerator, StoreId, TenantId
from akidb.metadata.store import PostgresMetadataStore, SqliteMetadataStore, SqlMetadataStore
from akidb.ports.metadata import MetadataTransaction
from akidb.sql import sqlite, sqlite_library
from akidb.sql.database import driver_of
from akidb.sql.files import create_file
from akidb.sql.gate import FairGate

SECONDS = 1.0
TURN_SECONDS = 0.4
TURNS = 24
ROUNDS = 5
"""Compared settings alternate, and medians are printed, since the machine is shared."""
WRITERS = 8
COMMITS_IN_1000_PAGES = 250
"""An insert into a table with two indexes writes about 4 pages to the log."""
_ids = IdGenerator(lambda: time.time_ns() // 1_000_000, secrets.randbits)


def table(title: str, head: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    """Print one table."""
    print(f"\n{title}\n\n| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(map(_cell, row))} |", flush=True)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"
    return str(value)


def together(threads: int, work: Callable[[], object]) -> tuple[float, float, float]:
    """Return calls per second of `threads` threads, and the median and 99th percentile of a call in us."""
    taken: list[list[float]] = [[] for _ in range(threads)]
    start, until = threading.Barrier(threads), time.perf_counter() + SECONDS + 0.2

    def run(own: list[float]) -> None:
        work()
        start.wait()
        while (begun := time.perf_counter()) < until:
            work()
            own.append(time.perf_counter() - begun)

    running = [threading.Thread(target=run, args=(own,)) for own in taken]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    every = sorted(seconds for own in taken for seconds in own)
    busy = sum(every) / threads
    return len(every) / busy, every[len(every) // 2] * 1e6, every[int(len(every) * 0.99)] * 1e6


def new_tenant() -> Tenant:
    now = datetime.now(UTC)
    tenant_id = _ids.new(TenantId)
    return Tenant(
        tenant_id=tenant_id, name="T", slug=f"t{tenant_id.raw.hex()}", created_at=now, updated_at=now
    )


def create(store: SqlMetadataStore) -> None:
    with store.transaction() as tx:
        tx.tenants.create(new_tenant())


def get(store: SqlMetadataStore, tenant_id: TenantId) -> None:
    with store.read() as tx:
        tx.tenants.get(tenant_id)


def page_of(tx: MetadataTransaction) -> None:
    tx.tenants.list(status=None, external_id=None, deleted=False, limit=100, cursor=None)


def first_tenant(store: SqlMetadataStore) -> TenantId:
    tenant = new_tenant()
    with store.transaction() as tx:
        tx.tenants.create(tenant)
    return tenant.tenant_id


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="akidb-measure-") as made:
        yield Path(made)


@contextmanager
def changed(name: str, value: int) -> Iterator[None]:
    """Temporarily change a constant of `akidb.sql.sqlite` or `akidb.sql.sqlite_library`."""
    module = sqlite if hasattr(sqlite, name) else sqlite_library
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def measure_idle() -> None:
    """Readers that hold a connection for as long as two pages of a list take."""
    sizes, loads = (0, 1, 2, 4, 8, 16), (1, 4, 16)
    found: dict[int, list[list[float]]] = {idle: [[] for _ in loads] for idle in sizes}
    for _ in range(ROUNDS):
        for idle in sizes:
            with folder() as place, changed("MAX_IDLE_CONNECTIONS", idle):
                store = SqliteMetadataStore(place / "metadata.db")
                with store.transaction() as tx:
                    for _ in range(200):
                        tx.tenants.create(new_tenant())
                for at, threads in enumerate(loads):
                    found[idle][at].append(together(threads, partial(read_pages, store))[0])
                store.close()
    table(
        "SQLite: connections kept idle (`MAX_IDLE_CONNECTIONS`); snapshots of two pages per second",
        ("idle connections", *(f"{threads} threads" for threads in loads)),
        [(idle, *map(median, found[idle])) for idle in sizes],
    )


def read_pages(store: SqlMetadataStore) -> None:
    with store.snapshot() as tx:
        for _ in range(2):
            page_of(tx)


def measure_statements() -> None:
    """Forty statements in rotation, about as many as the metadata store has."""
    rows: list[tuple[object, ...]] = []
    texts = [f"SELECT {number}, name FROM tenants WHERE slug = ?" for number in range(40)]
    for kept in (8, 64, 256):
        with folder() as place, changed("CACHED_STATEMENTS", kept):
            store = SqliteMetadataStore(place / "metadata.db")
            store.close()
            file = sqlite.SqliteFile(place / "metadata.db")
            turn = itertools.cycle(texts)

            def read(file: sqlite.SqliteFile = file, turn: Iterator[str] = turn) -> None:
                with file.read() as connection:
                    driver_of(connection).execute(next(turn), ("none",)).fetchall()

            rows.append((kept, together(1, read)[1]))
            file.close()
    title = "SQLite: statements that a connection keeps compiled (`CACHED_STATEMENTS`); 40 reads in turn"
    table(title, ("statements", "p50 us"), rows)


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def measure_stores() -> None:
    """The cost and the benefit of an open tenant store."""
    count = 200
    with folder() as place:
        stores = SqliteTenantStores(place, max_open=count)
        known = [(_ids.new(TenantId), _ids.new(StoreId)) for _ in range(count)]
        for tenant_id, store_id in known:
            stores.create(tenant_id, store_id)
        stores.close()
        stores = SqliteTenantStores(place, max_open=count)
        before, files = _resident_bytes(), _descriptors()
        taken = []
        for each in (*known, *known):
            begun = time.perf_counter()
            with stores.open(*each, lambda _: None) as store:
                store.usage()
            taken.append(time.perf_counter() - begun)
        opened, again = sorted(taken[:count]), sorted(taken[count:])
        row = (
            opened[count // 2] * 1e6,
            again[count // 2] * 1e6,
            (_resident_bytes() - before) / count / 1e6,
            (_descriptors() - files) / count,
        )
        table(
            "SQLite: an open tenant store (`max_open_stores`)",
            ("opened and read, p50 us", "read when open, p50 us", "MB each", "descriptors each"),
            [row],
        )
        stores.close()


def measure_checkpoints() -> None:
    """When to checkpoint, and how. In short turns, since a shared disk is noisy."""
    ways = {
        "SQLite's own, at 1,000 pages": (1000, ""),
        "SQLite's own, at 250 pages": (250, ""),
        "SQLite's own, at 4,000 pages": (4000, ""),
        "explicit, PASSIVE, after 1,000 pages": (0, "PASSIVE"),
        "explicit, TRUNCATE, after 1,000 pages": (0, "TRUNCATE"),
    }
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in ways}
    for _ in range(TURNS):
        for name, way in ways.items():
            found[name].append(_commits(*way))
    first = next(iter(found.values()))
    rows = []
    for name, figures in found.items():
        shares = sorted(own[0] / beside[0] for own, beside in zip(figures, first, strict=True))
        spread = f"{shares[TURNS // 4]:.2f}-{shares[TURNS * 3 // 4]:.2f}"
        rows.append((name, *map(median, zip(*figures, strict=True)), median(shares), spread))
    head = (
        "checkpoints",
        "commits/s",
        "p50 us",
        "p99 us",
        "max us",
        "log, bytes",
        "of the first's rate",
        "quartiles",
    )
    table(f"SQLite: durable commits of {WRITERS} writers at one gate", head, rows)


def _commits(automatic: int, explicit: str) -> tuple[float, float, float, float, float]:
    with folder() as place:
        path = place / "measured.db"
        create_file(path)
        idle = [_connected(path, automatic) for _ in range(WRITERS)]
        idle[0].execute("CREATE TABLE t (id BLOB PRIMARY KEY, slug TEXT UNIQUE, body TEXT) STRICT")
        gate = FairGate(path.name)
        commits = 0

        def write() -> None:
            nonlocal commits
            with gate.pass_through():
                connection = idle.pop()
                connection.execute("BEGIN IMMEDIATE")
                key = secrets.token_bytes(16)
                connection.execute("INSERT INTO t VALUES (?, ?, ?)", (key, key.hex(), "x" * 300))
                connection.execute("COMMIT")
                commits += 1
                if explicit and commits % COMMITS_IN_1000_PAGES == 0:
                    connection.execute(f"PRAGMA wal_checkpoint({explicit})").fetchall()
                idle.append(connection)

        taken = _timed_writers(write)
        size = path.with_name("measured.db-wal").stat().st_size
        for connection in idle:
            connection.close()
        return (*taken, float(size))


def _connected(path: Path, automatic: int) -> Any:
    connection = sqlite_library.library.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA busy_timeout=0")
    connection.execute(f"PRAGMA wal_autocheckpoint={automatic}")
    return connection


def _timed_writers(write: Callable[[], None]) -> tuple[float, float, float, float]:
    taken: list[float] = []
    until = time.perf_counter() + TURN_SECONDS

    def run() -> None:
        while (begun := time.perf_counter()) < until:
            write()
            taken.append(time.perf_counter() - begun)

    threads = [threading.Thread(target=run) for _ in range(WRITERS)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    every = sorted(taken)
    rate = len(every) / (time.perf_counter() - begun)
    return rate, every[len(every) // 2] * 1e6, every[int(len(every) * 0.99)] * 1e6, every[-1] * 1e6


def measure_postgresql(url: str) -> None:
    """Pool sizes for the threads of a server."""
    sizes = (2, 4, 8, 16, 32)
    gets: dict[int, list[float]] = {size: [] for size in sizes}
    creates: dict[int, list[float]] = {size: [] for size in sizes}
    waits: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(ROUNDS):
        for size in sizes:
            store = PostgresMetadataStore(url, pool_size=size)
            gets[size].append(together(32, partial(get, store, first_tenant(store)))[0])
            rate, _, p99 = together(32, partial(create, store))
            creates[size].append(rate)
            waits[size].append(p99 / 1000)
            store.close()
    table(
        "PostgreSQL: connections of a pool, for 32 threads (`postgresql_pool_size`)",
        ("connections", "gets/s", "creates/s", "create p99 ms"),
        [(size, median(gets[size]), median(creates[size]), median(waits[size])) for size in sizes],
    )
    _measure_connecting(url)


def _measure_connecting(url: str) -> None:
    import psycopg

    def connect() -> None:
        psycopg.connect(url).close()

    with psycopg.connect(url, autocommit=True) as open_connection:
        _, connect_us, _ = together(1, connect)
        _, asked_us, _ = together(1, lambda: open_connection.execute("SELECT 1"))
    table("PostgreSQL: reaching it", ("connect, p50 us", "`SELECT 1`, p50 us"), [(connect_us, asked_us)])


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgresql", metavar="URL", help="an empty database for measuring the pool")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)}; all by default")
    given = parser.parse_args()
    print(f"SQLite {sqlite_library.library.sqlite_version}, {os.cpu_count()} cores")
    for part in given.parts or PARTS:
        PARTS[part]()
    if given.postgresql:
        measure_postgresql(given.postgresql)


PARTS = {
    "idle": measure_idle,
    "statements": measure_statements,
    "stores": measure_stores,
    "checkpoints": measure_checkpoints,
}


if __name__ == "__main__":
    main()
