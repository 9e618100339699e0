"""Tenants in process: create, get, update, suspend, delete, restore, purge."""

from typing import Any

import pytest
from msgspec.structs import replace

from akidb.domain.errors import AlreadyExists, InvalidArgument, InvalidState, NotFound, PreconditionFailed
from akidb.domain.fields import CollectionPath
from akidb.domain.ids import TenantId
from akidb.domain.lifecycle import TenantStatus
from akidb.operations import OPERATIONS, Request
from akidb.operations.collections import CreateCollection, DeleteCollection, GetCollection, ListCollections
from akidb.operations.databases import CreateDatabase, DeleteDatabase, GetDatabase, ListDatabases
from akidb.operations.documents import (
    CountDocuments,
    DeleteDocuments,
    GetDocuments,
    SearchDocuments,
    UpsertDocuments,
)
from akidb.operations.tenants import (
    ActivateTenant,
    DeleteTenant,
    GetTenant,
    GetUsage,
    ListTenants,
    PurgeTenant,
    RestoreTenant,
    SuspendTenant,
    UpdateTenant,
)
from akidb.operations.upkeep import CheckStores

from .worlds import World, ids_of, notes, on_files

UUID = "018f3c2e-7b6a-7c3d-8e9f-0a1b2c3d4e5f"


def test_tenant_gets_slug_and_default_quotas(world: World) -> None:
    made = world.tenant("Caf\u00e9 \u65e5\u672c")
    assert (made.name, made.slug, made.status, made.version) == (
        "Caf\u00e9 \u65e5\u672c",
        "cafe-riben",
        "active",
        1,
    )
    assert made.storage_quota_bytes == 1_099_511_627_776
    assert made.created_at == made.updated_at
    assert world.ops.perform(GetTenant(tenant=made.tenant_id)) == made
    assert world.ops.perform(GetTenant(tenant=str(made.tenant_id))) == made
    assert world.ops.perform(GetTenant(tenant="cafe-riben")) == made


def test_every_given_field_is_stored(world: World) -> None:
    made = world.tenant(
        "Aki",
        slug="a",
        external_id="crm/7",
        status=TenantStatus.PROVISIONING,
        memory_quota_bytes=0,
        storage_quota_bytes=1,
        qps_quota=2,
        metadata={"plan": {"seats": [1, None]}},
    )
    world.reopen()
    assert world.ops.perform(GetTenant(tenant="a")) == made
    assert (made.external_id, made.status, made.qps_quota) == ("crm/7", "provisioning", 2)
    assert made.metadata == {"plan": {"seats": [1, None]}}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": None}, "name"),
        ({"slug": "A"}, "slug"),
        ({"slug": UUID}, "slug"),
        ({"slug": "../x"}, "slug"),
        ({"slug": "a\n"}, "slug"),
        ({"external_id": ""}, "external_id"),
        ({"external_id": "x\0"}, "external_id"),
        ({"memory_quota_bytes": -1}, "memory_quota_bytes"),
        ({"storage_quota_bytes": 2**63}, "storage_quota_bytes"),
        ({"qps_quota": 1.5}, "qps_quota"),
        ({"qps_quota": True}, "qps_quota"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"a": {"b": float("nan")}}}, "metadata.a.b"),
        ({"status": "suspended"}, "status"),
        ({"status": "gone"}, "status"),
    ],
)
def test_invalid_argument_is_named_and_nothing_is_stored(
    world: World, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        world.tenant(**{"name": "Aki", **fields})
    assert caught.value.field == field
    assert world.ops.perform(ListTenants()).items == []


def test_duplicate_slug_or_external_id_is_named(world: World) -> None:
    world.tenant("Aki", external_id="crm/7")
    with pytest.raises(AlreadyExists) as caught:
        world.tenant("AKI", slug="aki")
    assert caught.value.fields == {"entity": "tenant", "field": "slug", "value": "aki"}
    with pytest.raises(AlreadyExists) as caught:
        world.tenant("Other", external_id="crm/7")
    assert caught.value.fields["field"] == "external_id"


@pytest.mark.parametrize(
    "reference", ["", "../x", "A", UUID.upper(), "{" + UUID + "}", "x" * 300, "a\n", None, 7]
)
def test_invalid_tenant_reference_is_rejected(world: World, reference: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        world.ops.perform(GetTenant(tenant=reference))
    assert caught.value.field == "tenant"


def test_update_changes_only_given_fields(world: World) -> None:
    made = world.tenant()
    changed = world.ops.perform(UpdateTenant(tenant="aki-labs", name="Aki", external_id="crm/7", qps_quota=7))
    assert (changed.name, changed.external_id, changed.qps_quota, changed.version) == ("Aki", "crm/7", 7, 2)
    assert changed.slug == made.slug
    cleared = world.ops.perform(UpdateTenant(tenant="aki-labs", external_id=None, slug="aki"))
    assert (cleared.external_id, cleared.slug, cleared.version) == (None, "aki", 3)
    assert world.ops.perform(GetTenant(tenant="aki")) == cleared


@pytest.mark.parametrize("changes", [{}, {"name": "Aki Labs"}, {"metadata": {}}])
def test_noop_update_leaves_no_trace(world: World, changes: dict[str, Any]) -> None:
    made = world.tenant()
    assert world.ops.perform(UpdateTenant(tenant="aki-labs", **changes)) == made
    assert world.actions("aki-labs") == ["tenant.create"]


def test_metadata_differing_only_in_value_type_is_stored(world: World) -> None:
    """To Python 1, 1.0 and True are equal; to JSON they are not."""
    world.tenant(metadata={"a": 1, "b": [0]})
    for metadata in ({"a": True, "b": [0]}, {"a": 1.0, "b": [0]}, {"a": 1.0, "b": [False]}):
        world.ops.perform(UpdateTenant(tenant="aki-labs", metadata=metadata))
        found = world.ops.perform(GetTenant(tenant="aki-labs")).metadata
        assert repr(found) == repr(metadata)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": " "}, "name"),
        ({"slug": "-"}, "slug"),
        ({"external_id": ""}, "external_id"),
        ({"qps_quota": -1}, "qps_quota"),
        ({"metadata": {"a": "\ud800"}}, "metadata.a"),
    ],
)
def test_invalid_change_is_named_and_not_applied(world: World, changes: dict[str, Any], field: str) -> None:
    made = world.tenant()
    with pytest.raises(InvalidArgument) as caught:
        world.ops.perform(UpdateTenant(tenant="aki-labs", **changes))
    assert caught.value.field == field
    assert world.ops.perform(GetTenant(tenant="aki-labs")) == made


