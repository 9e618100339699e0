"""AkiDB behind a pooler: session mode works, other modes are refused before anything is created."""

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest
from fault_tools import add_tenant, at, document, unsound

from akidb.deployment.local import LocalOperations, open_local
from akidb.domain.errors import Unavailable
from akidb.operations.archives import CreateBackup
from akidb.operations.documents import CountDocuments, UpsertDocuments
from akidb.operations.tenants import DeleteTenant, GetTenant, PurgeTenant
from akidb.settings import Settings
from akidb.sql.database import driver_of
from akidb.sql.postgresql import PostgresDatabase
from pgbouncer import pooled
from postgres import Server

OWN_SCHEMAS = {"akidb_metadata", "akidb_documents"}
IGNORING = "extra_float_digits,options"
"""What operators set when a client sends the startup parameter `options`."""


@contextmanager
def opened(url: str, **settings: Any) -> Iterator[LocalOperations]:
    operations = open_local(url, Settings(default_model="hash", **settings))
    try:
        yield operations
    finally:
        operations.close()


def schemas_with_tables(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT DISTINCT schemaname FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        return {name for (name,) in found.fetchall()}


def use(operations: LocalOperations) -> None:
    """Operations of all kinds: with locks, prepared statements, cursors, and a snapshot."""
    add_tenant(operations, "shared", "c")
    where = at("shared")._asdict()
    for number in range(12):  # the driver prepares a statement at its sixth use
        operations.perform(UpsertDocuments(**where, documents=[document(f"{number}")]))
        assert operations.perform(CountDocuments(**where)) == number + 1
    operations.perform(CreateBackup(), sink=io.BytesIO())
    assert unsound(operations) == []
    operations.perform(DeleteTenant(tenant="shared"))
    operations.perform(PurgeTenant(tenant="shared"))


@pytest.mark.parametrize("ignored", ["extra_float_digits", IGNORING])
def test_session_pooling_works(postgres_server: Server, empty_postgres_url: str, ignored: str) -> None:
    with (
        pooled(postgres_server, empty_postgres_url, ignore_startup_parameters=ignored) as url,
        opened(url) as operations,
    ):
        use(operations)
    assert schemas_with_tables(empty_postgres_url) == OWN_SCHEMAS


def test_sessions_of_a_pooler_that_does_not_reset_them_are_reset(
    postgres_server: Server, postgres_url: str
) -> None:
    """The next client gets the settings, prepared statements and temporary tables of the one before."""
    with pooled(postgres_server, postgres_url, server_reset_query="", default_pool_size="8") as url:
        with ExitStack() as stack:
            for _ in range(8):
                left = stack.enter_context(psycopg.connect(url, autocommit=True))
                left.execute("CREATE TEMPORARY TABLE tenants (nothing int)")
                left.execute("PREPARE _pg3_0 AS SELECT 1")
                left.execute("SET search_path = public")
                left.execute("SET TimeZone = 'Asia/Tokyo'")
                left.execute("SET default_transaction_read_only = on")
        for _ in range(2):
            with opened(url, postgresql_pool_size=2) as operations:
                use(operations)


@pytest.mark.parametrize(
    ("mode", "size", "round_robin"),
    [
        ("transaction", "1", "0"),
        ("transaction", "20", "0"),
        ("transaction", "20", "1"),
        ("statement", "20", "0"),
    ],
)
def test_other_pooling_is_refused_before_anything_is_created(
    postgres_server: Server, empty_postgres_url: str, mode: str, size: str, round_robin: str
) -> None:
    with (
        pooled(
            postgres_server,
            empty_postgres_url,
            pool_mode=mode,
            default_pool_size=size,
            server_round_robin=round_robin,
            ignore_startup_parameters=IGNORING,
        ) as url,
        pytest.raises(Unavailable, match=r"session for each connection; .* pool_mode = session"),
    ):
        open_local(url, Settings())
    assert schemas_with_tables(empty_postgres_url) == set()


def test_transaction_pooling_is_refused_while_sessions_are_busy(
    postgres_server: Server, postgres_url: str
) -> None:
    """The server session that a connection has had is taken by another client."""
    with (
        pooled(postgres_server, postgres_url, pool_mode="transaction", default_pool_size="3") as url,
        psycopg.connect(url) as first,
        psycopg.connect(url) as second,
    ):
        for each in (first, second):
            each.execute("SELECT 1")  # in a transaction
        with pytest.raises(Unavailable, match="pool_mode = session"):
            open_local(url, Settings())


def test_lock_without_its_session_is_refused(postgres_url: str) -> None:
    """As behind a pooler that began to share sessions after it was opened."""
    database = PostgresDatabase(postgres_url, "akidb_documents")
    with database.read() as connection:
        driver_of(connection).backend += 1
    with pytest.raises(Unavailable, match="pool_mode = session"), database.locked(1):
        pytest.fail("locked")
    assert database.figures()[:2] == (0, 0)
    database.close()


def test_lost_connections_of_pooler_are_replaced(postgres_server: Server, postgres_url: str) -> None:
    with pooled(postgres_server, postgres_url) as url, opened(url) as operations:
        add_tenant(operations, "shared", "c")
        for _ in range(12):
            postgres_server.end_sessions(postgres_url)
            assert operations.perform(GetTenant(tenant="shared")).slug == "shared"
            operations.perform(UpsertDocuments(**at("shared")._asdict(), documents=[document("x")]))


def test_tables_are_not_created_in_another_schema(postgres_server: Server, empty_postgres_url: str) -> None:
    """A role that may not use AkiDB's schema would create them in another one, or as temporary ones."""
    url = postgres_server.as_user(empty_postgres_url, "")
    with psycopg.connect(empty_postgres_url, autocommit=True) as connection:
        for schema in OWN_SCHEMAS:
            connection.execute(f"CREATE SCHEMA {schema}".encode())
    with pytest.raises(Unavailable, match="instead of akidb_metadata; the role lacks a privilege"):
        open_local(url, Settings())
    assert schemas_with_tables(empty_postgres_url) == set()
