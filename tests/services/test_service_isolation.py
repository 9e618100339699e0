"""One tenant asks with the identifiers of another, and is answered exactly as with unknown ones."""

from collections.abc import Callable
from typing import Any

import pytest

from akidb.domain.errors import AkiDBError, NotFound
from akidb.domain.ids import CollectionId, DatabaseId
from akidb.domain.lifecycle import DatabaseState
from akidb.ports.operations import CollectionChanges, CollectionPath, DatabaseChanges

from .worlds import World, ids_of, notes, on_files, vector_of

UNKNOWN_DATABASE, UNKNOWN_COLLECTION = DatabaseId(b"\1" * 16), CollectionId(b"\1" * 16)
QUESTION = vector_of("question")

DatabaseCall = Callable[[World, Any], object]
CollectionCall = Callable[[World, CollectionPath], object]

WITH_A_DATABASE: dict[str, DatabaseCall] = {
    "get": lambda world, ref: world.ops.databases.get("mallory", ref),
    "update": lambda world, ref: world.ops.databases.update("mallory", ref, DatabaseChanges(name="x")),
    "move": lambda world, ref: world.ops.databases.update(
        "mallory", ref, DatabaseChanges(state=DatabaseState.MIGRATING)
    ),
    "delete": lambda world, ref: world.ops.databases.delete("mallory", ref),
    "delete a version": lambda world, ref: world.ops.databases.delete("mallory", ref, if_version=9),
    "restore": lambda world, ref: world.ops.databases.restore("mallory", ref),
    "purge": lambda world, ref: world.ops.databases.purge("mallory", ref),
    "create a collection": lambda world, ref: world.ops.collections.create("mallory", ref, "x", dimension=16),
    "list collections": lambda world, ref: world.ops.collections.list("mallory", ref),
    "list deleted": lambda world, ref: world.ops.collections.list("mallory", ref, deleted=True),
}
WITH_A_COLLECTION: dict[str, CollectionCall] = {
    "get": lambda world, path: world.ops.collections.get(*path),
    "update": lambda world, path: world.ops.collections.update(*path, CollectionChanges(name="x")),
    "delete": lambda world, path: world.ops.collections.delete(*path),
    "delete a version": lambda world, path: world.ops.collections.delete(*path, if_version=9),
    "restore": lambda world, path: world.ops.collections.restore(*path),
    "purge": lambda world, path: world.ops.collections.purge(*path),
    "upsert": lambda world, path: world.ops.documents.upsert(path, notes("x")),
    "get documents": lambda world, path: world.ops.documents.get(path, ["a"]),
    "scan": lambda world, path: world.ops.documents.scan(path),
    "count": lambda world, path: world.ops.documents.count(path),
    "count some": lambda world, path: world.ops.documents.count(path, filter={"$id": "a"}),
    "update documents": lambda world, path: world.ops.documents.update(path, {"x": 1}, ids=["a"]),
    "delete documents": lambda world, path: world.ops.documents.delete(path, ids=["a"]),
    "delete by filter": lambda world, path: world.ops.documents.delete(path, filter={"$id": "a"}),
    "search": lambda world, path: world.ops.documents.search(path, vector=QUESTION),
}


@pytest.fixture
def world(world: World) -> World:
    """Two tenants with databases and collections of the same names; one has documents."""
    world.ops.documents.upsert(world.place("Aki Labs"), notes("a", "b"))
    world.place("Mallory")
    return world


def answer(call: Callable[[], object]) -> tuple[type[AkiDBError], dict[str, Any], str]:
    """The error of a call, without the identifier that was asked for."""
    with pytest.raises(AkiDBError) as caught:
        call()
    asked_for = caught.value.fields.get("id", "")
    fields = {name: value for name, value in caught.value.fields.items() if name != "id"}
    return type(caught.value), fields, caught.value.message.replace(asked_for, "ID")