@pytest.mark.parametrize(
    "change",
    [
        UpdateTenant(tenant="aki-labs", name="B"),
        ActivateTenant(tenant="aki-labs"),
        SuspendTenant(tenant="aki-labs"),
        DeleteTenant(tenant="aki-labs"),
        RestoreTenant(tenant="aki-labs"),
    ],
    ids=lambda change: OPERATIONS[type(change)].verb,
)
def test_stale_version_is_rejected_and_changes_nothing(world: World, change: Request[Any]) -> None:
    world.tenant()
    deleted = isinstance(change, RestoreTenant)
    if deleted:
        world.ops.perform(DeleteTenant(tenant="aki-labs"))
    else:
        world.ops.perform(UpdateTenant(tenant="aki-labs", name="Aki"))
    before = world.ops.perform(ListTenants(deleted=deleted)).items
    with pytest.raises(PreconditionFailed) as caught:
        world.ops.perform(replace(change, if_version=1))
    assert caught.value.fields == {"entity": "tenant", "expected": 1, "actual": 2}
    assert world.ops.perform(ListTenants(deleted=deleted)).items == before
    world.ops.perform(replace(change, if_version=2))


@pytest.mark.parametrize("version", [0, -1, "1", 1.0, True])
def test_invalid_version_is_rejected(world: World, version: Any) -> None:
    world.tenant()
    with pytest.raises(InvalidArgument) as caught:
        world.ops.perform(DeleteTenant(tenant="aki-labs", if_version=version))
    assert caught.value.field == "if_version"


def test_suspended_tenant_allows_only_metadata_and_audit_reads(world: World) -> None:
    path = world.place()
    world.on(path, UpsertDocuments, documents=notes("a"))
    suspended = world.ops.perform(SuspendTenant(tenant="aki-labs", reason="unpaid"))
    assert (suspended.status, suspended.version) == ("suspended", 2)
    assert world.ops.perform(GetTenant(tenant="aki-labs")).status == "suspended"
    assert world.on(path, GetCollection).name == "notes"
    assert world.ops.perform(GetUsage(tenant="aki-labs")).documents == 1
    entry = world.audit("aki-labs")[-1]
    assert (entry.action, entry.reason) == ("tenant.suspend", "unpaid")
    for stopped in (
        lambda: world.on(path, UpsertDocuments, documents=notes("b")),
        lambda: world.on(path, GetDocuments, ids=["a"]),
        lambda: world.on(path, CountDocuments),
        lambda: world.on(path, SearchDocuments, vector=notes("a")[0]["vector"]),
        lambda: world.ops.perform(CreateDatabase(tenant="aki-labs", name="other")),
        lambda: world.ops.perform(DeleteDatabase(tenant="aki-labs", database="kb")),
        lambda: world.ops.perform(
            CreateCollection(tenant="aki-labs", database="kb", name="other", dimension=16)
        ),
        lambda: world.on(path, DeleteCollection),
        lambda: world.ops.perform(UpdateTenant(tenant="aki-labs", name="B")),
    ):
        with pytest.raises(InvalidState) as caught:
            stopped()
        assert (caught.value.fields["entity"], caught.value.fields["state"]) == ("tenant", "suspended")
    assert world.ops.perform(ActivateTenant(tenant="aki-labs")).status == "active"
    assert ids_of(world.on(path, GetDocuments, ids=["a"])) == ["a"]


