"""Behavior shared by the repositories of tenants, databases and collections."""

import threading
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from places import PLACES, Place, id_of, state_of
from samples import Clock, Library

from akidb.domain.errors import AlreadyExists, NotFound, PreconditionFailed
from akidb.domain.ids import CollectionId, DatabaseId, TenantId
from akidb.ports.metadata import MetadataStore

ID_KINDS = {"tenant": TenantId, "database": DatabaseId, "collection": CollectionId}


@pytest.fixture(params=list(PLACES))
def place(request: pytest.FixtureRequest, library: Library) -> Place:
    return PLACES[request.param](library)


@pytest.fixture
def kept(place: Place, metadata: MetadataStore) -> Any:
    """A stored entity named `first`."""
    return create(metadata, place, "first")


def create(metadata: MetadataStore, place: Place, name: str, **fields: Any) -> Any:
    made = place.new(name, **fields)
    with metadata.transaction() as tx:
        place.repository(tx).create(made)
    return made


def stored(metadata: MetadataStore, place: Place, entity: Any, *, deleted: bool = False) -> Any:
    with metadata.read() as tx:
        return place.find(tx, id_of(entity), deleted=deleted)


def delete(metadata: MetadataStore, place: Place, entity: Any, clock: Clock) -> Any:
    with metadata.transaction() as tx:
        place.repository(tx).delete(entity, clock.now)
    return stored(metadata, place, entity, deleted=True)


def test_created_entity_is_found_by_id_and_name(metadata: MetadataStore, place: Place, kept: Any) -> None:
    with metadata.read() as tx:
        assert place.get(tx, id_of(kept)) == kept
        assert place.get(tx, "first") == kept
        assert place.find(tx, id_of(kept)) == kept
        assert place.find(tx, "first") == kept


def test_get_raises_not_found_where_find_returns_none(
    metadata: MetadataStore, place: Place, kept: Any
) -> None:
    unknown = ID_KINDS[place.entity](bytes(16))
    for reference in (unknown, "second", "FIRST", "first\n"):
        with metadata.read() as tx:
            assert place.find(tx, reference) is None
            with pytest.raises(NotFound) as caught:
                place.get(tx, reference)
        assert caught.value.fields == {"entity": place.entity, "id": str(reference)}


def test_duplicate_name_error_names_field_and_value(metadata: MetadataStore, place: Place, kept: Any) -> None:
    with pytest.raises(AlreadyExists) as caught:
        create(metadata, place, "first")
    assert caught.value.fields == {"entity": place.entity, "field": place.name_field, "value": "first"}
    with metadata.read() as tx:
        assert place.page(tx).items.count(kept) == 1


def test_name_stays_reserved_until_purge(
    metadata: MetadataStore, place: Place, kept: Any, clock: Clock
) -> None:
    delete(metadata, place, kept, clock)
    with pytest.raises(AlreadyExists):
        create(metadata, place, "first")
    with metadata.transaction() as tx:
        place.purge(tx, id_of(kept))
    assert create(metadata, place, "first").version == 1


def test_concurrent_creates_of_same_name_succeed_once(metadata: MetadataStore, place: Place) -> None:
    outcomes: list[str] = []
    start = threading.Barrier(8)

    def race() -> None:
        start.wait()
        try:
            create(metadata, place, "first")
            outcomes.append("created")
        except AlreadyExists:
            outcomes.append("taken")

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["created"] + ["taken"] * 7


def test_update_increments_version(metadata: MetadataStore, place: Place, kept: Any, clock: Clock) -> None:
    changed = kept.changed(clock.advance(minutes=1), **{place.name_field: "renamed"})
    with metadata.transaction() as tx:
        place.repository(tx).update(changed)
    assert stored(metadata, place, kept) == changed
    assert (changed.version, changed.updated_at) == (2, clock.now)
    with metadata.read() as tx:
        assert place.find(tx, "first") is None
        assert place.find(tx, "renamed") == changed


def test_update_to_taken_name_is_refused(
    metadata: MetadataStore, place: Place, kept: Any, clock: Clock
) -> None:
    other = create(metadata, place, "second")
    with pytest.raises(AlreadyExists) as caught, metadata.transaction() as tx:
        place.repository(tx).update(other.changed(clock.now, **{place.name_field: "first"}))
    assert caught.value.fields == {"entity": place.entity, "field": place.name_field, "value": "first"}
    assert stored(metadata, place, other) == other


@pytest.mark.parametrize("verb", ["update", "delete"])
def test_stale_version_is_refused_and_changes_nothing(
    metadata: MetadataStore, place: Place, kept: Any, clock: Clock, verb: str
) -> None:
    current = kept.changed(clock.now, **{place.name_field: "renamed"})
    with metadata.transaction() as tx:
        place.repository(tx).update(current)
    stale = (kept.changed(clock.now),) if verb == "update" else (kept, clock.now)
    with pytest.raises(PreconditionFailed) as caught, metadata.transaction() as tx:
        getattr(place.repository(tx), verb)(*stale)
    assert caught.value.fields == {"entity": place.entity, "expected": 1, "actual": 2}
    assert stored(metadata, place, kept) == current


