"""Archives between SQLite and PostgreSQL, and within PostgreSQL: same rows, bytes and errors."""

import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from akidb.deployment.local import LocalOperations, open_local, restore_local
from akidb.domain.errors import AlreadyExists, InvalidState, Overloaded
from akidb.domain.fields import CollectionPath
from akidb.operations.archives import CopyTenant, CreateBackup, ExportTenant, ImportTenant
from akidb.operations.collections import CreateCollection, DeleteCollection
from akidb.operations.databases import CreateDatabase
from akidb.operations.documents import CountDocuments, DeleteDocuments, UpsertDocuments
from akidb.operations.tenants import CreateTenant, DeleteTenant, GetTenant, GetUsage, PurgeTenant
from akidb.operations.upkeep import CheckStores
from akidb.operations.users import CreateUser
from akidb.ports.archive import Documents, Rows
from akidb.settings import Settings

from .archived import parts_of
from .worlds import DIMENSION, notes, service_of

NOTES = CollectionPath("aki-labs", "kb", "notes")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(models_dir=str(tmp_path / "models"), default_model="hash")


@pytest.fixture(params=["to postgresql", "to sqlite"])
def places(
    request: pytest.FixtureRequest, postgres_url: str, tmp_path: Path, settings: Settings
) -> Iterator[tuple[LocalOperations, Path | str]]:
    """A filled deployment on one database type and an empty one on the other."""
    directory = tmp_path / "data"
    origin, target = (
        (directory, postgres_url) if request.param == "to postgresql" else (postgres_url, directory)
    )
    operations = open_local(origin, settings)
    fill(operations)
    yield operations, target
    operations.close()


def fill(operations: LocalOperations) -> None:
    operations.perform(
        CreateTenant(name="Aki Labs", external_id="crm-1", metadata={"n": [1, 2.5, None, "\u65e5"]})
    )
    operations.perform(CreateDatabase(tenant="aki-labs", name="kb"))
    operations.perform(CreateCollection(tenant="aki-labs", database="kb", name="notes", dimension=DIMENSION))
    operations.perform(
        UpsertDocuments(
            **NOTES._asdict(), documents=notes(*(f"n{at}" for at in range(1200)), metadata={"y": {"z": 1}})
        )
    )
    operations.perform(DeleteDocuments(**NOTES._asdict(), ids=["n1", "n2"]))
    operations.perform(CreateCollection(tenant="aki-labs", database="kb", name="gone", dimension=DIMENSION))
    operations.perform(DeleteCollection(tenant="aki-labs", database="kb", collection="gone"))
    operations.perform(
        CreateUser(tenant="aki-labs", email="Bob@Example.com", password="correct horse battery")
    )
    operations.perform(CreateTenant(name="Other"))
    operations.perform(CreateTenant(name="Purged"))
    operations.perform(DeleteTenant(tenant="purged"))
    operations.perform(PurgeTenant(tenant="purged"))


def plain(archive: bytes) -> list[Any]:
    """All parts, in a form that can be compared, without the audit entries of backups and restores."""
    _, parts = parts_of(archive)
    return [_plain(part) for part in parts]


def _plain(part: Any) -> Any:
    if isinstance(part, Documents):
        return *part[:4], part.vectors.tobytes()
    if isinstance(part, Rows) and part.table == "audit_entries":
        kept = [row for row in part.rows if not getattr(row, "action", "").startswith("backup.")]
        return Rows(part.table, kept)
    return part


def exported(operations: LocalOperations, tenant: str = "aki-labs") -> bytes:
    target = io.BytesIO()
    operations.perform(ExportTenant(tenant=tenant), sink=target)
    return target.getvalue()


def test_tenant_moves_between_sqlite_and_postgresql(
    places: tuple[LocalOperations, Path | str], settings: Settings
) -> None:
    origin, target = places
    archive = exported(origin)
    there = open_local(target, settings)
    try:
        assert there.perform(ImportTenant(), source=io.BytesIO(archive)).documents == 1198
        assert plain(exported(there)) == plain(archive)
        assert (
            there.perform(GetUsage(tenant="aki-labs")).storage_bytes
            == origin.perform(GetUsage(tenant="aki-labs")).storage_bytes
        )
        there.perform(UpsertDocuments(**NOTES._asdict(), documents=notes("new")))
        assert there.perform(CountDocuments(**NOTES._asdict())) == 1199
        with pytest.raises(AlreadyExists) as caught:
            there.perform(ImportTenant(), source=io.BytesIO(archive))
        assert caught.value.fields["field"] == "tenant_id"
        there.perform(DeleteTenant(tenant="aki-labs"))
        there.perform(PurgeTenant(tenant="aki-labs"))
        with pytest.raises(InvalidState, match="purged here"):
            there.perform(ImportTenant(), source=io.BytesIO(archive))
        assert all(finding.ok for finding in there.perform(CheckStores()).items)
    finally:
        there.close()


