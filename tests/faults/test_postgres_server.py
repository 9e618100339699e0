"""Effects of a PostgreSQL server on its clients: restarts, limits, deadlocks and server settings."""

import gc
import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

import psycopg
import pytest
from fault_tools import add_tenant, at, document, unsound
from postgres_workers import write_each

from akidb.deployment.local import LocalOperations, open_local
from akidb.domain.documents import Page
from akidb.domain.errors import Unavailable
from akidb.domain.ids import TenantId
from akidb.metadata.store import PostgresMetadataStore
from akidb.operations.documents import CountDocuments, GetDocuments, ScanDocuments, UpsertDocuments
from akidb.operations.tenants import CreateTenant, GetTenant, ListTenants
from akidb.ports.conflicts import TransactionConflict
from akidb.services.retries import MAX_ATTEMPTS, retried
from akidb.settings import Settings
from akidb.sql import postgresql_session
from akidb.sql.postgresql import TRUSTED_IDLE_SECONDS
from postgres import Server, running

T = TypeVar("T")

SLUG = "shared"
THREADS = 64


@contextmanager
def opened(url: str, **settings: Any) -> Iterator[LocalOperations]:
    operations = open_local(url, Settings(**settings))
    try:
        yield operations
    finally:
        operations.close()


@pytest.fixture(scope="module")
def durable_server() -> Iterator[Server]:
    """A server of its own, which may be restarted, and waits for its disk."""
    with running(durable=True) as server:
        yield server


class Writers:
    """Threads that write documents and make tenants whatever they are answered, and note what was done."""

    def __init__(self, operations: LocalOperations, number: int) -> None:
        self._operations = operations
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(at,)) for at in range(number)]
        self.documents: list[str] = []
        self.tenants: list[str] = []
        self.refused: Counter[bool] = Counter()
        self.surprises: list[BaseException] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def await_more(self) -> None:
        """Until twenty more writes of each kind were acknowledged."""
        wanted = len(self.documents) + 20, len(self.tenants) + 20
        until = time.monotonic() + 30
        while (len(self.documents), len(self.tenants)) < wanted or len(self.tenants) < wanted[1]:
            assert time.monotonic() < until, (self.refused, self.surprises)
            time.sleep(0.01)

    def _write(self, number: int) -> None:
        for turn in itertools.count():
            if self._stop.is_set():
                return
            try:
                self._operations.perform(
                    UpsertDocuments(**at(SLUG)._asdict(), documents=[document(f"{number}-{turn}")])
                )
                self.documents.append(f"{number}-{turn}")
                self._operations.perform(CreateTenant(name=f"T {number}-{turn}"))
                self.tenants.append(f"t-{number}-{turn}")
            except Unavailable as error:
                self.refused["PostgreSQL" in error.message] += 1
                time.sleep(0.01)
            except BaseException as error:  # noqa: BLE001 - told by the test
                self.surprises.append(error)
                return


def everything(read: Callable[[str | None], Page[T]]) -> list[T]:
    """All pages of a list."""
    page = read(None)
    items = list(page.items)
    while page.next_cursor is not None:
        page = read(page.next_cursor)
        items += page.items
    return items


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_server_restart_loses_no_acknowledged_write(durable_server: Server, mode: str) -> None:
    with opened(durable_server.url(), postgresql_pool_size=4) as operations:
        add_tenant(operations, SLUG, "c")
        with Writers(operations, 8) as writers:
            writers.await_more()
            durable_server.restart(mode)
            writers.await_more()
        assert writers.surprises == []
        assert set(writers.refused) == {True}  # the error says which store it is
        documents = everything(
            lambda cursor: operations.perform(ScanDocuments(**at(SLUG)._asdict(), limit=1000, cursor=cursor))
        )
        assert {each.id for each in documents} >= set(writers.documents)
        tenants = everything(lambda cursor: operations.perform(ListTenants(limit=1000, cursor=cursor)))
        assert {each.slug for each in tenants} >= set(writers.tenants)
        time.sleep(TRUSTED_IDLE_SECONDS)  # what was not used since is asked before it is used again
        assert unsound(operations) == []


def test_server_restart_causes_no_error_for_idle_client(durable_server: Server) -> None:
    with opened(durable_server.url(), postgresql_pool_size=4) as operations:
        add_tenant(operations, SLUG, "c")
        assert write_each(operations, SLUG, ["a", "b", "c", "d"]) == {"written": 4}
        durable_server.restart("fast")
        time.sleep(TRUSTED_IDLE_SECONDS)
        assert write_each(operations, SLUG, ["e", "f", "g", "h"]) == {"written": 4}
        assert operations.perform(CountDocuments(**at(SLUG)._asdict())) == 8


