"""Schema migration steps: backed up first, atomic, and reversible where a downgrade exists."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from killed_migration import DIED, LATER, migrate_until
from released import AKI, make_directory, make_metadata_database, make_metadata_file, make_tenant_file

from akidb.deployment.local import open_local
from akidb.deployment.owner import DirectoryHeld, OwnerLock
from akidb.deployment.schema_changes import migrate
from akidb.documents import postgresql as shared
from akidb.documents import schema as tenant_schema
from akidb.documents.postgresql import PostgresTenantStores
from akidb.documents.schema import Step
from akidb.domain.errors import InvalidArgument, NotFound, Unavailable
from akidb.domain.fields import CollectionPath
from akidb.metadata import schema
from akidb.metadata.store import METADATA_SCHEMA, PostgresMetadataStore
from akidb.operations.collections import (
    CreateCollection,
    DeleteCollection,
    GetCollection,
    PurgeCollection,
    RestoreCollection,
)
from akidb.operations.databases import CreateDatabase, RestoreDatabase
from akidb.operations.documents import CountDocuments, DeleteDocuments, UpsertDocuments
from akidb.operations.tenants import CreateTenant, DeleteTenant, ListTenants, PurgeTenant, RestoreTenant
from akidb.operations.upkeep import CheckStores, MaintainStores
from akidb.settings import Settings
from akidb.sql.postgresql import PostgresDatabase
from akidb.sql.schema_backups import SchemaBackups
from akidb.sql.sqlite import SqliteFile
from children import exit_code
from clocks import SetClock

pytestmark = pytest.mark.usefixtures("made_metadata")
SETTINGS = Settings(default_model="hash")
STORE = f"{AKI}.db"
NEXT = Step(
    schema.HEAD,
    (
        "CREATE TABLE later (number INTEGER NOT NULL) STRICT",
        "INSERT INTO later SELECT count(*) FROM documents",
        "ALTER TABLE documents ADD COLUMN language TEXT",
    ),
    ("ALTER TABLE documents DROP COLUMN language", "DROP TABLE later"),
)
PATH = CollectionPath("aki-labs", "kb", "notes")
NEWEST = len(tenant_schema.STEPS)
WITHOUT_VECTOR = 7
"""The step from which stores may have documents without a vector."""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory created by the first release."""
    make_directory(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more migration step for tenant files."""
    monkeypatch.setattr(tenant_schema, "STEPS", (*tenant_schema.STEPS, NEXT))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_new_dimensions_are_allowed_after_the_upgrade_and_keep_from_going_back(
    directory: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    place = directory if kind == "sqlite" else request.getfixturevalue("postgres_url")
    where: dict[str, Any] = {"tenant": "aki-labs", "database": "kb", "collection": "tiny"}
    bare: dict[str, Any] = {**where, "collection": "bare"}
    with closing(open_local(place, SETTINGS)) as operations:
        if kind == "postgresql":
            migrate(place, SETTINGS, to="0001")
    if kind == "postgresql":
        migrate(place, SETTINGS)
    with closing(open_local(place, SETTINGS)) as operations:
        if kind == "postgresql":
            operations.perform(CreateTenant(name="Aki Labs"))
            operations.perform(CreateDatabase(tenant="aki-labs", name="kb"))
        operations.perform(CreateCollection(tenant="aki-labs", database="kb", name="tiny", dimension=2))
        operations.perform(UpsertDocuments(**where, documents=[{"id": "a", "vector": [1, 2]}]))
        operations.perform(DeleteCollection(**where))
        operations.perform(CreateCollection(tenant="aki-labs", database="kb", name="bare"))
        operations.perform(DeleteCollection(**bare))
    for dry_run in (True, False):
        with pytest.raises(InvalidArgument, match="without a dimension: there are 1, deleted ones included"):
            migrate(place, SETTINGS, to="0008", dry_run=dry_run)
    with closing(open_local(place, SETTINGS)) as operations:
        operations.perform(RestoreCollection(**bare))
        operations.perform(UpsertDocuments(**bare, documents=[{"id": "a", "vector": [1] * 16}]))
    for dry_run in (True, False):
        with pytest.raises(InvalidArgument, match="fewer than 16 dimensions: there are 1"):
            migrate(place, SETTINGS, to="0007", dry_run=dry_run)
    with closing(open_local(place, SETTINGS)) as operations:
        operations.perform(PurgeCollection(**where))
    assert migrate(place, SETTINGS, to="0007").changed
    with closing(open_local(place, SETTINGS)) as operations:
        assert operations.perform(GetCollection(**bare)).dimension == 16
        operations.perform(CreateCollection(tenant="aki-labs", database="kb", name="other"))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_documents_without_vector_keep_from_going_back(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    place = tmp_path if kind == "sqlite" else request.getfixturevalue("postgres_url")
    before = f"{int(tenant_schema.STEPS[WITHOUT_VECTOR - 1].since) - 1:04}"
    where: dict[str, Any] = {"tenant": "aki-labs", "database": "kb", "collection": "notes"}
    with closing(open_local(place, SETTINGS)) as operations:
        for name in ("Aki Labs", "Another"):
            tenant = operations.perform(CreateTenant(name=name)).slug
            operations.perform(CreateDatabase(tenant=tenant, name="kb"))
            operations.perform(CreateCollection(tenant=tenant, database="kb", name="notes", dimension=16))
            documents: list[dict[str, Any]] = [{"id": "v", "vector": [1] * 16}]
            documents += [{"id": "t", "text": "x"}, {"id": "m", "metadata": {"n": 1}}]
            operations.perform(UpsertDocuments(**{**where, "tenant": tenant}, documents=documents))
        operations.perform(
            DeleteDocuments(tenant="another", database="kb", collection="notes", ids=["t", "m"])
        )
        operations.perform(DeleteCollection(**where))
    for dry_run in (True, False):
        with pytest.raises(InvalidArgument, match="cannot store documents without a vector: there are 2"):
            migrate(place, SETTINGS, to=before, dry_run=dry_run)
    with closing(open_local(place, SETTINGS)) as operations:
        operations.perform(RestoreCollection(**where))
        assert operations.perform(CountDocuments(**where)) == 3
        operations.perform(DeleteDocuments(**where, ids=["t", "m"]))
    assert migrate(place, SETTINGS, to=before).changed
    with closing(open_local(place, SETTINGS)) as operations:
        assert operations.perform(CountDocuments(**where)) == 1
        assert operations.perform(CheckStores()).items[0].ok


def query(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as connection:
        return connection.execute(statement).fetchall()


def metadata_version(path: Path) -> object:
    return query(path, "SELECT version_num FROM alembic_version")[0][0]


def store_version(path: Path) -> object:
    return query(path, "PRAGMA user_version")[0][0]


def copies(directory: Path) -> list[Path]:
    return sorted((directory / "backups").glob("*"))


def test_open_backs_up_before_migrating(directory: Path, next_step: None) -> None:
    open_local(directory, SETTINGS).close()
    [copy] = copies(directory)
    assert copy.name.startswith("metadata-0001-")
    assert metadata_version(copy) == "0001"
    assert query(copy, "SELECT count(*) FROM tenants") == [(3,)]
    assert copy.stat().st_mode & 0o777 == 0o600
    assert copy.parent.stat().st_mode & 0o777 == 0o700
    operations = open_local(directory, SETTINGS)
    # Its file is brought forward when it is opened.
    assert operations.perform(CountDocuments(**PATH._asdict())) == 2
    operations.close()
    of_store, of_metadata = copies(directory)
    assert (of_metadata, of_store.name.startswith(f"{AKI}-1-")) == (copy, True)
    assert store_version(of_store) == 1
    assert store_version(directory / "tenants" / STORE) == NEWEST + 1


def test_new_store_is_not_backed_up(tmp_path: Path) -> None:
    open_local(tmp_path, SETTINGS).close()
    assert not (tmp_path / "backups").exists()


def test_backups_are_removed_after_retention(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    operations = open_local(directory, SETTINGS)
    (directory / "backups" / "notes.txt").write_text("not one of them")
    (directory / "backups" / "mine.db").write_text("not one of them")
    [copy] = [path for path in copies(directory) if path.name.startswith("metadata-")]
    copy.with_name(f"{copy.name}-wal").touch()  # as of somebody who looked into it
    operations.perform(RestoreTenant(tenant="gone"))  # else it is purged, and the copy with it
    operations.perform(RestoreCollection(tenant="aki-labs", database="kb", collection="dropped"))
    operations.perform(RestoreDatabase(tenant="aki-labs", database="old"))
    assert operations.perform(MaintainStores()).copies_removed == 0
    operations.close()
    later = datetime.now(UTC) + timedelta(days=7, minutes=1)
    SetClock(later).install(monkeypatch)
    operations = open_local(directory, SETTINGS)
    assert operations.perform(MaintainStores()).copies_removed == 2
    operations.close()
    assert [path.name for path in copies(directory)] == ["mine.db", "notes.txt"]


def test_purge_removes_backups(directory: Path, next_step: None) -> None:
    operations = open_local(directory, SETTINGS)
    assert operations.perform(CountDocuments(**PATH._asdict())) == 2
    assert len(copies(directory)) == 2
    operations.perform(DeleteCollection(**PATH._asdict()))
    operations.perform(PurgeCollection(**PATH._asdict()))
    assert copies(directory) == []
    operations.close()


def test_purge_of_another_tenant_keeps_store_backup(directory: Path, next_step: None) -> None:
    operations = open_local(directory, SETTINGS)
    assert operations.perform(CountDocuments(**PATH._asdict())) == 2
    operations.perform(PurgeTenant(tenant="gone"))
    assert [path.name[:36] for path in copies(directory)] == [str(AKI)]
    operations.perform(DeleteTenant(tenant="aki-labs"))
    operations.perform(PurgeTenant(tenant="aki-labs"))
    assert copies(directory) == []
    operations.close()


def test_failed_backup_aborts_migration(directory: Path) -> None:
    (directory / "backups").write_text("in the way")
    with pytest.raises(Unavailable):
        open_local(directory, SETTINGS)
    assert metadata_version(directory / "metadata.db") == "0001"
    assert not list((directory / "tmp").glob("*"))


def test_directory_upgrades_and_downgrades(directory: Path, next_step: None) -> None:
    seen: list[tuple[int, int]] = []
    metadata, store = directory / "metadata.db", directory / "tenants" / STORE
    tried = migrate(directory, SETTINGS, dry_run=True)
    assert (tried.found, tried.to, tried.stores, tried.changed) == ("0001", schema.HEAD, 1, False)
    assert (metadata_version(metadata), store_version(store), copies(directory)) == ("0001", 1, [])
    done = migrate(directory, SETTINGS, advance=lambda *progress: seen.append(progress))
    assert (done.found, done.stores, done.changed, seen) == ("0001", 1, True, [(1, 1)])
    assert (metadata_version(metadata), store_version(store)) == (schema.HEAD, NEWEST + 1)
    assert query(store, "SELECT number FROM later") == [(2,)]
    back = migrate(directory, SETTINGS, to="0001")
    assert (back.found, back.to, back.stores) == (schema.HEAD, "0001", 1)
    assert (metadata_version(metadata), store_version(store)) == ("0001", 1)
    assert query(store, "SELECT id FROM documents ORDER BY id") == [("a",), ("b",)]
    assert len(copies(directory)) == 4
    assert not migrate(directory, SETTINGS, to="0001").changed
    operations = open_local(directory, SETTINGS)
    assert operations.perform(CountDocuments(**PATH._asdict())) == 2
    operations.close()


def test_irreversible_tenant_step_aborts_whole_downgrade(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    final = Step(schema.HEAD, NEXT.forward, None)
    monkeypatch.setattr(tenant_schema, "STEPS", (*tenant_schema.STEPS, final))
    migrate(directory, SETTINGS)
    before = copies(directory)
    for dry_run in (True, False):
        with pytest.raises(InvalidArgument, match=f"no downgrade from version {NEWEST + 1}") as caught:
            migrate(directory, SETTINGS, to="0001", dry_run=dry_run)
        assert caught.value.field == "to"
    assert metadata_version(directory / "metadata.db") == schema.HEAD
    assert copies(directory) == before


def test_irreversible_metadata_step_aborts_downgrade(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(directory, SETTINGS)
    scripts = tmp_path / "migrations"
    shutil.copytree(schema._MIGRATIONS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    [newest] = (scripts / "versions").glob(f"v{schema.HEAD}_*.py")
    newest.write_text(newest.read_text().replace("def downgrade()", "def no_way()"))
    monkeypatch.setattr(schema, "_MIGRATIONS", scripts)
    with pytest.raises(InvalidArgument, match=f"no downgrade from version {schema.HEAD}"):
        migrate(directory, SETTINGS, to="0001")


@pytest.mark.parametrize("to", ["0000", "9999", "1", "base", "", "\uff10\uff10\uff10\uff11", "head"])
def test_unknown_version_is_refused(directory: Path, to: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        migrate(directory, SETTINGS, to=to)
    assert caught.value.field == "to"
    assert metadata_version(directory / "metadata.db") == "0001"


def test_migrate_to_old_version_creates_no_store(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        migrate(tmp_path, SETTINGS, to="0001")
    assert list(tmp_path.iterdir()) == []


def test_directory_in_use_is_not_migrated(directory: Path) -> None:
    lock = OwnerLock(directory)
    with pytest.raises(DirectoryHeld):
        migrate(directory, SETTINGS)
    lock.release()
    assert metadata_version(directory / "metadata.db") == "0001"


def test_newer_tenant_file_aborts_whole_migration(directory: Path) -> None:
    with closing(sqlite3.connect(directory / "tenants" / STORE)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(Unavailable, match=r"has schema 99.*use a newer AkiDB"):
        migrate(directory, SETTINGS)
    assert metadata_version(directory / "metadata.db") == "0001"


@pytest.mark.parametrize(("to", "stride"), [(schema.HEAD, 23), ("0001", 7)])
def test_killed_migration_leaves_old_or_new_schema(
    directory: Path, to: str, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenant_schema, "STEPS", (*tenant_schema.STEPS, LATER))
    start = "0001" if to == schema.HEAD else schema.HEAD
    kills = 0
    for after in [*range(0, 9 * stride, stride), 10_000]:
        migrate(directory, SETTINGS, to=start)
        status = exit_code(migrate_until, directory, after, to)
        assert status in {0, DIED}
        kills += status == DIED
        metadata, store = directory / "metadata.db", directory / "tenants" / STORE
        with closing(SqliteFile(metadata)) as file, file.read() as connection:
            assert schema.version(connection) in {start, to}
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        with closing(SqliteFile(store)) as file, file.read() as connection:
            assert tenant_schema.version(connection) in {1, NEWEST + 1}
        migrate(directory, SETTINGS, to=to)
        assert metadata_version(metadata) == to
        assert query(store, "SELECT count(*) FROM documents") == [(2,)]
        assert query(metadata, "SELECT count(*) FROM tenants") == [(3,)]
    assert kills > 2
    assert status == 0


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SqliteFile]:
    make_metadata_file(tmp_path / "metadata.db")
    made = SqliteFile(tmp_path / "metadata.db")
    yield made
    made.close()


REBUILD = """
    CREATE TABLE made (database_id BLOB PRIMARY KEY NOT NULL, tenant_id BLOB NOT NULL, name TEXT NOT NULL,
        UNIQUE (tenant_id, database_id)) STRICT;
    INSERT INTO made SELECT database_id, tenant_id, name FROM databases;
    DROP TABLE databases;
    ALTER TABLE made RENAME TO databases"""


def rebuild(file: SqliteFile, *more: str) -> None:
    with file.migration() as connection:
        for statement in (*REBUILD.split(";"), *more):
            connection.exec_driver_sql(statement)


def test_table_rebuild_keeps_child_rows(file: SqliteFile) -> None:
    rebuild(file)
    with file.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM collections").scalar_one() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []


def test_step_that_breaks_foreign_key_is_rolled_back(file: SqliteFile) -> None:
    with pytest.raises(Unavailable, match="refers to a missing row of databases"):
        rebuild(file, "DELETE FROM databases")
    with file.read() as connection:
        assert connection.exec_driver_sql("SELECT count(description) FROM databases").scalar_one() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1


def test_postgres_database_upgrades_and_downgrades(empty_postgres_url: str) -> None:
    make_metadata_database(empty_postgres_url)
    url = f"postgresql:{empty_postgres_url.partition(':')[2]}"
    assert migrate(url, SETTINGS, dry_run=True).found == "0001"
    done = migrate(url, SETTINGS)
    assert (done.found, done.to, done.changed) == ("0001", schema.HEAD, True)
    assert migrate(url, SETTINGS, to="0001").changed
    assert migrate(url, SETTINGS, to="0001", dry_run=True).found == "0001"
    operations = open_local(url, SETTINGS)
    assert [tenant.slug for tenant in operations.perform(ListTenants()).items] == ["aki-labs", "quiet"]
    operations.close()


def test_newer_postgres_schema_is_refused(empty_postgres_url: str) -> None:
    PostgresMetadataStore(empty_postgres_url).close()
    PostgresTenantStores(empty_postgres_url, max_open=1).close()
    for name in (METADATA_SCHEMA, shared.SCHEMA):
        with closing(PostgresDatabase(empty_postgres_url, name)) as database, database.write() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Unavailable, match=r"has schema 9999.*use a newer AkiDB"):
        PostgresMetadataStore(empty_postgres_url)
    with pytest.raises(Unavailable, match=r"has schema 9999.*use a newer AkiDB"):
        PostgresTenantStores(empty_postgres_url, max_open=1)
    with pytest.raises(Unavailable, match=r"has schema 9999.*use a newer AkiDB"):
        migrate(f"postgresql:{empty_postgres_url.partition(':')[2]}", SETTINGS, dry_run=True)


def test_backup_names_record_store_and_time(tmp_path: Path) -> None:
    make_tenant_file(tmp_path / STORE)
    taken_at = datetime(2026, 1, 31, 9, 15, 0, 123456, tzinfo=UTC)
    kept = SchemaBackups(tmp_path / "backups", lambda: taken_at)
    with closing(SqliteFile(tmp_path / STORE)) as file:
        path = kept.take(file, "1")
    assert path.name == f"{AKI}-1-20260131T091500.123456Z.db"
    [copy] = kept.all()
    assert (copy.path, copy.store, copy.taken_at) == (path, str(AKI), taken_at)
    assert kept.remove(store="metadata") == 0
    assert kept.remove(until=taken_at - timedelta(microseconds=1)) == 0
    assert kept.remove(until=taken_at) == 1
    assert list(kept.all()) == []
    assert copies(tmp_path) == []
