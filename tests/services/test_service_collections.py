"""Databases and collections in process: create, get, update, delete, restore, purge."""

from typing import Any

import pytest
from msgspec.structs import replace

from akidb.domain.entities import Metric
from akidb.domain.errors import (
    AlreadyExists,
    InvalidArgument,
    InvalidState,
    NotFound,
    PreconditionFailed,
    QuotaExceeded,
)
from akidb.domain.fields import CollectionPath
from akidb.domain.lifecycle import DatabaseState
from akidb.operations import OPERATIONS, Request
from akidb.operations.audit import ListAuditEntries
from akidb.operations.collections import (
    DeleteCollection,
    GetCollection,
    ListCollections,
    PurgeCollection,
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
from akidb.operations.documents import (
    CountDocuments,
    DeleteDocuments,
    GetDocuments,
    ScanDocuments,
    SearchDocuments,
    UpsertDocuments,
)
from akidb.operations.tenants import GetUsage
from akidb.operations.upkeep import CheckStores

from .worlds import World, ids_of, notes, vector_of

UUID = "018f3c2e-7b6a-7c3d-8e9f-0a1b2c3d4e5f"
WRONG_NAMES = ["", "../x", "x" * 300, "a\n", "a\0", UUID, "{" + UUID + "}", "a b", None, 7]


@pytest.fixture
def path(world: World) -> CollectionPath:
    """A collection with the documents `a` and `b`."""
    made = world.place()
    world.on(made, UpsertDocuments, documents=notes("a", "b"))
    return made


def test_database_is_found_by_name_and_id(world: World) -> None:
    world.tenant()
    made = world.database(description="What we know.")
    assert (made.state, made.schema_version, made.version) == ("ready", 1, 1)
    for reference in ("kb", made.database_id, str(made.database_id)):
        assert world.ops.perform(GetDatabase(tenant="aki-labs", database=reference)) == made
    assert world.ops.perform(ListDatabases(tenant="aki-labs")).items == [made]


def test_collection_is_found_by_name_and_id(world: World) -> None:
    path = world.place(metric=Metric.DOT, hnsw_m=8, hnsw_ef_construction=64, max_document_count=5)
    made = world.on(path, GetCollection)
    assert (made.dimension, made.metric, made.hnsw_m, made.max_document_count) == (16, "dot", 8, 5)
    assert (made.embedding_model, made.state, made.version) == (None, "ready", 1)
    for reference in (made.collection_id, str(made.collection_id)):
        assert (
            world.ops.perform(GetCollection(tenant="aki-labs", database="kb", collection=reference)) == made
        )
    assert world.ops.perform(ListCollections(tenant="aki-labs", database="kb")).items == [made]


@pytest.mark.parametrize("name", WRONG_NAMES)
def test_invalid_name_is_rejected_and_nothing_is_stored(world: World, name: Any) -> None:
    world.tenant()
    world.database()
    with pytest.raises(InvalidArgument) as caught:
        world.database(name=name)
    assert caught.value.field == "name"
    with pytest.raises(InvalidArgument) as caught:
        world.collection(name=name)
    assert caught.value.field == "name"
    assert len(world.ops.perform(ListDatabases(tenant="aki-labs")).items) == 1
    assert world.ops.perform(ListCollections(tenant="aki-labs", database="kb")).items == []


@pytest.mark.parametrize("name", [name for name in WRONG_NAMES if name != UUID])
def test_value_that_is_neither_name_nor_id_is_rejected(world: World, path: CollectionPath, name: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        world.ops.perform(GetDatabase(tenant="aki-labs", database=name))
    assert caught.value.field == "database"
    with pytest.raises(InvalidArgument) as caught:
        world.ops.perform(GetCollection(tenant="aki-labs", database="kb", collection=name))
    assert caught.value.field == "collection"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"dimension": 0}, "dimension"),
        ({"dimension": 4097}, "dimension"),
        ({"dimension": 16.0}, "dimension"),
        ({"metric": "euclid"}, "metric"),
        ({"hnsw_m": 1}, "hnsw_m"),
        ({"hnsw_ef_construction": 0}, "hnsw_ef_construction"),
        ({"max_document_count": -1}, "max_document_count"),
        ({"embedding_model": "hash", "dimension": 16}, "dimension"),
        ({"embedding_model": 7}, "embedding_model"),
    ],
)
def test_invalid_collection_setting_is_named(world: World, fields: dict[str, Any], field: str) -> None:
    world.tenant()
    world.database()
    with pytest.raises(InvalidArgument) as caught:
        world.collection(**{"dimension": 16, **fields} if "embedding_model" not in fields else fields)
    assert caught.value.field == field
    assert world.ops.perform(ListCollections(tenant="aki-labs", database="kb")).items == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"description": "x" * 4097}, "description"),
        ({"description": "\0"}, "description"),
        ({"state": "migrating"}, "state"),
        ({"state": "gone"}, "state"),
    ],
)
def test_invalid_database_setting_is_named(world: World, fields: dict[str, Any], field: str) -> None:
    world.tenant()
    with pytest.raises(InvalidArgument) as caught:
        world.database(**fields)
    assert caught.value.field == field


