"""A committed metadata change is applied to the tenant's store before any caller can observe it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from akidb.domain.entities import Tenant
from akidb.domain.errors import AkiDBError, NotFound, QuotaExceeded, Unavailable
from akidb.domain.fields import CollectionPath
from akidb.domain.ids import TenantId
from akidb.domain.lifecycle import DatabaseState
from akidb.operations.collections import DeleteCollection, RestoreCollection, UpdateCollection
from akidb.operations.databases import DeleteDatabase, RestoreDatabase, UpdateDatabase
from akidb.operations.documents import CountDocuments, UpsertDocuments
from akidb.operations.migration import MigrateV1ToV2
from akidb.operations.tenants import (
    ActivateTenant,
    DeleteTenant,
    GetTenant,
    GetUsage,
    PurgeTenant,
    RestoreTenant,
    SuspendTenant,
    UpdateTenant,
)
from akidb.operations.upkeep import CheckStores

from .reaching import metadata_rows
from .worlds import World, notes, opened

NOTES = CollectionPath("aki-labs", "kb", "notes")
OF_1X = {name: CollectionPath(name, "default", "notes") for name in ("tenant-1", "tenant-2")}
TIME = "2025-03-01T10:00:00Z"
DRAFTS = CollectionPath("aki-labs", "kb", "drafts")
Act = Callable[[World], Any]


@pytest.fixture
def world(place: Path | str) -> Iterator[World]:
    """A tenant with an open store and no pending outbox entries."""
    with opened(place) as made:
        made.place()
        made.ops.perform(UpsertDocuments(**NOTES._asdict(), documents=notes("a")))
        yield made


@pytest.fixture
def tenant(world: World) -> Tenant:
    return world.ops.perform(GetTenant(tenant="aki-labs"))


def when_committed(world: World, patch: pytest.MonkeyPatch, happens: Callable[[], None]) -> None:
    """Have something happen as soon as the next change of the metadata is committed, and nothing else is."""
    metadata = world.ops._runtime.metadata
    transaction = metadata.transaction

    @contextmanager
    def transaction_then() -> Iterator[Any]:
        with transaction() as tx:
            yield tx
        patch.setattr(metadata, "transaction", transaction)
        happens()

    patch.setattr(metadata, "transaction", transaction_then)


def upsert(path: CollectionPath, *ids: str) -> Act:
    return lambda world: world.ops.perform(UpsertDocuments(**path._asdict(), documents=notes(*ids))).upserted


def count_of(path: CollectionPath) -> Act:
    return lambda world: world.ops.perform(CountDocuments(**path._asdict()))


count = count_of(NOTES)


def of_tenant(**changes: Any) -> Act:
    return lambda world: world.ops.perform(UpdateTenant(tenant="aki-labs", **changes))


def of_collection(**changes: Any) -> Act:
    return lambda world: world.ops.perform(UpdateCollection(**NOTES._asdict(), **changes))


def nothing(_world: World) -> None:
    pass


def suspend(world: World) -> None:
    world.ops.perform(SuspendTenant(tenant="aki-labs"))


def delete_tenant(world: World) -> None:
    world.ops.perform(DeleteTenant(tenant="aki-labs"))


def delete_database(world: World) -> None:
    world.ops.perform(DeleteDatabase(tenant="aki-labs", database="kb"))


def delete_collection(world: World) -> None:
    world.ops.perform(DeleteCollection(**NOTES._asdict()))


def migrate_database(world: World) -> None:
    world.ops.perform(UpdateDatabase(tenant="aki-labs", database="kb", state=DatabaseState.MIGRATING))


CHANGES: dict[str, tuple[Act, Act, Act, Any]] = {
    "a smaller quota of storage": (
        nothing,
        of_tenant(storage_quota_bytes=1),
        upsert(NOTES, "b"),
        QuotaExceeded,
    ),
    "a smaller number of documents": (
        nothing,
        of_collection(max_document_count=1),
        upsert(NOTES, "b"),
        QuotaExceeded,
    ),
    "a larger number of documents": (
        of_collection(max_document_count=1),
        of_collection(max_document_count=2),
        upsert(NOTES, "b"),
        1,
    ),
    "a new collection": (nothing, lambda world: world.collection(name="drafts"), upsert(DRAFTS, "b"), 1),
    "a tenant that goes on": (
        suspend,
        lambda world: world.ops.perform(ActivateTenant(tenant="aki-labs")),
        count,
        1,
    ),
    "a tenant that is back": (
        delete_tenant,
        lambda world: world.ops.perform(RestoreTenant(tenant="aki-labs")),
        count,
        1,
    ),
    "a database that is back": (
        delete_database,
        lambda world: world.ops.perform(RestoreDatabase(tenant="aki-labs", database="kb")),
        count,
        1,
    ),
    "a collection that is back": (
        delete_collection,
        lambda world: world.ops.perform(RestoreCollection(**NOTES._asdict())),
        count,
        1,
    ),
    "a database that goes on": (
        migrate_database,
        lambda world: world.ops.perform(
            UpdateDatabase(tenant="aki-labs", database="kb", state=DatabaseState.READY)
        ),
        upsert(NOTES, "b"),
        1,
    ),
}


def outcome(act: Act, world: World) -> Any:
    """What the act gives, or the kind of error that it raises."""
    try:
        return act(world)
    except AkiDBError as error:
        return type(error)


@pytest.mark.parametrize("name", CHANGES)
def test_call_between_commit_and_response_sees_change_applied_to_store(
    name: str, world: World, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, change, act, expected = CHANGES[name]
    before(world)
    seen: list[Any] = []
    when_committed(world, monkeypatch, lambda: seen.append(outcome(act, world)))
    change(world)
    assert seen == [expected]
    assert metadata_rows(world, "SELECT subject FROM outbox") == []
    assert not world.ops._runtime.stores._announced


def migrate(world: World, source: Path, status: str) -> None:
    """Take two tenants over from 1.x, or overwrite them."""
    source.mkdir(exist_ok=True)
    for name in OF_1X:
        manifest = {"name": name, "created_at": TIME, "updated_at": TIME, "tenant_id": name[-1] * 32}
        (source / f"{name}.json").write_text(json.dumps({**manifest, "status": status}))
    world.ops.perform(MigrateV1ToV2(v1_data_dir=source, overwrite=True))


@pytest.fixture
def migrated(place: Path | str, tmp_path: Path) -> Iterator[World]:
    """Two tenants migrated from 1.x that have a store and were then suspended by another migration."""
    with opened(place) as made:
        migrate(made, tmp_path / "v1", "active")
        for name, path in OF_1X.items():
            made.collection(name, "default")
            made.ops.perform(UpsertDocuments(**path._asdict(), documents=notes("a")))
        migrate(made, tmp_path / "v1", "suspended")
        yield made


def counts(world: World) -> list[Any]:
    """How many documents each of them has."""
    return [outcome(count_of(path), world) for path in OF_1X.values()]


def test_call_between_commit_and_end_of_migration_sees_change_applied_to_stores(
    migrated: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    when_committed(migrated, monkeypatch, lambda: seen.extend(counts(migrated)))
    migrate(migrated, tmp_path / "v1", "active")
    assert seen == [1, 1]
    assert metadata_rows(migrated, "SELECT subject FROM outbox") == []
    assert not migrated.ops._runtime.stores._announced


@pytest.mark.parametrize("error", [KeyboardInterrupt, Unavailable("the disk failed")])
def test_migration_interrupted_at_commit_clears_announcement_and_is_still_applied(
    error: BaseException, migrated: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error

    when_committed(migrated, monkeypatch, fail)
    with pytest.raises((KeyboardInterrupt, Unavailable)):
        migrate(migrated, tmp_path / "v1", "active")
    assert not migrated.ops._runtime.stores._announced
    assert counts(migrated) == [1, 1]


def test_failure_to_apply_change_to_one_store_does_not_block_other_stores(
    migrated: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_tenant_id: TenantId) -> None:
        raise Unavailable("the disk failed")

    with monkeypatch.context() as patch:
        patch.setattr(migrated.ops._runtime.stores, "apply_pending", fail)
        with pytest.raises(Unavailable):
            migrate(migrated, tmp_path / "v1", "active")
    assert not migrated.ops._runtime.stores._announced
    assert counts(migrated) == [1, 1]


def test_change_interrupted_at_commit_clears_announcement_and_is_still_applied(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    when_committed(world, monkeypatch, interrupt)
    with pytest.raises(KeyboardInterrupt):
        world.ops.perform(UpdateTenant(tenant="aki-labs", storage_quota_bytes=1))
    assert not world.ops._runtime.stores._announced
    assert world.ops.perform(GetTenant(tenant="aki-labs")).storage_quota_bytes == 1
    with pytest.raises(QuotaExceeded):
        world.ops.perform(UpsertDocuments(**NOTES._asdict(), documents=notes("b")))


def test_failed_change_clears_announcement(world: World) -> None:
    for _ in range(2):
        with pytest.raises(AkiDBError):
            world.ops.perform(UpdateTenant(tenant="aki-labs", storage_quota_bytes=1, if_version=99))
    assert not world.ops._runtime.stores._announced
    assert world.ops.perform(UpsertDocuments(**NOTES._asdict(), documents=notes("b"))).upserted == 1


def when_created(world: World, patch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Have something happen when a store is made, before the metadata know it."""
    stores = world.ops._runtime.tenant_stores
    create = stores.create

    def create_then(*arguments: Any) -> None:
        create(*arguments)
        patch.setattr(stores, "create", create)
        happens()

    patch.setattr(stores, "create", create_then)


