"""The metadata store on SQLite: its schema, and the files it refuses."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from samples import Clock, Library, RawSql, make_ids

from akidb.domain.errors import Unavailable
from akidb.metadata import migrations, schema, tables
from akidb.metadata.store import SqliteMetadataStore
from akidb.sql.types import Enumerated, Id, Instant, JsonObject, Quota

PAGE = 4096
pytestmark = pytest.mark.usefixtures("made_metadata")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metadata.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteMetadataStore]:
    made = SqliteMetadataStore(path)
    yield made
    made.close()


@pytest.fixture
def raw(store: SqliteMetadataStore) -> RawSql:
    return RawSql(store._file)


def fill(store: SqliteMetadataStore) -> None:
    library = Library(store, Clock(), make_ids())
    for number in range(200):
        library.tenant(f"tenant-{number}", metadata={"note": "x" * 200})


def declared(column: sa.Column[object]) -> str:
    if isinstance(column.type, Id | sa.LargeBinary):
        return "BLOB"
    if isinstance(column.type, Instant | JsonObject | Enumerated | sa.Text):
        return "TEXT"
    assert isinstance(column.type, Quota | sa.Integer)
    return "INTEGER"


def test_query_tables_match_migrated_schema(raw: RawSql) -> None:
    names = raw(
        "SELECT name FROM pragma_table_list"
        " WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite_%'"
    )
    of_the_index = {"indexed_names", "unindexed_names"}  # of names, which `metadata.names` alone knows
    assert {name for (name,) in names} == {*tables.schema.tables, *of_the_index, "alembic_version"}
    for table in tables.schema.tables.values():
        found = {
            name: (kind, bool(required), key)
            for _, name, kind, required, _, key in raw(f"PRAGMA table_info({table.name})")
        }
        keys = {column.name: place for place, column in enumerate(table.primary_key.columns, start=1)}
        expected = {
            # An INTEGER PRIMARY KEY is never null, though SQLite does not say so.
            column.name: (
                declared(column),
                not column.nullable and found[column.name] != ("INTEGER", False, 1),
                keys.get(column.name, 0),
            )
            for column in table.columns
        }
        assert found == expected, table.name


def test_every_table_is_strict(raw: RawSql) -> None:
    lax = raw("SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND NOT strict")
    assert {name for (name,) in lax} == {"sqlite_schema", "sqlite_sequence", "alembic_version"}


def test_newest_migration_is_head() -> None:
    versions = Path(str(migrations.__file__)).parent / "versions"
    numbers = sorted(path.name[1:5] for path in versions.glob("v*.py"))
    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]
    assert numbers[-1] == schema.HEAD


def test_new_store_has_newest_schema_and_private_files(store: SqliteMetadataStore, path: Path) -> None:
    with store._file.read() as connection:
        assert schema.version(connection) == schema.HEAD
    assert {each.stat().st_mode & 0o777 for each in path.parent.iterdir()} == {0o600}
    assert store.check() == []


def test_data_persists_across_reopen(store: SqliteMetadataStore, path: Path) -> None:
    tenant = Library(store, Clock(), make_ids()).tenant()
    store.close()
    again = SqliteMetadataStore(path)
    with again.read() as tx:
        assert tx.tenants.get("aki-labs") == tenant
    again.close()


def test_empty_file_is_initialized_as_new_store(path: Path) -> None:
    path.touch()
    store = SqliteMetadataStore(path)
    assert store.check() == []
    store.close()


def test_newer_schema_is_refused_and_file_unchanged(
    store: SqliteMetadataStore, raw: RawSql, path: Path
) -> None:
    raw("UPDATE alembic_version SET version_num = '9999'")
    store.close()
    before = path.read_bytes()
    with pytest.raises(Unavailable, match=r"metadata\.db has schema 9999.*use a newer AkiDB"):
        SqliteMetadataStore(path)
    assert path.read_bytes() == before


def test_failed_migration_step_is_rolled_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    def interrupted() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(schema, "HEAD", "0001")
        patched.setattr("alembic.command.upgrade", lambda *_: interrupted())
        with pytest.raises(KeyboardInterrupt):
            SqliteMetadataStore(path)
    store = SqliteMetadataStore(path)
    assert store.check() == []
    store.close()


def test_overwritten_header_is_refused(store: SqliteMetadataStore, path: Path) -> None:
    fill(store)
    store.close()
    damaged = b"garbage!" * 64 + path.read_bytes()[512:]
    path.write_bytes(damaged)
    with pytest.raises(Unavailable, match=r"metadata\.db: the file is damaged"):
        SqliteMetadataStore(path)
    assert path.read_bytes() == damaged


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_garbage_page_is_refused_or_reported_by_check(
    store: SqliteMetadataStore, path: Path, share: float
) -> None:
    fill(store)
    store.close()
    content = bytearray(path.read_bytes())
    at = int(len(content) * share) // PAGE * PAGE
    content[at : at + PAGE] = b"\xa5" * PAGE
    path.write_bytes(content)
    try:
        again = SqliteMetadataStore(path)
    except Unavailable as error:
        assert "damaged" in error.message  # noqa: PT017
        return
    found = again.check()
    again.close()
    assert found
    assert any("damaged" in each or "page" in each.lower() for each in found)


def test_truncated_file_is_refused_or_reported_by_check(store: SqliteMetadataStore, path: Path) -> None:
    fill(store)
    store.close()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    try:
        again = SqliteMetadataStore(path)
    except Unavailable:
        return
    found = again.check()
    again.close()
    assert found


def test_check_reports_broken_foreign_key(store: SqliteMetadataStore, raw: RawSql) -> None:
    with store._file.read() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        connection.exec_driver_sql("INSERT INTO tenant_stores VALUES (zeroblob(16), zeroblob(16))")
        connection.exec_driver_sql("PRAGMA foreign_keys = ON")
    assert store.check() == ["row 1 of tenant_stores refers to a missing row of tenants"]


def test_check_reports_closed_store(store: SqliteMetadataStore) -> None:
    store.close()
    assert store.check() == ["metadata.db is closed"]


PROBE = """
import os, sys
from pathlib import Path
from akidb.domain.errors import Unavailable
from akidb.domain.ids import TenantId
from akidb.metadata.store import SqliteMetadataStore

