"""State kept in memory for a tenant or collection is released when it is deleted or purged."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from akidb.domain.entities import Tenant
from akidb.domain.errors import AkiDBError, Unavailable
from akidb.domain.fields import CollectionPath
from akidb.domain.ids import TenantId
from akidb.operations.collections import DeleteCollection, PurgeCollection, RestoreCollection
from akidb.operations.databases import DeleteDatabase, PurgeDatabase, RestoreDatabase
from akidb.operations.documents import SearchDocuments, UpsertDocuments
from akidb.operations.tenants import DeleteTenant, GetTenant, GetUsage, PurgeTenant, RestoreTenant
from akidb.operations.upkeep import MaintainStores

from .worlds import World, notes, on_files, opened, vector_of

NOTES = CollectionPath("aki-labs", "kb", "notes")
OTHER = CollectionPath("aki-labs", "kb", "other")
BESIDE = CollectionPath("beside", "kb", "notes")
Act = Callable[[World], Any]


@pytest.fixture
def world(place: Path | str) -> Iterator[World]:
    """Two tenants that were searched, so that each has an index and a rate-limit bucket in memory."""
    with opened(place, retention_seconds=0) as made:
        for name, path in (("Aki Labs", NOTES), ("Beside", BESIDE)):
            made.place(name)
            made.ops.perform(UpsertDocuments(**path._asdict(), documents=notes("a", "b")))
            made.ops.perform(SearchDocuments(**path._asdict(), vector=vector_of("a")))
        yield made


@pytest.fixture
def tenant(world: World) -> Tenant:
    return world.ops.perform(GetTenant(tenant="aki-labs"))


@pytest.fixture
def beside(world: World) -> Tenant:
    return world.ops.perform(GetTenant(tenant="beside"))


def indexed(world: World) -> set[TenantId]:
    """For whom an index is kept."""
    return set(world.ops._runtime.stores._index.tenants())


def limited(world: World) -> set[TenantId]:
    """For whom a bucket is kept."""
    return set(world.ops._runtime.purging._limiter._buckets)


def known(world: World) -> set[TenantId]:
    """Whose store is remembered."""
    return set(world.ops._runtime.stores._known)


def delete_tenant(world: World) -> None:
    world.ops.perform(DeleteTenant(tenant="aki-labs"))


def delete_database(world: World) -> None:
    world.ops.perform(DeleteDatabase(tenant="aki-labs", database="kb"))


def delete_collection(world: World) -> None:
    world.ops.perform(DeleteCollection(**NOTES._asdict()))


def purge_tenant(world: World) -> None:
    world.ops.perform(PurgeTenant(tenant="aki-labs"))


def sweep(world: World) -> None:
    assert world.ops.perform(MaintainStores()).tenants_purged == 1


DELETIONS: dict[str, tuple[Act, Act]] = {
    "tenant": (delete_tenant, lambda world: world.ops.perform(RestoreTenant(tenant="aki-labs"))),
    "database": (
        delete_database,
        lambda world: world.ops.perform(RestoreDatabase(tenant="aki-labs", database="kb")),
    ),
    "collection": (delete_collection, lambda world: world.ops.perform(RestoreCollection(**NOTES._asdict()))),
}


PURGES: dict[str, Act] = {
    "tenant": purge_tenant,
    "database": lambda world: world.ops.perform(PurgeDatabase(tenant="aki-labs", database="kb")),
    "collection": lambda world: world.ops.perform(PurgeCollection(**NOTES._asdict())),
}


@pytest.mark.parametrize("what", DELETIONS)
def test_delete_removes_index_from_memory(what: str, world: World, tenant: Tenant, beside: Tenant) -> None:
    delete, restore = DELETIONS[what]
    assert indexed(world) == {tenant.tenant_id, beside.tenant_id}
    delete(world)
    assert indexed(world) == {beside.tenant_id}
    restore(world)
    assert world.ops.perform(GetUsage(tenant="aki-labs")).memory_bytes.used == 0
    assert len(world.ops.perform(SearchDocuments(**NOTES._asdict(), vector=vector_of("a"))).matches) == 2
    assert world.ops.perform(GetUsage(tenant="aki-labs")).memory_bytes.used > 0


@pytest.mark.parametrize("purge", [purge_tenant, sweep])
def test_purge_of_tenant_clears_its_state_in_memory(
    purge: Act, world: World, tenant: Tenant, beside: Tenant
) -> None:
    delete_tenant(world)
    # As when a search that began before the deletion ends after it.
    world.ops._runtime.stores._index._memory.of(tenant.tenant_id, _store_id(world, tenant))  # type: ignore[attr-defined]
    assert tenant.tenant_id in indexed(world)
    assert limited(world) == {tenant.tenant_id, beside.tenant_id}
    purge(world)
    assert indexed(world) == {beside.tenant_id}
    assert limited(world) == {beside.tenant_id}
    assert tenant.tenant_id not in known(world)


def _store_id(world: World, tenant: Tenant) -> Any:
    with world.ops._runtime.metadata.read() as tx:
        return tx.stores.find(tenant.tenant_id)


@pytest.mark.parametrize("what", ["database", "collection"])
def test_purge_of_collection_removes_index_from_memory(
    what: str, world: World, tenant: Tenant, beside: Tenant
) -> None:
    delete, _ = DELETIONS[what]
    delete(world)
    world.ops._runtime.stores._index._memory.of(tenant.tenant_id, _store_id(world, tenant))  # type: ignore[attr-defined]
    PURGES[what](world)
    assert indexed(world) == {beside.tenant_id}
    assert limited(world) == {tenant.tenant_id, beside.tenant_id}


@pytest.mark.parametrize("purges", [False, True])
def test_deleted_collection_leaves_its_siblings_in_memory(purges: bool, world: World, tenant: Tenant) -> None:
    world.collection(name="other")
    world.on(OTHER, UpsertDocuments, documents=notes("a", "b"))
    world.on(OTHER, SearchDocuments, vector=vector_of("a"))
    both = world.ops._runtime.stores._index.memory_bytes(tenant.tenant_id)
    delete_collection(world)
    if purges:
        PURGES["collection"](world)
    left = world.ops._runtime.stores._index.memory_bytes(tenant.tenant_id)
    assert 0 < left < both


def test_failed_purge_keeps_rate_limit_and_index_of_tenant(world: World, tenant: Tenant) -> None:
    with pytest.raises(AkiDBError):
        world.ops.perform(PurgeTenant(tenant="aki-labs"))  # it is not deleted
    assert tenant.tenant_id in limited(world)
    assert tenant.tenant_id in indexed(world)


@on_files
def test_close_finishes_purge_whose_files_could_not_be_removed(
    world: World, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = world.store_file(tenant)
    runtime = world.ops._runtime
    remove = runtime.tenant_stores.remove

    def fail(_tenant_id: TenantId) -> None:
        raise Unavailable("the disk failed")

    delete_tenant(world)
    monkeypatch.setattr(runtime.tenant_stores, "remove", fail)
    with pytest.raises(Unavailable):
        purge_tenant(world)
    monkeypatch.setattr(runtime.tenant_stores, "remove", remove)
    assert path.exists()
    assert runtime.purging.unfinished
    world.ops.close()
    assert not path.exists()
    assert not runtime.purging.unfinished


@on_files
def test_close_finishes_purge_blocked_by_reader(world: World) -> None:
    runtime = world.ops._runtime
    delete_tenant(world)
    with runtime.metadata.snapshot() as tx:
        tx.outbox.depth()
        purge_tenant(world)
        assert runtime.purging.unfinished
    world.ops.close()
    assert not runtime.purging.unfinished


@on_files
def test_close_succeeds_with_unfinished_purge_and_next_close_finishes_it(
    world: World, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = world.store_file(tenant)
    stores = world.ops._runtime.tenant_stores

    def fail(_tenant_id: TenantId) -> None:
        raise Unavailable("the disk failed")

    delete_tenant(world)
    with monkeypatch.context() as patch:
        patch.setattr(stores, "remove", fail)
        with pytest.raises(Unavailable):
            purge_tenant(world)
        world.ops.close()
    assert path.exists()
    world.ops = world.connect()
    assert not path.exists()
    assert len(world.ops.perform(SearchDocuments(**BESIDE._asdict(), vector=vector_of("a"))).matches) == 2


@pytest.mark.parametrize("what", DELETIONS)
def test_purge_is_unfinished_until_traces_are_removed(
    what: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when its process is cut off between the transaction and what follows it."""
    runtime = world.ops._runtime
    DELETIONS[what][0](world)
    assert not runtime.purging.unfinished

    def interrupt() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runtime.purging, "finish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            PURGES[what](world)
    assert runtime.purging.unfinished
    world.ops.perform(MaintainStores())
    assert not runtime.purging.unfinished