def test_duplicate_names_are_reported(world: World, path: CollectionPath) -> None:
    for clash, entity in ((world.database, "database"), (world.collection, "collection")):
        with pytest.raises(AlreadyExists) as caught:
            clash()
        assert (caught.value.fields["entity"], caught.value.fields["field"]) == (entity, "name")
    world.database(name="other")
    world.collection(database="other")


def test_database_update_changes_fields_and_states(world: World, path: CollectionPath) -> None:
    changed = world.ops.perform(
        UpdateDatabase(tenant="aki-labs", database="kb", name="base", description="x", schema_version=2)
    )
    assert (changed.name, changed.description, changed.schema_version, changed.version) == ("base", "x", 2, 2)
    assert world.ops.perform(UpdateDatabase(tenant="aki-labs", database="base", description="x")) == changed
    migrating = world.ops.perform(
        UpdateDatabase(tenant="aki-labs", database="base", state=DatabaseState.MIGRATING)
    )
    assert migrating.state == "migrating"
    moved = CollectionPath("aki-labs", "base", "notes")
    assert ids_of(world.on(moved, GetDocuments, ids=["a"])) == ["a"]
    for stopped in (
        lambda: world.on(moved, UpsertDocuments, documents=notes("c")),
        lambda: world.on(moved, DeleteDocuments, ids=["a"]),
        lambda: world.ops.perform(UpdateDatabase(tenant="aki-labs", database="base", description="y")),
        lambda: world.collection(database="base", name="other"),
        lambda: world.on(moved, UpdateCollection, hnsw_m=4),
    ):
        with pytest.raises(InvalidState) as caught:
            stopped()
        assert caught.value.fields["state"] == "migrating"
    ready = world.ops.perform(UpdateDatabase(tenant="aki-labs", database="base", state=DatabaseState.READY))
    assert ready.state == "ready"
    world.on(moved, UpsertDocuments, documents=notes("c"))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"state": DatabaseState.DELETING}, InvalidArgument),
        ({"state": DatabaseState.PROVISIONING}, InvalidState),
        ({"name": "a b"}, InvalidArgument),
        ({"schema_version": 0}, InvalidArgument),
    ],
)
def test_disallowed_state_change_is_rejected(
    world: World, path: CollectionPath, changes: dict[str, Any], error: type[Exception]
) -> None:
    before = world.ops.perform(GetDatabase(tenant="aki-labs", database="kb"))
    with pytest.raises(error):
        world.ops.perform(UpdateDatabase(tenant="aki-labs", database="kb", **changes))
    assert world.ops.perform(GetDatabase(tenant="aki-labs", database="kb")) == before