def everything(world: World, *, deleted: bool = False) -> list[object]:
    """All that the first tenant has, its database perhaps deleted."""
    path = CollectionPath("aki-labs", "kb", "notes")
    found: list[object] = [
        world.ops.tenants.get("aki-labs"),
        world.ops.tenants.usage("aki-labs"),
        world.ops.databases.list("aki-labs", deleted=deleted).items,
        world.audit("aki-labs"),
    ]
    if not deleted:
        found.append(world.ops.collections.list("aki-labs", "kb").items)
        found.append([(each.id, each.text, each.metadata) for each in world.ops.documents.scan(path).items])
    return found


@pytest.mark.parametrize("call", WITH_A_DATABASE.values(), ids=WITH_A_DATABASE)
@pytest.mark.parametrize("deleted", [False, True], ids=["live", "deleted"])
def test_a_foreign_database_is_answered_as_an_unknown_one(
    world: World, call: DatabaseCall, deleted: bool
) -> None:
    foreign = world.ops.databases.get("aki-labs", "kb").database_id
    if deleted:
        world.ops.databases.delete("aki-labs", "kb")
    before = everything(world, deleted=deleted)
    expected = answer(lambda: call(world, UNKNOWN_DATABASE))
    assert expected[0] is NotFound
    for reference in (foreign, str(foreign)):
        assert answer(lambda reference=reference: call(world, reference)) == expected  # type: ignore[misc]
    assert everything(world, deleted=deleted) == before


@pytest.mark.parametrize("call", WITH_A_COLLECTION.values(), ids=WITH_A_COLLECTION)
@pytest.mark.parametrize("through", ["own database", "foreign database"])
def test_a_foreign_collection_is_answered_as_an_unknown_one(
    world: World, call: CollectionCall, through: str
) -> None:
    foreign = world.ops.collections.get("aki-labs", "kb", "notes")
    if through == "own database":
        asked = CollectionPath("mallory", "kb", foreign.collection_id)
        unknown = asked._replace(collection=UNKNOWN_COLLECTION)
    else:
        asked = CollectionPath("mallory", foreign.database_id, "notes")
        unknown = asked._replace(database=UNKNOWN_DATABASE)
    before = everything(world)
    expected = answer(lambda: call(world, unknown))
    assert expected[0] is NotFound
    assert answer(lambda: call(world, asked)) == expected
    assert everything(world) == before


def test_equal_names_lead_each_tenant_to_its_own(world: World) -> None:
    own = CollectionPath("mallory", "kb", "notes")
    assert world.ops.documents.get(own, ["a", "b"]) == []
    world.ops.documents.upsert(own, notes("a", metadata={"whose": "mallory"}))
    assert ids_of(world.ops.documents.search(own, vector=QUESTION, top_k=100).matches) == ["a"]
    [found] = world.ops.documents.get(CollectionPath("aki-labs", "kb", "notes"), ["a"])
    assert found.metadata == {}
    assert world.ops.tenants.usage("mallory").documents == 1
    assert world.ops.tenants.usage("aki-labs").documents == 2


def test_a_cursor_of_one_tenant_is_none_of_another(world: World) -> None:
    for name in ("x", "y"):
        world.database("aki-labs", name)
        world.database("mallory", name)
    for listing in (world.ops.databases.list, world.ops.audit.list):
        cursor = listing("aki-labs", limit=1).next_cursor
        with pytest.raises(AkiDBError, match="cursor"):
            listing("mallory", limit=1, cursor=cursor)


def test_audit_entries_are_those_of_the_tenant(world: World) -> None:
    ids = {world.ops.tenants.get(slug).tenant_id for slug in ("aki-labs", "mallory")}
    found = {slug: {entry.tenant_id for entry in world.audit(slug)} for slug in ("aki-labs", "mallory")}
    assert found == {slug: {world.ops.tenants.get(slug).tenant_id} for slug in found}
    assert len(ids) == 2


@on_files
def test_each_tenant_has_a_file_of_its_own(world: World) -> None:
    world.ops.documents.upsert(CollectionPath("mallory", "kb", "notes"), notes("secret-of-mallory"))
    world.ops.close()
    files = {path.stem: path.read_bytes() for path in (world.directory / "tenants").glob("*.db")}
    assert sum(b"secret-of-mallory" in content for content in files.values()) == 1
    assert len(files) == 2