def test_lost_connection_causes_at_most_one_error(postgres_server: Server, postgres_url: str) -> None:
    """Each of the pools notices it once: with the first of its connections the others go."""
    with opened(postgres_url, postgresql_pool_size=4) as operations:
        add_tenant(operations, SLUG, "c")
        write_each(operations, SLUG, [str(number) for number in range(16)])
        name = postgres_url.partition("?")[0].rpartition("/")[2]
        postgres_server.run(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        refused = 0
        for number in range(12):
            try:
                operations.perform(
                    UpsertDocuments(**at(SLUG)._asdict(), documents=[document(f"later {number}")])
                )
                operations.perform(CreateTenant(name=f"Later {number}"))
            except Unavailable:
                refused += 1
        assert refused <= 3
        assert operations.perform(CountDocuments(**at(SLUG)._asdict())) >= 16 + 12 - refused


def test_64_threads_share_pool_of_8_connections(postgres_url: str) -> None:
    with opened(postgres_url, postgresql_pool_size=8) as operations:
        add_tenant(operations, SLUG, "c")
        peak = 0
        done = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.is_set():
                figures = operations._runtime.metadata.figures()
                peak = max(peak, figures[0] + figures[1])
                time.sleep(0.001)

        def read() -> None:
            for _ in range(10):
                operations.perform(GetTenant(tenant=SLUG))
                operations.perform(CountDocuments(**at(SLUG)._asdict()))

        watcher = threading.Thread(target=watch)
        watcher.start()
        readers = [threading.Thread(target=read) for _ in range(THREADS // 2)]
        for thread in readers:
            thread.start()
        assert write_each(operations, SLUG, [str(n) for n in range(THREADS // 2)]) == {"written": 32}
        for thread in readers:
            thread.join()
        done.set()
        watcher.join()
        assert 2 <= peak <= 8


def test_server_without_free_connection_is_unavailable(
    postgres_server: Server, empty_postgres_url: str
) -> None:
    limited = postgres_server.as_user(empty_postgres_url, "")
    user = limited.partition("//")[2].partition(":")[0]
    name = limited.partition("?")[0].rpartition("/")[2]
    postgres_server.run(f"GRANT CREATE ON DATABASE {name} TO {user}")
    with opened(limited, postgresql_pool_size=4) as operations:
        add_tenant(operations, SLUG, "c")
        postgres_server.run(f"ALTER ROLE {user} CONNECTION LIMIT 1")
        with pytest.raises(Unavailable, match="too many connections"):
            PostgresMetadataStore(limited)
        assert operations.perform(GetTenant(tenant=SLUG)).slug == SLUG  # with the connections that it has


def meeting(database: PostgresMetadataStore, one: TenantId, other: TenantId, meet: Any) -> None:
    """Lock two tenants, in this order, when another has locked the first of its own."""
    with database.transaction() as tx:
        tx.tenants.get(one)
        meet()
        tx.tenants.get(other)
        tx.outbox.add(one, "tenant", other)


def test_deadlock_is_retried_transparently(postgres_url: str) -> None:
    with opened(postgres_url) as operations:
        first, second = (operations.perform(CreateTenant(name=name)).tenant_id for name in ("One", "Two"))
        store = operations._runtime.metadata
        assert isinstance(store, PostgresMetadataStore)
        barrier = threading.Barrier(2)
        attempts: Counter[TenantId] = Counter()
        errors: list[BaseException] = []

        def cross(one: TenantId, other: TenantId) -> None:
            def attempt() -> None:
                attempts[one] += 1
                # Only the first time both stand in each other's way.
                meet: Callable[[], object] = barrier.wait if attempts[one] == 1 else int
                meeting(store, one, other, meet)

            try:
                retried(attempt, "metadata")
            except BaseException as error:  # noqa: BLE001 - told by the test
                errors.append(error)

        threads = [threading.Thread(target=cross, args=pair) for pair in ((first, second), (second, first))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert sorted(attempts.values()) == [1, 2]
        with store.read() as tx:
            assert tx.outbox.depth() == 2


def test_persistent_deadlock_is_reported_after_retries(postgres_url: str) -> None:
    store = PostgresMetadataStore(postgres_url)
    attempts = 0

    def attempt() -> None:
        nonlocal attempts
        attempts += 1
        with store.transaction() as tx:
            tx._connection.exec_driver_sql(  # type: ignore[attr-defined]
                "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'deadlock_detected'; END $$"
            )

    with pytest.raises(TransactionConflict, match="40P01"):
        retried(attempt, "metadata")
    assert attempts == MAX_ATTEMPTS
    store.close()


@pytest.mark.parametrize(
    "setting",
    [
        "default_transaction_isolation = 'serializable'",
        "default_transaction_isolation = 'repeatable read'",
        "default_transaction_read_only = on",
        "timezone = 'Asia/Tokyo'",
        "search_path = 'public'",
        "DateStyle = 'German, DMY'",
        "bytea_output = 'escape'",
        "synchronous_commit = off",
        "standard_conforming_strings = off",
        "transform_null_equals = on",
        "IntervalStyle = 'iso_8601'",
        "client_encoding = 'LATIN1'",
        "statement_timeout = '200ms'",
        "lock_timeout = '200ms'",
        "idle_in_transaction_session_timeout = '200ms'",
        # On a busy machine a session in use is idle for so long.
        pytest.param("idle_session_timeout = '200ms'", marks=pytest.mark.slow),
    ],
)
def test_database_level_settings_do_not_change_behaviour(
    postgres_server: Server, postgres_url: str, setting: str
) -> None:
    name = postgres_url.partition("?")[0].rpartition("/")[2]
    postgres_server.run(f"ALTER DATABASE {name} SET {setting}")
    with opened(postgres_url) as operations:
        add_tenant(operations, SLUG, "c")
        ids = [f"{number:02}" for number in range(16)]
        assert write_each(operations, SLUG, ids) == {"written": 16}
        assert [each.id for each in operations.perform(ScanDocuments(**at(SLUG)._asdict())).items] == ids
        [found] = operations.perform(GetDocuments(**at(SLUG)._asdict(), ids=["03"], include=["vector"]))
        assert found.vector is not None
        assert found.vector.tolist() == document("03")["vector"]
        tenant = operations.perform(GetTenant(tenant=SLUG))
        assert tenant == operations.perform(ListTenants()).items[0]
        assert abs(tenant.created_at.timestamp() - time.time()) < 60
        assert unsound(operations) == []
        with operations._runtime.tenant_stores._database.read() as connection:  # type: ignore[attr-defined]
            assert connection.exec_driver_sql("SHOW transaction_isolation").scalar_one() == "read committed"
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
            for timeout in ("statement", "idle_in_transaction_session", "idle_session"):
                assert connection.exec_driver_sql(f"SHOW {timeout}_timeout").scalar_one() == "0"
            assert connection.exec_driver_sql("SHOW lock_timeout").scalar_one() == "1min"


def test_replica_role_is_rejected(postgres_server: Server, postgres_url: str) -> None:
    """It switches off the references and triggers that decide."""
    name = postgres_url.partition("?")[0].rpartition("/")[2]
    postgres_server.run(f"ALTER DATABASE {name} SET session_replication_role = replica")
    with pytest.raises(Unavailable, match="session_replication_role is replica"):
        PostgresMetadataStore(postgres_url)


def test_unsupported_server_version_is_rejected(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql_session, "MINIMUM_VERSION", 990_000)
    with pytest.raises(Unavailable, match="the server is older than PostgreSQL 16"):
        PostgresMetadataStore(postgres_url)


def test_user_without_create_privilege_can_use_precreated_schemas(
    postgres_server: Server, empty_postgres_url: str
) -> None:
    url = postgres_server.as_user(empty_postgres_url, "")
    user = url.partition("//")[2].partition(":")[0]
    with pytest.raises(Unavailable, match="permission denied"):
        PostgresMetadataStore(url)
    with psycopg.connect(empty_postgres_url, autocommit=True) as connection:
        for schema in ("akidb_metadata", "akidb_documents"):
            connection.execute(f"CREATE SCHEMA {schema} AUTHORIZATION {user}".encode())
    with opened(url) as operations:
        add_tenant(operations, SLUG, "c")
        assert write_each(operations, SLUG, ["x"]) == {"written": 1}


def test_forked_child_does_not_use_connections_of_parent(postgres_url: str) -> None:
    with opened(postgres_url) as operations:
        add_tenant(operations, SLUG, "c")
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                operations.perform(GetTenant(tenant=SLUG))
            except Unavailable as error:
                os.write(writing, error.message.encode())
            del operations
            gc.collect()  # which must not say goodbye to the server on the parent's connections
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            assert pipe.read() == "the connection was opened before a fork: connect again"
        os.waitpid(pid, 0)
        assert operations.perform(GetTenant(tenant=SLUG)).slug == SLUG
        assert write_each(operations, SLUG, ["x"]) == {"written": 1}