def write(path):
    store = SqliteMetadataStore(path)
    with store.transaction() as tx:
        tx.outbox.remove(TenantId(bytes(16)), 1)
    store.close()

write(Path(sys.argv[2]))  # so that nothing is left to import
if os.geteuid() == 0:  # whom no permission binds
    os.setgid(65534)
    os.setuid(65534)
try:
    write(Path(sys.argv[1]))
except Unavailable as error:
    print(error.message, flush=True)
os._exit(0)  # nothing more can be written, as coverage would at the end
"""


def probe(path: Path, scratch: Path) -> str:
    """What a process says that writes to a store and is bound by permissions."""
    command = [sys.executable, "-c", PROBE, str(path), str(scratch)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """A directory accessible to other users."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    made.chmod(0o755)
    shutil.rmtree(made)


def test_read_only_directory_is_refused(public_directory: Path, tmp_path: Path) -> None:
    path = public_directory / "metadata.db"
    public_directory.chmod(0o555)
    assert probe(path, tmp_path / "scratch.db").startswith("metadata.db: ")
    assert list(public_directory.iterdir()) == []


def test_read_only_store_is_refused(public_directory: Path, tmp_path: Path) -> None:
    path = public_directory / "metadata.db"
    SqliteMetadataStore(path).close()
    path.chmod(0o444)
    public_directory.chmod(0o555)
    assert probe(path, tmp_path / "scratch.db").startswith("metadata.db: ")
