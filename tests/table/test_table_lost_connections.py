"""A connection to PostgreSQL that is lost at any statement of any operation costs no place in its pool."""

import gc
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from stage import ROWS, build, local, perform

from akidb.domain.errors import AkiDBError
from akidb.operations import Operation, Operations
from akidb.operations.tenants import GetTenant
from akidb.services import maintenance
from akidb.sql.postgresql import PostgresDatabase
from postgres import Server

STATEMENTS = (1, 2, 3, 5, 8, 13)
"""Before which exchange with the server a connection is lost, counted from the start of the operation."""

COMMITS = {"user.verify_password", "store.maintain"}
"""Operations that commit something though they are declared as changing nothing."""


class Interrupt(BaseException):
    """Like a KeyboardInterrupt, which would end the tests if it escaped."""


def cut(connection: psycopg.Connection[Any], _admin: Any) -> None:
    """Lose it without a word, as when the network or the server's machine fails."""
    with socket.socket(fileno=os.dup(connection.fileno())) as copy:
        copy.shutdown(socket.SHUT_RDWR)


def terminate(connection: psycopg.Connection[Any], admin: psycopg.Connection[Any]) -> None:
    """Have the server end it, as when an administrator does or it shuts down."""
    admin.execute("SELECT pg_terminate_backend(%s, 10000)", (connection.info.backend_pid,))


def interrupt(_connection: psycopg.Connection[Any], _admin: Any) -> None:
    raise Interrupt


@contextmanager
def losing(
    at: int, lose: Callable[[psycopg.Connection[Any], Any], None], admin: psycopg.Connection[Any]
) -> Iterator[Callable[[], bool]]:
    """Lose the connection that makes the exchange of this number; gives whether it came to that."""
    wait = psycopg.Connection.wait
    exchanges = 0

    def counting(self: psycopg.Connection[Any], *arguments: Any, **named: Any) -> Any:
        nonlocal exchanges
        if self is admin:
            return wait(self, *arguments, **named)
        exchanges += 1
        if exchanges == at:
            lose(self, admin)
        return wait(self, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg.Connection, "wait", counting)
        yield lambda: exchanges >= at


def databases(operations: Operations) -> list[PostgresDatabase]:
    runtime = operations._runtime  # type: ignore[attr-defined]
    stores = runtime.tenant_stores
    return [runtime.metadata._database, stores._database, stores._locks]


def possible(row: Operation) -> set[str]:
    """How an operation may end whose connection was lost once."""
    if row.changes:
        return {"ok", "unavailable", "already_exists", "not_found"}  # its target was changed before
    if row.gives == "bytes" or row.local or row.name in COMMITS:
        return {"ok", "unavailable"}
    return {"ok"}


@pytest.mark.filterwarnings("ignore:<psycopg.ServerCursor:ResourceWarning")
@pytest.mark.parametrize("lose", [cut, terminate, interrupt])
def test_lost_connection_leaves_no_place_in_use(
    lose: Callable[[psycopg.Connection[Any], Any], None],
    postgres_server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(maintenance, "FIRST_ROUND_SECONDS", 3600.0)
    url = postgres_server.url()
    faults: list[str] = []
    with (
        local(url, tmp_path / "no-models") as operations,
        psycopg.connect(postgres_server.base, autocommit=True) as admin,
    ):
        build(operations)
        for row in ROWS:
            for at in STATEMENTS if lose is not terminate else STATEMENTS[:1]:
                outcome = "ok"
                with losing(at, lose, admin) as came:
                    try:
                        perform(operations, row, tmp_path)
                    except AkiDBError as error:
                        outcome = error.code
                    except Interrupt:
                        outcome = "interrupted"
                    except Exception as error:  # noqa: BLE001 - reported
                        outcome = repr(error)
                    happened = came()
                if outcome not in possible(row) | ({"interrupted"} if lose is interrupt else set()):
                    faults.append(f"{row.name}, {at}: {outcome}")
                used = [database.figures()[0] for database in databases(operations)]
                if used != [0, 0, 0]:
                    faults.append(f"{row.name}, {at}: {used} in use")
                operations.perform(GetTenant(tenant="mine"))
                if not happened:
                    break
    postgres_server.drop(url)
    gc.collect()  # cursors of lost connections, while their warnings are ignored
    assert faults == []
