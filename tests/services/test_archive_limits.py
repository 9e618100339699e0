"""Archives that do not fit here: no disk space, too many metadata, unknown schemas; and imports that fail."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from akidb.deployment.local import restore_local
from akidb.domain.errors import InvalidArgument, Unavailable
from akidb.domain.fields import CollectionPath
from akidb.operations.archives import CopyTenant, CreateBackup, ExportTenant, ImportTenant
from akidb.operations.documents import CountDocuments, UpsertDocuments

from .archived import backed_up, parts_of, put_together, refused, small_archive, with_neighbour
from .worlds import World, notes

NOTES = CollectionPath("aki-labs", "kb", "notes")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return small_archive(tmp_path_factory.mktemp("origin") / "data")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with with_neighbour(tmp_path / "data") as made:
        yield made


def test_import_without_enough_disk_space_is_rejected(
    archive: bytes, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.ops._runtime.scratch, "room_bytes", lambda: 1000)
    assert isinstance(refused(world, archive), Unavailable)


@pytest.mark.parametrize(
    ("bound", "most", "reason"),
    [
        ("MAX_TENANT_ROWS", 4, "more than 4 rows"),
        ("MAX_TENANT_ROWS_BYTES", 1500, "more than 1500 bytes of metadata"),
        ("MAX_TENANT_FRAME_BYTES", 100, "more than 100 bytes of rows in one frame"),
    ],
)
def test_metadata_over_tenant_limit_is_rejected(
    bound: str, most: int, reason: str, archive: bytes, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"akidb.archive.parts.{bound}", most)
    error = refused(world, archive)
    assert isinstance(error, InvalidArgument)
    assert reason in error.message


@pytest.mark.parametrize(("bound", "most"), [("MAX_TENANT_ROWS", 4), ("MAX_TENANT_ROWS_BYTES", 1500)])
def test_tenant_too_large_to_import_is_not_exported(
    bound: str, most: int, archive: bytes, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.ops.perform(ImportTenant(), source=io.BytesIO(archive))
    monkeypatch.setattr(f"akidb.archive.parts.{bound}", most)
    target = io.BytesIO()
    with pytest.raises(Unavailable, match="use a backup instead"):
        world.ops.perform(ExportTenant(tenant="aki-labs"), sink=target)
    assert not target.getvalue()
    world.ops.perform(CreateBackup(), sink=target)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_aborted_import_or_copy_leaves_no_store(
    error: type[BaseException], archive: bytes, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **_named: object) -> None:
        raise error

    world.on(NOTES._replace(tenant="neighbour"), UpsertDocuments, documents=notes("n0"))
    stores = {path.name for path in (world.directory / "tenants").glob("*.db")}
    monkeypatch.setattr(world.service(ImportTenant)._transactions, "run", broken)
    with pytest.raises(error):
        world.ops.perform(ImportTenant(), source=io.BytesIO(archive))
    with pytest.raises(error):
        world.ops.perform(CopyTenant(tenant="neighbour", slug="branch"))
    assert {path.name for path in (world.directory / "tenants").glob("*.db")} == stores


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("metadata_schema", "9999", "supports up to"),
        ("metadata_schema", "0000", "is unknown"),
        ("metadata_schema", "", "is unknown"),
        ("metadata_schema", "x001", "is unknown"),
        ("metadata_schema", "00006", "is unknown"),
        ("documents_schema", 99, "supports up to"),
        ("documents_schema", 0, "is unknown"),
        ("documents_schema", -1, "is unknown"),
    ],
)
def test_unknown_schema_of_archive_is_refused(
    field: str, value: Any, reason: str, world: World, archive: bytes, tmp_path: Path
) -> None:
    header, parts = parts_of(archive)
    error = refused(world, put_together(replace(header, **{field: value}), parts))
    assert isinstance(error, InvalidArgument)
    assert error.field == f"archive.{field}"
    assert reason in error.reason
    backup, parts = parts_of(backed_up(world))
    changed_backup = io.BytesIO(put_together(replace(backup, **{field: value}), parts))
    with pytest.raises(InvalidArgument, match=reason):
        restore_local(tmp_path / "restored", world.settings, changed_backup)
    assert not (tmp_path / "restored").exists()


def test_archive_of_older_schema_is_imported(world: World, archive: bytes) -> None:
    header, parts = parts_of(archive)
    older = put_together(replace(header, metadata_schema="0003", documents_schema=1), parts)
    world.ops.perform(ImportTenant(), source=io.BytesIO(older))
    assert world.on(NOTES, CountDocuments) == 9
