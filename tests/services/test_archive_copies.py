"""Copies of tenants: independent of the original, with its sequences, under a slug of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from akidb.domain.errors import AlreadyExists, InvalidArgument, NotFound
from akidb.domain.fields import CollectionPath
from akidb.operations.archives import CopyTenant
from akidb.operations.collections import GetCollection
from akidb.operations.documents import CountDocuments, DeleteDocuments, GetDocuments, UpsertDocuments
from akidb.operations.tenants import DeleteTenant, GetTenant, PurgeTenant
from akidb.operations.upkeep import CheckStores
from akidb.operations.users import ListUsers

from .archived import files_of, large, rows_of
from .worlds import World, keyed, notes

NOTES = CollectionPath("aki-labs", "kb", "notes")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with large(tmp_path / "here") as made:
        yield made


def test_copy_is_independent_of_original(world: World) -> None:
    original = world.ops.perform(GetTenant(tenant="aki-labs"))
    made = world.ops.perform(CopyTenant(tenant="aki-labs", slug="branch", name="The branch"))
    assert (made.slug, made.name, made.version, made.external_id) == ("branch", "The branch", 1, None)
    assert made.metadata == original.metadata
    assert made.storage_quota_bytes == original.storage_quota_bytes
    branch = NOTES._replace(tenant="branch")
    assert world.on(branch, CountDocuments) == 1500
    ids = {
        world.ops.perform(GetCollection(tenant=tenant, database="kb", collection="notes")).collection_id
        for tenant in ("aki-labs", "branch")
    }
    assert len(ids) == 2
    assert world.ops.perform(ListUsers(tenant="branch")).items == []
    world.on(branch, DeleteDocuments, ids=["n1"])
    world.on(NOTES, UpsertDocuments, documents=notes("only there"))
    assert world.on(branch, GetDocuments, ids=["n1", "only there"]) == []
    assert len(world.on(NOTES, GetDocuments, ids=["n1", "only there"])) == 2
    world.ops.perform(DeleteTenant(tenant="aki-labs"))
    world.ops.perform(PurgeTenant(tenant=original.tenant_id))
    assert world.on(branch, CountDocuments) == 1499
    assert all(finding.ok for finding in world.ops.perform(CheckStores()).items)
    assert "tenant.copy" in world.actions(made.tenant_id)


def test_copy_keeps_sequences_and_tombstones(world: World) -> None:
    made = world.ops.perform(CopyTenant(tenant="aki-labs", slug="branch"))
    original = world.ops.perform(GetTenant(tenant="aki-labs"))
    world.ops.close()
    one, two = (rows_of(world.store_file(tenant)) for tenant in (original, made))
    assert one["documents"] == two["documents"]
    assert one["tombstones"] == two["tombstones"]
    # In the order of their IDs, which are new and old; a version is that of the metadata, which begin anew.
    assert [row[3:] for row in one["collections"]] == [row[3:] for row in two["collections"]]


def test_copy_to_existing_slug_is_rejected(world: World) -> None:
    before = files_of(world.directory)
    with pytest.raises(AlreadyExists) as caught:
        world.ops.perform(CopyTenant(tenant="aki-labs", slug="neighbour"))
    assert caught.value.fields["field"] == "slug"
    with pytest.raises(InvalidArgument):
        world.ops.perform(CopyTenant(tenant="aki-labs", slug="No Slug"))
    with pytest.raises(NotFound):
        world.ops.perform(CopyTenant(tenant="nobody", slug="fine"))
    assert files_of(world.directory) == before


def test_repeated_copy_with_idempotency_key_returns_first_response(world: World) -> None:
    with keyed(idempotency_key="k"):
        assert world.ops.perform(CopyTenant(tenant="aki-labs", slug="branch")) == world.ops.perform(
            CopyTenant(tenant="aki-labs", slug="branch")
        )
