"""A PostgreSQL server that refuses a connection: the error says why, and only to this machine to whom."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from akidb.deployment.local import open_local
from akidb.domain.errors import Unavailable
from akidb.settings import Settings
from postgres import Server

ROLE = "refused_role"


def name_of(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]


@pytest.fixture
def url(postgres_server: Server, empty_postgres_url: str) -> Iterator[str]:
    """The address of a database for a role that may do nothing yet."""
    name = f"{ROLE}_{name_of(empty_postgres_url)}"
    postgres_server.run(f"CREATE ROLE {name} LOGIN")
    yield empty_postgres_url.replace("//postgres:@", f"//{name}:@")
    postgres_server.run(f"DROP ROLE {name}")


def refused(url: str) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        open_local(url, Settings())
    return caught.value


CASES = {
    "no login": ("ALTER ROLE {role} NOLOGIN", "the role may not log in: it lacks LOGIN"),
    "no connect": (
        "REVOKE CONNECT ON DATABASE {database} FROM PUBLIC",
        "the role lacks the privilege CONNECT on the database",
    ),
    "closed": (
        "ALTER DATABASE {database} ALLOW_CONNECTIONS false",
        "the database accepts no connections (ALLOW_CONNECTIONS)",
    ),
    "role full": (
        "ALTER ROLE {role} CONNECTION LIMIT 0",
        "the server, the database or the role has too many connections",
    ),
    "database full": (
        "ALTER DATABASE {database} CONNECTION LIMIT 0",
        "the server, the database or the role has too many connections",
    ),
    "wrong password": (
        "ALTER ROLE {role} PASSWORD 'right'; GRANT with_password TO {role}",
        "the server rejected the user or the password",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_refusal_is_explained(case: str, url: str, postgres_server: Server) -> None:
    database = name_of(url)
    role = f"{ROLE}_{database}"
    statement, reason = CASES[case]
    for each in statement.format(role=role, database=database).split("; "):
        postgres_server.run(each)
    error = refused(url.replace(f"//{role}:@", f"//{role}:wrong@") if case == "wrong password" else url)
    assert error.public == f"PostgreSQL: {reason}"
    assert f"PostgreSQL database {database}: {reason}: " in error.message
    assert (database in error.public, role in error.public, "wrong" in error.message) == (False,) * 3


def test_missing_role_and_database_are_explained(url: str, tmp_path: Path) -> None:
    role = f"{ROLE}_{name_of(url)}"
    assert refused(url.replace(f"//{role}:@", "//nobody_of_this_name:@")).public == (
        "PostgreSQL: the role does not exist"
    )
    missing = url.replace(f"/{name_of(url)}?", "/missing_role_database?")
    assert refused(missing).public == "PostgreSQL: the database does not exist"


def test_unreachable_server_is_called_so(tmp_path: Path) -> None:
    for url in (
        f"postgresql:///x?host={tmp_path}",
        "postgresql://127.0.0.1:1/x",
        "postgresql://no.invalid/x",
    ):
        assert refused(url).public == "PostgreSQL: the server cannot be reached"
