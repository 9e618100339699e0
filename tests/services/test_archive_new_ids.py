"""Imports under new IDs: a purged tenant comes back, as often as it was purged."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import asdict

import akidb
from akidb.domain.documents import Include
from akidb.domain.errors import AlreadyExists, InvalidState
from akidb.domain.fields import CollectionPath
from akidb.domain.ids import EntityId
from akidb.operations.audit import ListAuditEntries
from akidb.operations.collections import DeleteCollection, ListCollections, RestoreCollection
from akidb.operations.databases import ListDatabases
from akidb.operations.documents import DeleteDocuments, ScanDocuments, SearchDocuments, UpsertDocuments
from akidb.operations.tenants import DeleteTenant, GetTenant, GetUsage, PurgeTenant, UpdateTenant
from akidb.operations.upkeep import CheckStores
from akidb.operations.users import CreateUser, ListUsers, VerifyPassword

from .archived import exported, take_in
from .worlds import World, keyed, notes, opened, vector_of

NOTES = CollectionPath("aki-labs", "kb", "notes")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened(tmp_path / "here") as made:
        made.tenant(external_id="crm-1", metadata={"plan": "pro"})
        made.database()
        made.collection()
        made.collection(name="deleted", dimension=32)
        made.on(NOTES, UpsertDocuments, documents=notes(*(f"n{at}" for at in range(50))))
        made.on(NOTES, DeleteDocuments, ids=["n3"])
        made.ops.perform(DeleteCollection(tenant="aki-labs", database="kb", collection="deleted"))
        made.ops.perform(CreateUser(tenant="aki-labs", email="bob@x.org", password="correct horse"))
        yield made


def everything(world: World, slug: str = "aki-labs") -> list[Any]:
    """All that the tenant has, without its IDs."""
    perform = world.ops.perform
    rows = [
        perform(GetTenant(tenant=slug)),
        *perform(ListDatabases(tenant=slug)).items,
        *perform(ListCollections(tenant=slug, database="kb")).items,
        *perform(ListCollections(tenant=slug, database="kb", deleted=True)).items,
        *perform(ListUsers(tenant=slug)).items,
    ]
    path = CollectionPath(slug, "kb", "notes")
    found: list[Any] = [without_ids(row) for row in rows]
    found += world.on(path, ScanDocuments, limit=1_000, include=list(Include)).items
    return [*found, perform(GetUsage(tenant=slug)).storage_bytes.used]


def without_ids(row: Any) -> dict[str, Any]:
    return {
        name: value
        for name, value in asdict(row).items()
        if not isinstance(value, EntityId) and name != "last_login_at"
    }


def ids_of(world: World, slug: str = "aki-labs") -> set[EntityId]:
    perform = world.ops.perform
    rows = [
        perform(GetTenant(tenant=slug)),
        *perform(ListDatabases(tenant=slug)).items,
        *perform(ListCollections(tenant=slug, database="kb")).items,
        *perform(ListUsers(tenant=slug)).items,
    ]
    return {value for row in rows for value in asdict(row).values() if isinstance(value, EntityId)}


def test_purged_tenant_comes_back_twice(world: World) -> None:
    before, seen = everything(world), ids_of(world)
    archive = exported(world)
    for _ in range(2):
        world.ops.perform(DeleteTenant(tenant="aki-labs"))
        world.ops.perform(PurgeTenant(tenant="aki-labs"))
        report = take_in(world, archive, new_ids=True)
        assert (report.databases, report.collections, report.users, report.documents) == (1, 2, 1, 49)
        assert everything(world) == before
        assert not ids_of(world) & seen
        seen |= ids_of(world)
        world.ops.perform(VerifyPassword(tenant="aki-labs", email="bob@x.org", password="correct horse"))
        world.ops.perform(RestoreCollection(tenant="aki-labs", database="kb", collection="deleted"))
        world.ops.perform(DeleteCollection(tenant="aki-labs", database="kb", collection="deleted"))
        found = world.on(NOTES, SearchDocuments, vector=vector_of("n7"), top_k=3)
        assert len(found.matches) == 3
        assert all(finding.ok for finding in world.ops.perform(CheckStores()).items)
        entries = world.ops.perform(ListAuditEntries(tenant="aki-labs")).items
        assert entries[0].action == "tenant.import"
        before = everything(world)
        archive = exported(world)


def test_original_and_import_stand_side_by_side(world: World) -> None:
    archive = exported(world)
    with pytest.raises(AlreadyExists) as caught:
        take_in(world, archive, new_ids=True)
    assert caught.value.fields["field"] == "slug"
    conflicts = take_in(world, archive, new_ids=True, slug="second", dry_run=True).conflicts
    assert [conflict.field for conflict in conflicts] == ["external_id"]
    with opened(world.directory.parent / "there") as there:
        take_in(there, archive)
        ids = ids_of(there)
        there.ops.perform(UpdateTenant(tenant="aki-labs", external_id=None))
        take_in(there, exported(there), new_ids=True, slug="second")
        first, second = everything(there), everything(there, "second")
        assert [row for row in first[1:] if row] == [row for row in second[1:] if row]
        assert ids_of(there) == ids
        there.on(CollectionPath("second", "kb", "notes"), DeleteDocuments, ids=["n7"])
        assert everything(there) == first
        assert all(finding.ok for finding in there.ops.perform(CheckStores()).items)


def test_without_new_ids_a_purged_tenant_is_refused_with_the_way(world: World) -> None:
    archive = exported(world)
    world.ops.perform(DeleteTenant(tenant="aki-labs"))
    world.ops.perform(PurgeTenant(tenant="aki-labs"))
    with pytest.raises(InvalidState, match="new_ids"):
        take_in(world, archive)


def test_dry_run_with_new_ids_changes_nothing(world: World) -> None:
    archive = exported(world)
    world.ops.perform(DeleteTenant(tenant="aki-labs"))
    world.ops.perform(PurgeTenant(tenant="aki-labs"))
    report = take_in(world, archive, new_ids=True, dry_run=True)
    assert (report.conflicts, report.documents) == ([], 49)
    with pytest.raises(akidb.NotFound):
        world.ops.perform(GetTenant(tenant="aki-labs"))


def test_repeated_import_with_new_ids_and_a_key_is_one(world: World) -> None:
    archive = exported(world)
    world.ops.perform(DeleteTenant(tenant="aki-labs"))
    world.ops.perform(PurgeTenant(tenant="aki-labs"))
    with keyed(idempotency_key="k1"):
        first = take_in(world, archive, new_ids=True)
    with keyed(idempotency_key="k1"):
        assert take_in(world, archive, new_ids=True) == first
    with keyed(idempotency_key="k1"), pytest.raises(akidb.IdempotencyMismatch):
        take_in(world, archive, new_ids=False)
