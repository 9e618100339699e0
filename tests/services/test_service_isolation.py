"""A tenant that uses another tenant's identifiers gets the same response as for unknown ones."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from akidb.domain.errors import AkiDBError, NotFound
from akidb.domain.fields import CollectionPath
from akidb.domain.ids import CollectionId, DatabaseId
from akidb.domain.lifecycle import DatabaseState
from akidb.operations import OPERATIONS
from akidb.operations.audit import ListAuditEntries
from akidb.operations.changes import GetCollectionChanges
from akidb.operations.collections import (
    CountCollections,
    CreateCollection,
    DeleteCollection,
    GetCollection,
    GetIndex,
    ListCollections,
    PurgeCollection,
    RebuildIndex,
    RestoreCollection,
    UpdateCollection,
)
from akidb.operations.databases import (
    DeleteDatabase,
    GetDatabase,
    ListDatabases,
    PurgeDatabase,
    RestoreDatabase,
    UpdateDatabase,
)
from akidb.operations.declare import InCollection, InDatabase
from akidb.operations.documents import (
    ClearDocuments,
    CountDocuments,
    DeleteDocuments,
    GetDocuments,
    GetFacets,
    ScanDocuments,
    SearchBatch,
    SearchDocuments,
    UpdateDocuments,
    UpsertDocuments,
)
from akidb.operations.tenants import GetTenant, GetUsage

if TYPE_CHECKING:
    from akidb.domain.documents import Page
    from akidb.operations import Request

from .worlds import World, ids_of, notes, on_files, vector_of

UNKNOWN_DATABASE, UNKNOWN_COLLECTION = DatabaseId(b"\1" * 16), CollectionId(b"\1" * 16)
QUESTION = vector_of("question")

ABOUT_A_DATABASE: list[tuple[type[InDatabase[Any]], dict[str, Any]]] = [
    (GetDatabase, {}),
    (UpdateDatabase, {"name": "x"}),
    (UpdateDatabase, {"state": DatabaseState.MIGRATING}),
    (DeleteDatabase, {}),
    (DeleteDatabase, {"if_version": 9}),
    (RestoreDatabase, {}),
    (PurgeDatabase, {}),
    (CreateCollection, {"name": "x", "dimension": 16}),
    (ListCollections, {}),
    (ListCollections, {"deleted": True}),
    (CountCollections, {}),
]
ABOUT_A_COLLECTION: list[tuple[type[InCollection[Any]], dict[str, Any]]] = [
    (GetCollection, {}),
    (GetIndex, {}),
    (RebuildIndex, {}),
    (UpdateCollection, {"name": "x"}),
    (DeleteCollection, {}),
    (DeleteCollection, {"if_version": 9}),
    (RestoreCollection, {}),
    (PurgeCollection, {}),
    (GetCollectionChanges, {}),
    (UpsertDocuments, {"documents": notes("x")}),
    (GetDocuments, {"ids": ["a"]}),
    (ScanDocuments, {}),
    (CountDocuments, {}),
    (CountDocuments, {"filter": {"$id": "a"}}),
    (GetFacets, {"field": "a"}),
    (UpdateDocuments, {"metadata": {"x": 1}, "ids": ["a"]}),
    (DeleteDocuments, {"ids": ["a"]}),
    (DeleteDocuments, {"filter": {"$id": "a"}}),
    (SearchDocuments, {"vector": QUESTION}),
    (SearchDocuments, {"id": "a"}),
    (SearchBatch, {"vectors": [QUESTION]}),
    (ClearDocuments, {}),
]


def test_every_database_and_collection_operation_is_covered() -> None:
    tried = {request for request, _ in [*ABOUT_A_DATABASE, *ABOUT_A_COLLECTION]}
    assert tried == {request for request, row in OPERATIONS.items() if "database" in row.places}


@pytest.fixture
def world(world: World) -> World:
    """Two tenants with databases and collections of the same names; one has documents."""
    world.on(world.place("Aki Labs"), UpsertDocuments, documents=notes("a", "b"))
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
        world.ops.perform(GetTenant(tenant="aki-labs")),
        world.ops.perform(GetUsage(tenant="aki-labs")),
        world.ops.perform(ListDatabases(tenant="aki-labs", deleted=deleted)).items,
        world.audit("aki-labs"),
    ]
    if not deleted:
        found.append(world.ops.perform(ListCollections(tenant="aki-labs", database="kb")).items)
        found.append([(each.id, each.text, each.metadata) for each in world.on(path, ScanDocuments).items])
    return found


@pytest.mark.parametrize(("request_type", "fields"), ABOUT_A_DATABASE)
@pytest.mark.parametrize("deleted", [False, True], ids=["live", "deleted"])
def test_foreign_database_is_reported_like_unknown_database(
    world: World, request_type: type[InDatabase[Any]], fields: dict[str, Any], deleted: bool
) -> None:
    def asked(database: DatabaseId | str) -> object:
        return world.ops.perform(request_type(tenant="mallory", database=database, **fields))

    foreign = world.ops.perform(GetDatabase(tenant="aki-labs", database="kb")).database_id
    if deleted:
        world.ops.perform(DeleteDatabase(tenant="aki-labs", database="kb"))
    before = everything(world, deleted=deleted)
    expected = answer(partial(asked, UNKNOWN_DATABASE))
    assert expected[0] is NotFound
    for reference in (foreign, str(foreign)):
        assert answer(partial(asked, reference)) == expected
    assert everything(world, deleted=deleted) == before


@pytest.mark.parametrize(("request_type", "fields"), ABOUT_A_COLLECTION)
@pytest.mark.parametrize("through", ["own database", "foreign database"])
def test_foreign_collection_is_reported_like_unknown_collection(
    world: World, request_type: type[InCollection[Any]], fields: dict[str, Any], through: str
) -> None:
    foreign = world.ops.perform(GetCollection(tenant="aki-labs", database="kb", collection="notes"))
    if through == "own database":
        asked = CollectionPath("mallory", "kb", foreign.collection_id)
        unknown = asked._replace(collection=UNKNOWN_COLLECTION)
    else:
        asked = CollectionPath("mallory", foreign.database_id, "notes")
        unknown = asked._replace(database=UNKNOWN_DATABASE)
    before = everything(world)
    expected = answer(lambda: world.on(unknown, request_type, **fields))
    assert expected[0] is NotFound
    assert answer(lambda: world.on(asked, request_type, **fields)) == expected
    assert everything(world) == before


def test_equal_names_resolve_within_each_tenant(world: World) -> None:
    own = CollectionPath("mallory", "kb", "notes")
    assert world.on(own, GetDocuments, ids=["a", "b"]) == []
    world.on(own, UpsertDocuments, documents=notes("a", metadata={"whose": "mallory"}))
    assert ids_of(world.on(own, SearchDocuments, vector=QUESTION, top_k=100).matches) == ["a"]
    [found] = world.ops.perform(GetDocuments(tenant="aki-labs", database="kb", collection="notes", ids=["a"]))
    assert found.metadata == {}
    assert world.ops.perform(GetUsage(tenant="mallory")).documents == 1
    assert world.ops.perform(GetUsage(tenant="aki-labs")).documents == 2


def test_cursor_of_one_tenant_is_rejected_for_another(world: World) -> None:
    for name in ("x", "y"):
        world.database("aki-labs", name)
        world.database("mallory", name)
    listings: list[Callable[..., Request[Page[Any]]]] = [ListDatabases, ListAuditEntries]
    for listing in listings:
        cursor = world.ops.perform(listing(tenant="aki-labs", limit=1)).next_cursor
        with pytest.raises(AkiDBError, match="cursor"):
            world.ops.perform(listing(tenant="mallory", limit=1, cursor=cursor))


def test_audit_entries_are_scoped_to_tenant(world: World) -> None:
    ids = {world.ops.perform(GetTenant(tenant=slug)).tenant_id for slug in ("aki-labs", "mallory")}
    found = {slug: {entry.tenant_id for entry in world.audit(slug)} for slug in ("aki-labs", "mallory")}
    assert found == {slug: {world.ops.perform(GetTenant(tenant=slug)).tenant_id} for slug in found}
    assert len(ids) == 2


@on_files
def test_each_tenant_has_its_own_file(world: World) -> None:
    world.ops.perform(
        UpsertDocuments(
            tenant="mallory", database="kb", collection="notes", documents=notes("secret-of-mallory")
        )
    )
    world.ops.close()
    files = {path.stem: path.read_bytes() for path in (world.directory / "tenants").glob("*.db")}
    assert sum(b"secret-of-mallory" in content for content in files.values()) == 1
    assert len(files) == 2
