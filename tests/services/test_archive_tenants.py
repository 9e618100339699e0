"""Tenant archives: export, import, conflicts and copies."""

import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from akidb.domain.documents import Include
from akidb.domain.errors import (
    AlreadyExists,
    IdempotencyMismatch,
    InvalidArgument,
    InvalidState,
    NotFound,
    QuotaExceeded,
)
from akidb.domain.fields import CollectionPath
from akidb.domain.ids import DatabaseId, StoreId, TenantId
from akidb.domain.lifecycle import TenantStatus
from akidb.operations.archives import CopyTenant, ImportTenant
from akidb.operations.collections import ListCollections, PurgeCollection, RestoreCollection
from akidb.operations.databases import ListDatabases
from akidb.operations.documents import CountDocuments, DeleteDocuments, ScanDocuments, UpsertDocuments
from akidb.operations.tenants import (
    DeleteTenant,
    GetTenant,
    GetUsage,
    PurgeTenant,
    SuspendTenant,
    UpdateTenant,
)
from akidb.operations.upkeep import CheckStores
from akidb.operations.users import ListUsers, VerifyPassword
from akidb.ports.archive import Rows

from .archived import best, brute_force, exported, files_of, large, parts_of, put_together, rows_of, take_in
from .worlds import World, keyed, notes, opened

NOTES = CollectionPath("aki-labs", "kb", "notes")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with large(tmp_path / "here") as made:
        yield made


