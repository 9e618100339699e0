"""Images, filling and branching of whole tenant stores."""

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace
from samples import Shelf, document

from akidb.domain.errors import Unavailable
from akidb.domain.ids import CollectionId, StoreId, TenantId
from akidb.ports.archive import CollectionImage, Documents, StoreImage
from akidb.ports.stores import TenantStore


def nothing(_store: TenantStore) -> None:
    """What is to be told to a store that is looked at as it is."""


def parts(image: StoreImage, *collections: CollectionId) -> Iterator[Any]:
    for collection in image.collections():
        if collection.collection_id not in collections:
            continue
        yield collection
        for part in image.documents(collection.collection_id):
            yield (*part[:4], part.vectors.tobytes())
        yield from image.tombstones(collection.collection_id)


@pytest.fixture
def filled(shelf: Shelf) -> Shelf:
    """A store with two collections, one of which has deletions."""
    other = shelf.new_collection("other")
    shelf.apply(other)
    shelf.upsert(*(document(f"d{n}") for n in range(1200)))
    shelf.upsert(document("x"), document("y"), collection=other)
    shelf.delete("d3", "d7")
    shelf.upsert(document("d3"))
    return shelf


def test_image_is_consistent_snapshot(filled: Shelf) -> None:
    own = filled.collection.collection_id
    with filled.open() as store, store.image() as image:
        before = list(parts(image, own))
        filled.upsert(document("later"))
        filled.delete("d1")
        assert list(parts(image, own)) == before
    head = before[0]
    assert isinstance(head, CollectionImage)
    assert (head.document_count, head.sequence, head.tombstone_floor) == (1199, 1203, 0)
    assert sum(len(part[1]) for part in before if isinstance(part, tuple)) == 1199


def test_filled_store_equals_source_image(filled: Shelf) -> None:
    tenant_id, store_id = filled.ids.new(TenantId), filled.ids.new(StoreId)
    with filled.open() as store, store.image() as image:
        collections = [each.collection_id for each in image.collections()]
        with filled.stores.filling(tenant_id, store_id) as filler:
            for collection in image.collections():
                filler.add(replace(collection, collection_id=CollectionId(collection.collection_id.raw)))
                for documents in image.documents(collection.collection_id):
                    assert isinstance(documents, Documents)
                    filler.add(documents)
                for tombstones in image.tombstones(collection.collection_id):
                    filler.add(tombstones)
        before = list(parts(image, *collections))
    with filled.stores.open(tenant_id, store_id, nothing) as made, made.image() as image:
        assert list(parts(image, *collections)) == before
        assert made.check() == []
        assert made.control_state().tenant_version == 0


def test_filled_store_without_applied_tenant_is_removed(filled: Shelf) -> None:
    tenant_id, store_id = filled.ids.new(TenantId), filled.ids.new(StoreId)
    with filled.stores.filling(tenant_id, store_id):
        pass
    assert filled.stores.remove_unused(tenant_id)
    with pytest.raises(Unavailable), filled.stores.open(tenant_id, store_id, nothing):
        pass


def test_failed_filling_leaves_no_store(filled: Shelf) -> None:
    tenant_id, store_id = filled.ids.new(TenantId), filled.ids.new(StoreId)
    with filled.open() as store, store.image() as image:
        found = image.collections()[0]
    with pytest.raises(ZeroDivisionError), filled.stores.filling(tenant_id, store_id) as filler:
        filler.add(replace(found, storage_used_bytes=1 // 0))
    with pytest.raises(Unavailable), filled.stores.open(tenant_id, store_id, nothing):
        pass
    filled.stores.create(tenant_id, store_id)


def test_branch_maps_collection_ids_and_omits_unlisted_collections(filled: Shelf) -> None:
    tenant_id, store_id = filled.ids.new(TenantId), filled.ids.new(StoreId)
    own, new = filled.collection.collection_id, filled.ids.new(CollectionId)
    with filled.open() as store, store.image() as image:
        (kept,) = (each for each in image.collections() if each.collection_id == own)
        filled.stores.branch(tenant_id, store_id, image, {own: replace(kept, collection_id=new)})
        before = list(parts(image, own))
    with filled.stores.open(tenant_id, store_id, nothing) as made, made.image() as image:
        (head, *rest) = parts(image, own, new)
        assert head == replace(before[0], collection_id=new)
        assert rest == before[1:]
        assert [each.collection_id for each in image.collections()] == [new]
        assert made.check() == []
        state = made.control_state()
        assert (state.tenant_version, state.storage_used_bytes) == (0, kept.storage_used_bytes)
    assert len(filled.get("d1", "x")) == 1