def test_backup_is_restored_on_other_database(
    places: tuple[LocalOperations, Path | str], settings: Settings
) -> None:
    origin, target = places
    archive = io.BytesIO()
    origin.perform(CreateBackup(), sink=archive)
    archive.seek(0)
    counts = restore_local(target, settings, archive)
    assert (counts["tenants"], counts["stores"], counts["purged"]) == (2, 1, 1)
    there = open_local(target, settings)
    try:
        again = io.BytesIO()
        there.perform(CreateBackup(), sink=again)
        assert plain(again.getvalue()) == plain(archive.getvalue())
        archive.seek(0)
        with pytest.raises(AlreadyExists, match="not empty"):
            there.restore(archive)
    finally:
        there.close()


def test_tenant_is_copied_on_postgresql(postgres_url: str, settings: Settings) -> None:
    operations = open_local(postgres_url, settings)
    try:
        fill(operations)
        made = operations.perform(CopyTenant(tenant="aki-labs", slug="branch"))
        branch = NOTES._replace(tenant="branch")
        assert operations.perform(CountDocuments(**branch._asdict())) == 1198
        operations.perform(DeleteDocuments(**branch._asdict(), ids=["n7"]))
        assert operations.perform(CountDocuments(**NOTES._asdict())) == 1198
        operations.perform(DeleteTenant(tenant="aki-labs"))
        operations.perform(PurgeTenant(tenant="aki-labs"))
        assert operations.perform(CountDocuments(**branch._asdict())) == 1197
        assert operations.perform(GetTenant(tenant="branch")) == made
        with pytest.raises(AlreadyExists):
            operations.perform(CopyTenant(tenant="branch", slug="other"))
        assert all(finding.ok for finding in operations.perform(CheckStores()).items)
    finally:
        operations.close()


class Stalled:
    """What takes an archive from when it is told to."""

    def __init__(self) -> None:
        self.begun, self.free = threading.Event(), threading.Event()

    def write(self, data: bytes, /) -> None:
        self.begun.set()
        assert self.free.wait(60)


@pytest.fixture
def narrow(postgres_url: str, settings: Settings) -> Iterator[LocalOperations]:
    """A tenant on a deployment with the minimum number of connections."""
    operations = open_local(postgres_url, msgspec.structs.replace(settings, postgresql_pool_size=2))
    operations.perform(CreateTenant(name="Aki Labs"))
    operations.perform(CreateDatabase(tenant="aki-labs", name="kb"))
    operations.perform(CreateCollection(tenant="aki-labs", database="kb", name="notes", dimension=DIMENSION))
    operations.perform(UpsertDocuments(**NOTES._asdict(), documents=notes(*(f"n{at}" for at in range(50)))))
    yield operations
    operations.close()


def test_copies_using_every_connection_do_not_deadlock(narrow: LocalOperations) -> None:
    with ThreadPoolExecutor(6) as threads:
        made = list(
            threads.map(
                lambda at: narrow.perform(CopyTenant(tenant="aki-labs", slug=f"branch-{at}")), range(6)
            )
        )
    for tenant in made:
        assert narrow.perform(CountDocuments(**NOTES._replace(tenant=tenant.slug)._asdict())) == 50


def test_stalled_exports_leave_connections_for_other_operations(
    narrow: LocalOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_of(narrow, ExportTenant)._turn, "_timeout_seconds", 0.2)
    target, backup = Stalled(), io.BytesIO()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(narrow.perform, ExportTenant(tenant="aki-labs"), sink=target)
        assert target.begun.wait(60)
        saved = threads.submit(narrow.perform, CreateBackup(), sink=backup)
        with pytest.raises(Overloaded, match="archive"):
            narrow.perform(ExportTenant(tenant="aki-labs"), sink=io.BytesIO())
        assert narrow.perform(CountDocuments(**NOTES._asdict())) == 50
        target.free.set()
        first.result(60)
        saved.result(60)
    assert backup.getvalue()
    assert exported(narrow)