class Pipe:
    """What can be read but once."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read(self, size: int, /) -> bytes:
        return self._data.read(min(size, 1000))


@pytest.fixture
def there(tmp_path: Path) -> Iterator[World]:
    with opened(tmp_path / "there") as made:
        yield made


def test_export_and_import_preserve_all_tenant_data(world: World, there: World) -> None:
    archive = exported(world)
    report = take_in(there, archive)
    before = world.ops.perform(GetTenant(tenant="aki-labs"))
    assert (report.tenant, report.dry_run, report.conflicts) == (before, False, [])
    assert (report.databases, report.collections, report.users, report.documents) == (1, 3, 1, 1500)
    assert there.ops.perform(GetTenant(tenant="aki-labs")) == before
    assert (
        there.ops.perform(ListDatabases(tenant="aki-labs")).items
        == world.ops.perform(ListDatabases(tenant="aki-labs")).items
    )
    for deleted in (False, True):
        collections = [
            each.ops.perform(ListCollections(tenant="aki-labs", database="kb", deleted=deleted)).items
            for each in (world, there)
        ]
        assert collections[0] == collections[1]
    assert (
        there.ops.perform(ListUsers(tenant="aki-labs")).items
        == world.ops.perform(ListUsers(tenant="aki-labs")).items
    )
    assert (
        there.ops.perform(
            VerifyPassword(tenant="aki-labs", email="bob@example.com", password="correct horse battery")
        ).email
        == "Bob@Example.com"
    )
    for each in (world, there):
        each.ops.close()
    assert rows_of(there.store_file(before)) == rows_of(world.store_file(before))


def test_deleted_resources_can_be_restored_after_import(world: World, there: World) -> None:
    take_in(there, exported(world))
    restored = there.ops.perform(RestoreCollection(tenant="aki-labs", database="kb", collection="deleted"))
    assert (restored.state, restored.dimension) == ("ready", 32)


def test_archive_contains_no_data_of_other_tenants(world: World) -> None:
    archive = exported(world)
    texts = archive
    for at in range(len(archive)):  # whatever is deflated anywhere in it
        try:
            texts += zlib.decompressobj(-15).decompress(archive[at:])
        except zlib.error:
            continue
    assert b"text of n7" in texts
    assert b"neighbour" not in texts.lower()


def test_tenant_without_documents_is_exported_and_imported(there: World, tmp_path: Path) -> None:
    with opened(tmp_path / "bare") as bare:
        made = bare.tenant()
        archive = exported(bare)
    assert take_in(there, archive).tenant == made
    there.database()
    there.collection()
    there.on(NOTES, UpsertDocuments, documents=notes("a"))
    assert there.on(NOTES, CountDocuments) == 1


def test_import_reads_from_pipe(world: World, there: World) -> None:
    assert there.ops.perform(ImportTenant(), source=Pipe(exported(world))).documents == 1500
    assert not any((there.directory / "tmp").iterdir())


def test_import_accepts_different_slug(world: World, there: World) -> None:
    there.tenant()
    archive = exported(world)
    with pytest.raises(AlreadyExists) as caught:
        take_in(there, archive)
    assert caught.value.fields == {"entity": "tenant", "field": "slug", "value": "aki-labs"}
    assert take_in(there, archive, slug="aki-2").tenant.slug == "aki-2"
    assert there.on(NOTES._replace(tenant="aki-2"), CountDocuments) == 1500
    with pytest.raises(InvalidArgument) as wrong:
        take_in(there, archive, slug="../etc")
    assert wrong.value.field == "slug"


def test_import_writes_audit_entry(world: World, there: World) -> None:
    report = take_in(there, exported(world))
    assert there.actions(report.tenant.tenant_id) == ["tenant.import"]


def test_dry_run_reports_same_result_and_changes_no_file(world: World, there: World) -> None:
    archive = exported(world)
    there.tenant("Other")
    before = files_of(there.directory)
    report = take_in(there, archive, dry_run=True)
    assert files_of(there.directory) == before
    assert report.dry_run
    assert replace(report, dry_run=False) == take_in(there, archive)


def test_dry_run_lists_every_conflict_and_import_rejects_first(world: World) -> None:
    archive = exported(world)
    before = files_of(world.directory)
    report = take_in(world, archive, dry_run=True)
    tenant = world.ops.perform(GetTenant(tenant="aki-labs"))
    assert {(each.field, each.reason) for each in report.conflicts} == {
        ("tenant_id", "taken"),
        ("database_id", "taken"),
        ("collection_id", "taken"),
        ("user_id", "taken"),
        ("slug", "taken"),
        ("external_id", "taken"),
    }
    assert len([each for each in report.conflicts if each.field == "collection_id"]) == 3
    with pytest.raises(AlreadyExists) as caught:
        take_in(world, archive, slug="another")
    assert caught.value.fields == {"entity": "tenant", "field": "tenant_id", "value": str(tenant.tenant_id)}
    assert files_of(world.directory) == before


def test_ids_of_another_existing_tenant_are_a_conflict(world: World) -> None:
    """Foreign IDs: an archive of a new tenant that claims a collection of another one."""
    new = {"tenant_id": TenantId(bytes(15) + b"1"), "slug": "new", "external_id": None}
    archive = _as_tenant(exported(world), new, DatabaseId(bytes(15) + b"2"))
    with pytest.raises(AlreadyExists) as caught:
        take_in(world, archive)
    assert caught.value.fields["field"] == "collection_id"
    with pytest.raises(NotFound):
        world.ops.perform(GetTenant(tenant="new"))


def _as_tenant(archive: bytes, new: dict[str, Any], database_id: Any) -> bytes:
    """The archive as of another tenant with a database of its own, and the collections of this one."""
    header, parts = parts_of(archive)
    made = []
    for part in parts:
        if isinstance(part, Rows):
            rows = [replace(row, tenant_id=new["tenant_id"]) for row in part.rows if part.table != "users"]
            if part.table == "tenants":
                rows = [replace(rows[0], **new)]
            elif part.table in {"databases", "collections"}:
                rows = [replace(row, database_id=database_id) for row in rows]
            made.append(Rows(part.table, rows))
        elif hasattr(part, "database_id"):
            made.append(replace(part, database_id=database_id))
        elif hasattr(part, "tenant_id"):
            made.append(replace(part, tenant_id=new["tenant_id"]))
        else:
            made.append(part)
    return put_together(header, made)


def test_deleted_tenant_is_a_conflict_and_purged_tenant_cannot_be_imported(world: World) -> None:
    archive = exported(world)
    tenant = world.ops.perform(GetTenant(tenant="aki-labs"))
    world.ops.perform(DeleteTenant(tenant="aki-labs"))
    with pytest.raises(AlreadyExists):
        take_in(world, archive)
    world.ops.perform(PurgeTenant(tenant=tenant.tenant_id))
    with pytest.raises(InvalidState, match="purged here") as caught:
        take_in(world, archive)
    assert caught.value.fields["state"] == "purged"
    report = take_in(world, archive, dry_run=True)
    assert {(each.field, each.reason) for each in report.conflicts} == {("tenant_id", "purged")}
    assert not world.store_file(tenant).exists()


def test_purged_collection_cannot_be_imported_under_another_tenant(world: World, there: World) -> None:
    archive = exported(world)
    take_in(there, archive)
    tenant = there.ops.perform(GetTenant(tenant="aki-labs"))
    there.ops.perform(PurgeCollection(tenant="aki-labs", database="kb", collection="deleted"))
    there.ops.perform(DeleteTenant(tenant="aki-labs"))
    there.ops.perform(PurgeTenant(tenant=tenant.tenant_id))
    report = take_in(there, archive, dry_run=True)
    assert ("collection_id", "purged") in {(each.field, each.reason) for each in report.conflicts}


def test_repeated_import_with_idempotency_key_returns_first_response(world: World, there: World) -> None:
    archive = exported(world)
    with keyed(idempotency_key="k"):
        first = take_in(there, archive)
        assert take_in(there, archive) == first
        with pytest.raises(IdempotencyMismatch):
            take_in(there, archive, slug="other")
    with pytest.raises(AlreadyExists):
        take_in(there, archive)


def test_suspended_tenant_is_exported_and_deleted_tenant_is_not(world: World, there: World) -> None:
    world.ops.perform(SuspendTenant(tenant="aki-labs"))
    assert take_in(there, exported(world)).tenant.status is TenantStatus.SUSPENDED
    with pytest.raises(InvalidState):
        there.on(NOTES, UpsertDocuments, documents=notes("a"))
    world.ops.perform(DeleteTenant(tenant="aki-labs"))
    with pytest.raises(NotFound):
        exported(world)
    with pytest.raises(NotFound):
        exported(world, "nobody")


def test_imported_tenant_over_quota_may_only_shrink(world: World, there: World) -> None:
    """A limit may lie below what is used: an archive of such a tenant is no fault."""
    world.ops.perform(UpdateTenant(tenant="aki-labs", storage_quota_bytes=10))
    take_in(there, exported(world))
    with pytest.raises(QuotaExceeded):
        there.on(NOTES, UpsertDocuments, documents=notes("new"))
    assert there.on(NOTES, DeleteDocuments, ids=["n1"]) == 1
    assert there.ops.perform(GetUsage(tenant="aki-labs")).documents == 1499


@pytest.mark.parametrize("how", ["import", "copy"])
def test_search_matches_brute_force_when_sequences_overlap_original(
    how: str, world: World, there: World
) -> None:
    """An index is of one incarnation: that of the original must not serve the other."""
    rng = np.random.default_rng(7)
    question = rng.standard_normal(16)
    first = best(world, NOTES, question)  # the original's index is made
    if how == "import":
        take_in(there, exported(world))
        other, path = there, NOTES
    else:
        world.ops.perform(CopyTenant(tenant="aki-labs", slug="branch"))
        other, path = world, NOTES._replace(tenant="branch")
    assert best(other, path, question) == first
    for number in range(3):
        for target, at in ((other, path), (world, NOTES)):
            vectors = rng.standard_normal((50, 16)).astype(np.float32)
            target.on(
                at, UpsertDocuments, documents=[{"id": f"n{n}", "vector": v} for n, v in enumerate(vectors)]
            )
            target.on(at, DeleteDocuments, ids=[f"n{100 + number}"])
        for target, at in ((other, path), (world, NOTES)):
            found = target.on(at, ScanDocuments, include=frozenset({Include.VECTOR}), limit=1000)
            rest = target.on(
                at, ScanDocuments, include=frozenset({Include.VECTOR}), limit=1000, cursor=found.next_cursor
            )
            held = {document.id: document.vector for document in [*found.items, *rest.items]}
            assert best(target, at, question) == brute_force(held, question)


def test_import_replaces_leftover_store_of_crashed_import(world: World, there: World) -> None:
    """What a crash leaves is a store that no metadata know: the next import takes its place."""
    archive = exported(world)
    tenant = world.ops.perform(GetTenant(tenant="aki-labs"))
    stores = there.ops._runtime.tenant_stores
    with stores.filling(tenant.tenant_id, StoreId(bytes(16))):
        pass
    assert there.store_file(tenant).exists()
    assert take_in(there, archive).documents == 1500
    assert all(finding.ok for finding in there.ops.perform(CheckStores()).items)