def test_suspending_twice_changes_nothing(world: World) -> None:
    world.tenant()
    first = world.ops.perform(SuspendTenant(tenant="aki-labs"))
    assert world.ops.perform(SuspendTenant(tenant="aki-labs")) == first
    assert world.actions("aki-labs") == ["tenant.create", "tenant.suspend"]


@pytest.mark.parametrize("reason", ["x" * 4097, "\0", 7])
def test_invalid_reason_is_rejected(world: World, reason: Any) -> None:
    world.tenant()
    with pytest.raises(InvalidArgument, match="reason"):
        world.ops.perform(SuspendTenant(tenant="aki-labs", reason=reason))
    assert world.ops.perform(GetTenant(tenant="aki-labs")).status == "active"


def test_provisioning_tenant_cannot_be_suspended(world: World) -> None:
    world.tenant(status=TenantStatus.PROVISIONING)
    with pytest.raises(InvalidState):
        world.ops.perform(SuspendTenant(tenant="aki-labs"))
    assert world.ops.perform(ActivateTenant(tenant="aki-labs")).status == "active"


def test_deleted_tenant_is_hidden_with_its_contents(world: World) -> None:
    path = world.place()
    made = world.ops.perform(GetTenant(tenant="aki-labs"))
    world.on(path, UpsertDocuments, documents=notes("a"))
    world.ops.perform(DeleteTenant(tenant="aki-labs"))
    for hidden in (
        lambda: world.ops.perform(GetTenant(tenant="aki-labs")),
        lambda: world.ops.perform(GetTenant(tenant=made.tenant_id)),
        lambda: world.ops.perform(UpdateTenant(tenant="aki-labs", name="B")),
        lambda: world.ops.perform(GetUsage(tenant="aki-labs")),
        lambda: world.ops.perform(SuspendTenant(tenant="aki-labs")),
        lambda: world.ops.perform(DeleteTenant(tenant="aki-labs")),
        lambda: world.ops.perform(GetDatabase(tenant="aki-labs", database="kb")),
        lambda: world.ops.perform(ListDatabases(tenant="aki-labs")),
        lambda: world.on(path, GetCollection),
        lambda: world.on(path, GetDocuments, ids=["a"]),
        lambda: world.on(path, UpsertDocuments, documents=notes("b")),
    ):
        with pytest.raises(NotFound) as caught:
            hidden()
        assert caught.value.fields["entity"] == "tenant"
    assert world.ops.perform(ListTenants()).items == []
    [deleted] = world.ops.perform(ListTenants(deleted=True)).items
    assert (deleted.status, deleted.tenant_id) == ("decommissioned", made.tenant_id)
    with pytest.raises(AlreadyExists):
        world.tenant(slug="aki-labs")


@pytest.mark.parametrize("before", [TenantStatus.ACTIVE, TenantStatus.SUSPENDED])
def test_restored_tenant_is_unchanged(world: World, before: TenantStatus) -> None:
    path = world.place()
    world.on(path, UpsertDocuments, documents=notes("a"))
    if before is TenantStatus.SUSPENDED:
        world.ops.perform(SuspendTenant(tenant="aki-labs"))
    world.ops.perform(DeleteTenant(tenant="aki-labs"))
    restored = world.ops.perform(RestoreTenant(tenant="aki-labs"))
    assert (restored.status, restored.deleted_at) == (before, None)
    world.ops.perform(ActivateTenant(tenant="aki-labs"))
    assert ids_of(world.on(path, GetDocuments, ids=["a"])) == ["a"]
    assert world.ops.perform(GetUsage(tenant="aki-labs")).documents == 1


def test_only_deleted_tenant_can_be_restored_or_purged(world: World) -> None:
    world.tenant()
    with pytest.raises(NotFound):
        world.ops.perform(RestoreTenant(tenant="aki-labs"))
    with pytest.raises(InvalidState) as caught:
        world.ops.perform(PurgeTenant(tenant="aki-labs"))
    assert caught.value.fields["allowed"] == ["decommissioned"]
    with pytest.raises(NotFound):
        world.ops.perform(PurgeTenant(tenant="other"))


