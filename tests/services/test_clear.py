"""Clearing a collection: its documents are gone, all else stays, and nothing of before is found."""

import threading
from typing import Any

import pytest

from akidb.domain.errors import InvalidState, PreconditionFailed
from akidb.domain.fields import CollectionPath
from akidb.operations import documents as ask
from akidb.operations.changes import GetCollectionChanges
from akidb.operations.collections import GetCollection
from akidb.operations.tenants import GetUsage, SuspendTenant, UpdateTenant
from akidb.operations.upkeep import CheckStores

from .reaching import store_rows
from .worlds import GOOD, World, ids_of, keyed, notes, on_files, vector_of


def used(world: World) -> tuple[int, int]:
    usage = world.ops.perform(GetUsage(tenant="aki-labs"))
    return usage.documents, usage.storage_bytes.used


def assert_sound(world: World) -> None:
    assert [each for each in world.ops.perform(CheckStores()).items if not each.ok] == []


def clear(world: World, path: CollectionPath) -> int:
    return world.on(path, ask.ClearDocuments)


def search(world: World, path: CollectionPath, **fields: Any) -> list[str]:
    return ids_of(world.on(path, ask.SearchDocuments, vector=vector_of("a"), **fields).matches)


@pytest.fixture
def other(world: World, path: CollectionPath) -> CollectionPath:
    world.collection(name="other")
    made = path._replace(collection="other")
    world.on(made, ask.UpsertDocuments, documents=notes("o1", "o2"))
    world.on(made, ask.DeleteDocuments, ids=["o2"])
    return made


def test_only_documents_of_the_collection_are_deleted(
    world: World, path: CollectionPath, other: CollectionPath
) -> None:
    before = used(world)
    collection = world.on(path, GetCollection)
    world.on(path, ask.UpsertDocuments, documents=notes(*(f"d{n}" for n in range(250))))
    world.on(path, ask.DeleteDocuments, ids=["d7"])
    assert clear(world, path) == 249
    assert used(world) == before
    assert world.on(path, ask.ScanDocuments).items == []
    assert world.on(path, ask.CountDocuments) == 0
    assert ids_of(world.on(other, ask.ScanDocuments).items) == ["o1"]
    assert len(world.on(other, GetCollectionChanges).changes) == 2
    assert world.on(path, GetCollection) == collection
    tenant = collection.tenant_id
    assert len(store_rows(world, tenant, "documents")) == len(store_rows(world, tenant, "tombstones")) == 1
    assert clear(world, path) == 0
    assert_sound(world)


@pytest.mark.parametrize("filter", [None, {"n": 1}])
@pytest.mark.parametrize("in_memory", [True, False])
def test_searches_find_nothing_of_before(
    world: World, path: CollectionPath, filter: Any, in_memory: bool
) -> None:
    if not in_memory:
        world.ops.perform(UpdateTenant(tenant="aki-labs", memory_quota_bytes=0))
    world.on(path, ask.UpsertDocuments, documents=notes("a", "b", "c", metadata={"n": 1}))
    assert search(world, path, filter=filter)[0] == "a"
    assert clear(world, path) == 3
    assert search(world, path, filter=filter) == []
    world.on(path, ask.UpsertDocuments, documents=notes("c", "x", metadata={"n": 1}))
    assert sorted(search(world, path, filter=filter)) == ["c", "x"]
    clear(world, path)
    world.on(path, ask.UpsertDocuments, documents=notes("b", metadata={"n": 1}))
    assert search(world, path, filter=filter) == ["b"]
    assert_sound(world)


def test_readers_of_changes_start_again(world: World, path: CollectionPath) -> None:
    world.on(path, ask.UpsertDocuments, documents=notes("a", "b"))
    page = world.on(path, GetCollectionChanges)
    clear(world, path)
    with pytest.raises(PreconditionFailed):
        world.on(path, GetCollectionChanges, since=page.next_since, feed=page.feed)
    page = world.on(path, GetCollectionChanges)
    assert page.changes == []
    world.on(path, ask.UpsertDocuments, documents=notes("b"))
    changes = world.on(path, GetCollectionChanges, since=page.next_since, feed=page.feed).changes
    assert ids_of(changes) == ["b"]


def test_full_tenant_can_clear_and_write_again(world: World, path: CollectionPath) -> None:
    world.on(path, ask.UpsertDocuments, documents=notes("a", "b"))
    world.ops.perform(UpdateTenant(tenant="aki-labs", storage_quota_bytes=0))
    assert clear(world, path) == 2
    assert used(world) == (0, 0)


def test_repeated_request_clears_once(world: World, path: CollectionPath) -> None:
    world.on(path, ask.UpsertDocuments, documents=notes("a", "b"))
    with keyed(idempotency_key="k"):
        assert clear(world, path) == 2
    world.on(path, ask.UpsertDocuments, documents=notes("c"))
    with keyed(idempotency_key="k"):
        assert clear(world, path) == 2
    assert world.on(path, ask.CountDocuments) == 1


def test_suspended_tenant_cannot_clear(world: World, path: CollectionPath) -> None:
    world.on(path, ask.UpsertDocuments, documents=notes("a"))
    world.ops.perform(SuspendTenant(tenant="aki-labs"))
    with pytest.raises(InvalidState):
        clear(world, path)


def test_counters_are_exact_beside_writers(world: World, path: CollectionPath) -> None:
    deleted: list[int] = []

    def write(number: int) -> None:
        for n in range(10):
            world.on(path, ask.UpsertDocuments, documents=notes(f"w{number}-{n}", "shared"))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    deleted += [clear(world, path) for _ in range(10)]
    for thread in threads:
        thread.join()
    assert world.on(path, ask.CountDocuments) == len(world.on(path, ask.ScanDocuments).items)
    assert sum(deleted) + world.on(path, ask.CountDocuments) >= 41
    assert_sound(world)


@on_files
def test_damaged_documents_are_cleared_too(world: World, path: CollectionPath) -> None:
    tenant = world.on(path, GetCollection).tenant_id
    world.on(path, ask.UpsertDocuments, documents=[{"id": "a", "vector": GOOD}, *notes("b")])
    world.ops.close()
    world.execute(world.directory / "tenants" / f"{tenant}.db", "UPDATE documents SET text = 'x'")
    world.ops = world.connect()
    assert clear(world, path) == 2
    assert_sound(world)