@pytest.mark.parametrize("verb", ["update", "delete", "restore"])
def test_change_of_unknown_entity_is_not_found(
    metadata: MetadataStore, place: Place, clock: Clock, verb: str
) -> None:
    absent = place.new("absent")
    unknown = (absent.changed(clock.now),) if verb == "update" else (absent, clock.now)
    with pytest.raises(NotFound) as caught, metadata.transaction() as tx:
        getattr(place.repository(tx), verb)(*unknown)
    assert caught.value.fields == {"entity": place.entity, "id": str(id_of(absent))}


def test_concurrent_updates_of_same_version_succeed_once(
    metadata: MetadataStore, place: Place, kept: Any, clock: Clock
) -> None:
    outcomes: list[str] = []
    start = threading.Barrier(8)

    def race(number: int) -> None:
        start.wait()
        try:
            with metadata.transaction() as tx:
                place.repository(tx).update(kept.changed(clock.now, **{place.name_field: f"name{number}"}))
            outcomes.append(f"name{number}")
        except PreconditionFailed:
            pass

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [getattr(stored(metadata, place, kept), place.name_field)] == outcomes


def test_deleted_entity_is_hidden_unless_requested(
    metadata: MetadataStore, place: Place, kept: Any, clock: Clock
) -> None:
    other = create(metadata, place, "second")
    found = delete(metadata, place, kept, clock)
    assert state_of(found) == place.deleted_state
    assert (found.deleted_at, found.version) == (clock.now, 2)
    with metadata.read() as tx:
        for reference in (id_of(kept), "first"):
            assert place.find(tx, reference) is None
            assert place.get(tx, reference, deleted=True) == found
        assert place.find(tx, "second", deleted=True) is None
        names = [getattr(each, place.name_field) for each in place.page(tx).items]
        assert "first" not in names
        assert "second" in names
        assert place.page(tx, deleted=True).items == [found]
    assert stored(metadata, place, other) == other


def test_restore_returns_entity_to_previous_state(
    metadata: MetadataStore, place: Place, clock: Clock
) -> None:
    state_field = "status" if place.entity == "tenant" else "state"
    before = {"tenant": "suspended", "database": "migrating", "collection": "creating"}[place.entity]
    made = place.new("first")
    made = place.new("first", **{state_field: type(state_of(made))(before)})
    with metadata.transaction() as tx:
        place.repository(tx).create(made)
    found = delete(metadata, place, made, clock)
    with metadata.transaction() as tx:
        restored = place.repository(tx).restore(found, clock.advance(days=1))
    assert state_of(restored) == before
    assert (restored.version, restored.deleted_at, restored.updated_at) == (3, None, clock.now)
    assert stored(metadata, place, made) == restored


def test_deletion_and_restore_times_never_go_backwards(
    metadata: MetadataStore, place: Place, kept: Any, clock: Clock
) -> None:
    with metadata.transaction() as tx:
        place.repository(tx).delete(kept, clock.now - timedelta(days=1))
    found = stored(metadata, place, kept, deleted=True)
    assert found.updated_at == kept.updated_at == found.deleted_at
    with metadata.transaction() as tx:
        restored = place.repository(tx).restore(found, clock.now - timedelta(days=2))
    assert restored.updated_at == kept.updated_at


def test_second_delete_of_same_version_is_refused(
    metadata: MetadataStore, place: Place, kept: Any, clock: Clock
) -> None:
    found = delete(metadata, place, kept, clock)
    with pytest.raises(PreconditionFailed), metadata.transaction() as tx:
        place.repository(tx).delete(kept, clock.now)
    assert stored(metadata, place, kept, deleted=True) == found


def test_purge_removes_entity_permanently(
    metadata: MetadataStore, place: Place, kept: Any, clock: Clock
) -> None:
    delete(metadata, place, kept, clock)
    with metadata.transaction() as tx:
        place.purge(tx, id_of(kept))
    assert stored(metadata, place, kept) is None
    assert stored(metadata, place, kept, deleted=True) is None
    with pytest.raises(NotFound), metadata.transaction() as tx:
        place.purge(tx, id_of(kept))


def test_id_of_wrong_type_raises_type_error(metadata: MetadataStore, library: Library) -> None:
    database = library.database(library.tenant())
    wrong: Any = database.database_id
    with metadata.read() as tx:
        for wrong_call in (
            lambda: tx.databases.find(wrong, "kb"),
            lambda: tx.collections.find(wrong, database.database_id, "notes"),
            lambda: tx.audit.list(wrong, limit=1, cursor=None),
            lambda: tx.outbox.pending(wrong),
            lambda: tx.stores.find(wrong),
        ):
            with pytest.raises((TypeError, sa.exc.StatementError), match="expected TenantId, not DatabaseId"):
                wrong_call()