def test_provisioning_database_accepts_collections_but_not_documents(world: World) -> None:
    world.tenant()
    world.database(state=DatabaseState.PROVISIONING)
    world.collection()
    path = CollectionPath("aki-labs", "kb", "notes")
    with pytest.raises(InvalidState):
        world.on(path, UpsertDocuments, documents=notes("a"))
    world.ops.perform(UpdateDatabase(tenant="aki-labs", database="kb", state=DatabaseState.READY))
    world.on(path, UpsertDocuments, documents=notes("a"))


def test_collection_update_changes_mutable_fields(world: World, path: CollectionPath) -> None:
    changed = world.on(path, UpdateCollection, name="texts", max_document_count=2)
    assert (changed.name, changed.max_document_count, changed.version) == ("texts", 2, 2)
    moved = path._replace(collection="texts")
    with pytest.raises(NotFound):
        world.on(path, GetCollection)
    with pytest.raises(QuotaExceeded):
        world.on(moved, UpsertDocuments, documents=notes("c"))
    assert world.on(moved, UpdateCollection, hnsw_m=16) == changed
    for wrong in ({"hnsw_m": 1}, {"name": "a b"}, {"max_document_count": -1}):
        with pytest.raises(InvalidArgument):
            world.on(moved, UpdateCollection, **wrong)
    assert world.on(moved, GetCollection) == changed


KB: dict[str, Any] = {"tenant": "aki-labs", "database": "kb"}
NOTES = {**KB, "collection": "notes"}


@pytest.mark.parametrize(
    ("before", "change"),
    [
        (UpdateDatabase(**KB, schema_version=5), UpdateDatabase(**KB, schema_version=5)),
        (UpdateDatabase(**KB, schema_version=5), DeleteDatabase(**KB)),
        (DeleteDatabase(**KB), RestoreDatabase(**KB)),
        (UpdateCollection(**NOTES, hnsw_m=5), UpdateCollection(**NOTES, hnsw_m=5)),
        (UpdateCollection(**NOTES, hnsw_m=5), DeleteCollection(**NOTES)),
        (DeleteCollection(**NOTES), RestoreCollection(**NOTES)),
    ],
    ids=lambda request: OPERATIONS[type(request)].name,
)
def test_stale_version_is_rejected(
    world: World, path: CollectionPath, before: Request[Any], change: Request[Any]
) -> None:
    world.ops.perform(before)
    with pytest.raises(PreconditionFailed) as caught:
        world.ops.perform(replace(change, if_version=1))
    assert (caught.value.fields["expected"], caught.value.fields["actual"]) == (1, 2)
    world.ops.perform(replace(change, if_version=2))


def test_deleted_collection_is_hidden_until_restored(world: World, path: CollectionPath) -> None:
    world.on(path, DeleteCollection)
    for hidden in (
        lambda: world.on(path, GetCollection),
        lambda: world.on(path, DeleteCollection),
        lambda: world.on(path, UpdateCollection, hnsw_m=4),
        lambda: world.on(path, GetDocuments, ids=["a"]),
        lambda: world.on(path, CountDocuments),
        lambda: world.on(path, UpsertDocuments, documents=notes("c")),
        lambda: world.on(path, SearchDocuments, vector=vector_of("a")),
    ):
        with pytest.raises(NotFound) as caught:
            hidden()
        assert caught.value.fields == {"entity": "collection", "id": "notes"}
    assert world.ops.perform(ListCollections(tenant="aki-labs", database="kb")).items == []
    assert [
        c.name
        for c in world.ops.perform(ListCollections(tenant="aki-labs", database="kb", deleted=True)).items
    ] == ["notes"]
    with pytest.raises(AlreadyExists):
        world.collection()
    restored = world.on(path, RestoreCollection)
    assert (restored.state, restored.deleted_at, restored.version) == ("ready", None, 3)
    assert ids_of(world.on(path, ScanDocuments).items) == ["a", "b"]


