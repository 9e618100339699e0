"""What a copy of a tenant includes and excludes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from akidb.domain.entities import Tenant
from akidb.domain.fields import CollectionPath
from akidb.operations.archives import CopyTenant
from akidb.operations.databases import CreateDatabase
from akidb.operations.documents import CountDocuments, DeleteDocuments, ScanDocuments, UpsertDocuments
from akidb.operations.tenants import DeleteTenant, GetTenant, ListTenants, PurgeTenant
from akidb.operations.users import CountUsers, CreateUser, ListUsers

from .archived import exported, parts_of
from .reaching import metadata_rows, store_rows
from .worlds import World, keyed, notes, opened

NOTES = CollectionPath("aki-labs", "kb", "notes")


@pytest.fixture
def world(place: Path | str) -> Iterator[World]:
    """A tenant with every kind of data."""
    with opened(place) as made:
        with keyed(idempotency_key="of the original"):
            made.tenant(external_id="crm-1", metadata={"a": 1})
            made.database()
            made.collection()
            made.ops.perform(UpsertDocuments(**NOTES._asdict(), documents=notes("a", "b")))
            made.ops.perform(
                CreateUser(tenant="aki-labs", email="bob@example.com", password="correct horse battery")
            )
        yield made


@pytest.fixture
def original(world: World) -> Tenant:
    return world.ops.perform(GetTenant(tenant="aki-labs"))


def test_copy_excludes_users(world: World, original: Tenant) -> None:
    made = world.ops.perform(CopyTenant(tenant="aki-labs", slug="branch"))
    of_tenant = "SELECT email FROM users WHERE tenant_id = {tenant}"
    assert metadata_rows(world, of_tenant, made.tenant_id) == []
    assert len(metadata_rows(world, of_tenant, original.tenant_id)) == 1
    assert world.ops.perform(CountUsers(tenant="branch")) == 0
    assert world.ops.perform(ListUsers(tenant="branch")).items == []


def test_copy_excludes_remembered_responses(world: World, original: Tenant) -> None:
    made = world.ops.perform(CopyTenant(tenant="aki-labs", slug="branch"))
    assert len(store_rows(world, original.tenant_id, "remembered_answers")) == 1
    assert store_rows(world, made.tenant_id, "remembered_answers") == []
    of_tenant = "SELECT key FROM remembered_answers WHERE tenant_id = {tenant}"
    assert metadata_rows(world, of_tenant, original.tenant_id)
    assert metadata_rows(world, of_tenant, made.tenant_id) == []


def test_idempotency_key_of_original_is_unused_in_copy(world: World) -> None:
    world.ops.perform(CopyTenant(tenant="aki-labs", slug="branch"))
    branch = NOTES._replace(tenant="branch")
    with keyed(idempotency_key="of the original"):
        assert world.ops.perform(UpsertDocuments(**branch._asdict(), documents=notes("c", "d", "e"))).ids == [
            "c",
            "d",
            "e",
        ]
        assert world.ops.perform(CreateDatabase(tenant="branch", name="other")).name == "other"
    assert world.ops.perform(CountDocuments(**branch._asdict())) == 5


def test_copy_excludes_audit_and_external_id(world: World, original: Tenant) -> None:
    made = world.ops.perform(CopyTenant(tenant="aki-labs", slug="branch"))
    assert world.actions(made.tenant_id) == ["tenant.copy"]
    assert made.external_id is None
    assert [tenant.slug for tenant in world.ops.perform(ListTenants(external_id="crm-1")).items] == [
        "aki-labs"
    ]
    assert metadata_rows(world, "SELECT subject FROM outbox") == []
    assert made.metadata == original.metadata


def test_copy_contains_documents_and_deletions(world: World, original: Tenant) -> None:
    world.ops.perform(DeleteDocuments(**NOTES._asdict(), ids=["a"]))
    made = world.ops.perform(CopyTenant(tenant="aki-labs", slug="branch"))
    for table, rows in (("documents", 1), ("tombstones", 1), ("collections", 1), ("control", 1)):
        assert len(store_rows(world, made.tenant_id, table)) == rows, table
    world.ops.perform(DeleteTenant(tenant="aki-labs"))
    world.ops.perform(PurgeTenant(tenant=original.tenant_id))
    assert [
        each.id
        for each in world.ops.perform(ScanDocuments(**NOTES._replace(tenant="branch")._asdict())).items
    ] == ["b"]


def test_export_excludes_remembered_responses(world: World) -> None:
    _, parts = parts_of(exported(world))
    assert parts
    assert not any("of the original" in repr(part) for part in parts)