@pytest.mark.parametrize("purged", [False, True], ids=["deleted", "purged"])
def test_store_created_while_tenant_is_deleted_is_removed(
    purged: bool, place: Path | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(place) as world:
        path = world.place()
        tenant = world.ops.perform(GetTenant(tenant="aki-labs"))

        def delete() -> None:
            world.ops.perform(DeleteTenant(tenant=tenant.tenant_id))
            if purged:
                world.ops.perform(PurgeTenant(tenant=tenant.tenant_id))

        when_created(world, monkeypatch, delete)
        with pytest.raises(NotFound) as caught:
            world.ops.perform(UpsertDocuments(**path._asdict(), documents=notes("a")))
        assert caught.value.fields["entity"] == "tenant"
        assert world.ops._runtime.tenant_stores.names() == []
        assert metadata_rows(world, "SELECT store_id FROM tenant_stores") == []
        assert metadata_rows(world, "SELECT subject FROM outbox") == []
        assert all(finding.ok for finding in world.ops.perform(CheckStores()).items)
        if not purged:
            world.ops.perform(RestoreTenant(tenant=tenant.tenant_id))
            assert world.ops.perform(UpsertDocuments(**path._asdict(), documents=notes("a"))).upserted == 1
            assert len(world.ops._runtime.tenant_stores.names()) == 1


@pytest.mark.parametrize("stopped", ["suspended", "with a database deleted", "with a collection deleted"])
def test_store_created_during_suspend_or_delete_refuses_writes(
    stopped: str, place: Path | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = {
        "suspended": suspend,
        "with a database deleted": delete_database,
        "with a collection deleted": delete_collection,
    }[stopped]
    with opened(place) as world:
        path = world.place()
        when_created(world, monkeypatch, lambda: stop(world))
        with pytest.raises(AkiDBError) as caught:
            world.ops.perform(UpsertDocuments(**path._asdict(), documents=notes("a")))
        assert caught.value.code in {"invalid_state", "not_found"}
        assert world.ops.perform(GetUsage(tenant="aki-labs")).documents == 0
        assert all(finding.ok for finding in world.ops.perform(CheckStores()).items)