def test_deleted_database_hides_its_collections(world: World, path: CollectionPath) -> None:
    world.ops.perform(DeleteDatabase(tenant="aki-labs", database="kb"))
    for hidden in (
        lambda: world.ops.perform(GetDatabase(tenant="aki-labs", database="kb")),
        lambda: world.ops.perform(ListCollections(tenant="aki-labs", database="kb")),
        lambda: world.on(path, GetCollection),
        lambda: world.on(path, RestoreCollection),
        lambda: world.on(path, PurgeCollection),
        lambda: world.on(path, GetDocuments, ids=["a"]),
        lambda: world.on(path, DeleteDocuments, ids=["a"]),
    ):
        with pytest.raises(NotFound) as caught:
            hidden()
        assert caught.value.fields == {"entity": "database", "id": "kb"}
    assert world.ops.perform(GetUsage(tenant="aki-labs")).documents == 0
    world.ops.perform(RestoreDatabase(tenant="aki-labs", database="kb"))
    assert ids_of(world.on(path, ScanDocuments).items) == ["a", "b"]
    assert world.ops.perform(GetUsage(tenant="aki-labs")).documents == 2


def test_collection_deleted_before_database_stays_deleted_after_restore(
    world: World, path: CollectionPath
) -> None:
    world.on(path, DeleteCollection)
    world.ops.perform(DeleteDatabase(tenant="aki-labs", database="kb"))
    world.ops.perform(RestoreDatabase(tenant="aki-labs", database="kb"))
    with pytest.raises(NotFound):
        world.on(path, GetDocuments, ids=["a"])
    world.on(path, RestoreCollection)
    assert ids_of(world.on(path, GetDocuments, ids=["a"])) == ["a"]


@pytest.mark.parametrize(
    ("delete", "restore", "purge"),
    [
        (DeleteDatabase(**KB), RestoreDatabase(**KB), PurgeDatabase(**KB)),
        (DeleteCollection(**NOTES), RestoreCollection(**NOTES), PurgeCollection(**NOTES)),
    ],
    ids=["database", "collection"],
)
def test_purge_removes_documents_and_frees_storage(
    world: World, path: CollectionPath, delete: Request[Any], restore: Request[Any], purge: Request[Any]
) -> None:
    with pytest.raises(InvalidState):
        world.ops.perform(purge)
    world.ops.perform(delete)
    assert world.ops.perform(GetUsage(tenant="aki-labs")).storage_bytes.used > 0
    world.ops.perform(purge)
    assert world.ops.perform(GetUsage(tenant="aki-labs")).storage_bytes.used == 0
    for refused in (restore, purge):
        with pytest.raises(NotFound):
            world.ops.perform(refused)
    if isinstance(purge, PurgeDatabase):
        world.database()
    world.collection()
    assert world.on(path, CountDocuments) == 0
    assert all(finding.ok for finding in world.ops.perform(CheckStores()).items)


def test_documents_are_stored_in_collections_created_before_and_after_store(
    world: World, path: CollectionPath
) -> None:
    """The first write makes the store; it learns of everything that there is by then."""
    other = world.place("Other")
    world.collection("other", name="second")
    world.on(other._replace(collection="second"), UpsertDocuments, documents=notes("x"))
    world.on(other, UpsertDocuments, documents=notes("y"))
    world.collection("other", name="third")
    world.on(other._replace(collection="third"), UpsertDocuments, documents=notes("z"))
    assert world.ops.perform(GetUsage(tenant="other")).documents == 3


@pytest.mark.parametrize("limit", [0, 1001, "7"])
def test_invalid_limit_is_rejected(world: World, path: CollectionPath, limit: Any) -> None:
    for listing in (
        lambda: world.ops.perform(ListDatabases(tenant="aki-labs", limit=limit)),
        lambda: world.ops.perform(ListCollections(tenant="aki-labs", database="kb", limit=limit)),
        lambda: world.ops.perform(ListAuditEntries(tenant="aki-labs", limit=limit)),
        lambda: world.on(path, ScanDocuments, limit=limit),
    ):
        with pytest.raises(InvalidArgument) as caught:
            listing()
        assert caught.value.field == "limit"
