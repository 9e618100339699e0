"""Audit entries: one per change, written in its transaction, with the actor."""

from typing import Any

import pytest

from akidb.domain.errors import AkiDBError, NotFound
from akidb.domain.fields import CollectionPath
from akidb.domain.ids import TenantId
from akidb.domain.lifecycle import DatabaseState, TenantStatus
from akidb.observe.context import RequestContext, bound
from akidb.operations.audit import ListAuditEntries
from akidb.operations.collections import (
    DeleteCollection,
    PurgeCollection,
    RestoreCollection,
    UpdateCollection,
)
from akidb.operations.databases import DeleteDatabase, PurgeDatabase, RestoreDatabase, UpdateDatabase
from akidb.operations.documents import DeleteDocuments, UpsertDocuments
from akidb.operations.tenants import (
    ActivateTenant,
    DeleteTenant,
    PurgeTenant,
    RestoreTenant,
    SuspendTenant,
    UpdateTenant,
)

from .worlds import World, keyed, notes

PATH = CollectionPath("aki-labs", "kb", "notes")


def test_every_change_writes_one_audit_entry(world: World) -> None:
    tenant = world.tenant(status=TenantStatus.PROVISIONING)
    world.ops.perform(ActivateTenant(tenant="aki-labs"))
    database, collection = world.database(), world.collection()
    world.ops.perform(UpdateDatabase(tenant="aki-labs", database="kb", state=DatabaseState.MIGRATING))
    world.ops.perform(UpdateDatabase(tenant="aki-labs", database="kb", state=DatabaseState.READY))
    world.on(PATH, UpdateCollection, hnsw_m=4)
    world.on(PATH, DeleteCollection)
    world.on(PATH, RestoreCollection)
    world.on(PATH, DeleteCollection)
    world.on(PATH, PurgeCollection)
    world.ops.perform(DeleteDatabase(tenant="aki-labs", database="kb"))
    world.ops.perform(RestoreDatabase(tenant="aki-labs", database="kb"))
    world.ops.perform(DeleteDatabase(tenant="aki-labs", database="kb"))
    world.ops.perform(PurgeDatabase(tenant="aki-labs", database="kb"))
    world.ops.perform(UpdateTenant(tenant="aki-labs", name="B"))
    world.ops.perform(SuspendTenant(tenant="aki-labs", reason="unpaid"))
    world.ops.perform(DeleteTenant(tenant="aki-labs"))
    world.ops.perform(RestoreTenant(tenant="aki-labs"))
    world.ops.perform(DeleteTenant(tenant="aki-labs"))
    world.ops.perform(PurgeTenant(tenant="aki-labs"))
    entries = world.audit(tenant.tenant_id)
    assert [entry.action for entry in entries] == [
        "tenant.create",
        "tenant.activate",
        "database.create",
        "collection.create",
        "database.update",
        "database.update",
        "collection.update",
        "collection.delete",
        "collection.restore",
        "collection.delete",
        "collection.purge",
        "database.delete",
        "database.restore",
        "database.delete",
        "database.purge",
        "tenant.update",
        "tenant.suspend",
        "tenant.delete",
        "tenant.restore",
        "tenant.delete",
        "tenant.purge",
    ]
    ids = {
        "tenant": tenant.tenant_id,
        "database": database.database_id,
        "collection": collection.collection_id,
    }
    for entry in entries:
        assert entry.tenant_id == tenant.tenant_id
        assert entry.action.startswith(entry.resource_type + ".")
        assert entry.resource_id == str(ids[entry.resource_type])
        assert entry.result == "allowed"
    assert [entry.reason for entry in entries if entry.reason] == ["unpaid"]
    assert [entry.created_at for entry in entries] == sorted(entry.created_at for entry in entries)


def test_document_operations_write_no_audit_entries(world: World) -> None:
    world.place()
    before = world.audit("aki-labs")
    world.on(PATH, UpsertDocuments, documents=notes("a"))
    world.on(PATH, DeleteDocuments, ids=["a"])
    assert world.audit("aki-labs") == before


def test_audit_entry_contains_request_id(world: World) -> None:
    with keyed(request_id="r-1"):
        world.tenant()
    asked = RequestContext(request_id="r-2", ip_address="127.0.0.1", user_agent="curl/8")
    with bound(asked):
        world.database()
    world.collection()
    first, second, third = world.audit("aki-labs")
    assert (first.request_id, first.ip_address, first.user_agent) == ("r-1", None, None)
    assert (second.request_id, second.ip_address, second.user_agent) == ("r-2", "127.0.0.1", "curl/8")
    assert third.request_id is None


@pytest.mark.parametrize(
    "fails",
    [
        lambda world: world.tenant(),
        lambda world: world.database(),
        lambda world: world.collection(),
        lambda world: world.ops.perform(DeleteDatabase(tenant="aki-labs", database="kb", if_version=9)),
        lambda world: world.ops.perform(PurgeTenant(tenant="aki-labs")),
    ],
)
def test_failed_operation_writes_no_audit_entry(world: World, fails: Any) -> None:
    world.place()
    before = world.audit("aki-labs")
    with pytest.raises(AkiDBError):
        fails(world)
    assert world.audit("aki-labs") == before


def test_audit_entries_are_paged(world: World) -> None:
    world.tenant()
    for number in range(6):
        world.database(name=f"d{number}")
    first = world.ops.perform(ListAuditEntries(tenant="aki-labs", limit=4))
    rest = world.ops.perform(ListAuditEntries(tenant="aki-labs", limit=4, cursor=first.next_cursor))
    assert first.items + rest.items == world.audit("aki-labs")
    assert (len(first.items), len(rest.items), rest.next_cursor) == (4, 3, None)


def test_audit_entries_of_deleted_or_purged_tenant_are_found_by_id(world: World) -> None:
    tenant_id = world.tenant().tenant_id
    world.ops.perform(DeleteTenant(tenant="aki-labs"))
    with pytest.raises(NotFound):
        world.ops.perform(ListAuditEntries(tenant="aki-labs"))
    assert len(world.audit(tenant_id)) == 2
    world.ops.perform(PurgeTenant(tenant=tenant_id))
    assert len(world.audit(str(tenant_id))) == 3
    with pytest.raises(NotFound) as caught:
        world.ops.perform(ListAuditEntries(tenant=TenantId(bytes(16))))
    assert caught.value.fields["entity"] == "tenant"


def test_audit_entries_contain_ids_and_codes_but_no_tenant_texts(world: World) -> None:
    world.tenant("Secret Name", external_id="secret-external", metadata={"secret": "secret"})
    world.database("secret-name", "secret-db", description="secret")
    for entry in world.audit("secret-name"):
        assert "secret" not in repr(entry).lower()