@on_files
def test_purge_of_tenant_keeps_its_audit_entries(world: World) -> None:
    path = world.place()
    made = world.ops.perform(GetTenant(tenant="aki-labs"))
    world.on(path, UpsertDocuments, documents=notes("a"))
    assert world.store_file(made).exists()
    world.ops.perform(DeleteTenant(tenant=made.tenant_id))
    world.ops.perform(PurgeTenant(tenant=made.tenant_id))
    assert not world.store_file(made).exists()
    assert list((world.directory / "tenants").iterdir()) == []
    assert world.ops.perform(ListTenants(deleted=True)).items == []
    with pytest.raises(NotFound):
        world.ops.perform(RestoreTenant(tenant=made.tenant_id))
    with pytest.raises(NotFound):
        world.ops.perform(PurgeTenant(tenant=made.tenant_id))
    assert world.actions(made.tenant_id)[-2:] == ["tenant.delete", "tenant.purge"]
    again = world.tenant()
    assert again.tenant_id != made.tenant_id
    assert world.actions("aki-labs") == ["tenant.create"]
    assert all(finding.ok for finding in world.ops.perform(CheckStores()).items)


def test_tenants_are_listed_by_creation_time_in_pages(world: World) -> None:
    made = [world.tenant(f"t{number}") for number in range(7)]
    world.ops.perform(SuspendTenant(tenant="t3"))
    first = world.ops.perform(ListTenants(limit=4))
    rest = world.ops.perform(ListTenants(limit=4, cursor=first.next_cursor))
    assert [t.slug for t in first.items + rest.items] == [t.slug for t in made]
    assert rest.next_cursor is None
    assert [t.slug for t in world.ops.perform(ListTenants(status=TenantStatus.SUSPENDED)).items] == ["t3"]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"limit": "5"}, "limit"),
        ({"cursor": "x"}, "cursor"),
        ({"cursor": ""}, "cursor"),
        ({"cursor": 7}, "cursor"),
        ({"status": "gone"}, "status"),
    ],
)
def test_invalid_list_arguments_are_rejected(world: World, arguments: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        world.ops.perform(ListTenants(**arguments))
    assert caught.value.field == field


def test_usage_is_exact(world: World) -> None:
    made = world.tenant(memory_quota_bytes=10**6, storage_quota_bytes=10**7, qps_quota=50)
    empty = world.ops.perform(GetUsage(tenant="aki-labs"))
    assert (empty.storage_bytes.used, empty.documents, empty.databases, empty.collections) == (0, 0, 0, 0)
    assert (empty.storage_bytes.limit, empty.memory_bytes.limit, empty.qps.limit) == (10**7, 10**6, 50)
    world.database()
    world.collection()
    world.collection(name="drafts")
    path = CollectionPath("aki-labs", "kb", "notes")
    world.on(
        path,
        UpsertDocuments,
        documents=[{"id": "\u00e9", "text": "\u65e5", "vector": [1.0] * 16, "metadata": {"b": 1}}],
    )
    usage = world.ops.perform(GetUsage(tenant=made.tenant_id))
    assert (usage.storage_bytes.used, usage.memory_bytes.used) == (2 + 3 + len('{"b":1}') + 64, 0)
    assert (usage.documents, usage.databases, usage.collections) == (1, 1, 2)
    world.on(path, SearchDocuments, vector=[1.0] * 16)
    assert 0 < world.ops.perform(GetUsage(tenant="aki-labs")).memory_bytes.used <= 10**6
    world.on(path, DeleteDocuments, ids=["\u00e9"])
    world.ops.perform(DeleteDatabase(tenant="aki-labs", database="kb"))
    usage = world.ops.perform(GetUsage(tenant="aki-labs"))
    assert (usage.storage_bytes.used, usage.documents, usage.databases, usage.collections) == (0, 0, 0, 0)


def test_unknown_tenant_error_names_given_reference(world: World) -> None:
    for reference in ("absent", TenantId(bytes(16))):
        with pytest.raises(NotFound) as caught:
            world.ops.perform(GetTenant(tenant=reference))
        assert caught.value.fields == {"entity": "tenant", "id": str(reference)}


@pytest.mark.parametrize("value", ["yes", 1])
def test_list_rejects_non_boolean_deleted_flag(world: World, value: Any) -> None:
    world.place("Other")
    lists = (
        lambda: world.ops.perform(ListTenants(deleted=value)),
        lambda: world.ops.perform(ListDatabases(tenant="other", deleted=value)),
        lambda: world.ops.perform(ListCollections(tenant="other", database="kb", deleted=value)),
    )
    for call in lists:
        with pytest.raises(InvalidArgument) as caught:
            call()
        assert caught.value.field == "deleted"
