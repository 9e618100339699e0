"""Databases and collections in process: made, found, changed, deleted, restored, purged."""

from typing import Any

import pytest

from akidb.domain.entities import Metric
from akidb.domain.errors import (
    AlreadyExists,
    InvalidArgument,
    InvalidState,
    NotFound,
    PreconditionFailed,
    QuotaExceeded,
    Unavailable,
)
from akidb.domain.lifecycle import DatabaseState
from akidb.ports.operations import CollectionChanges, CollectionPath, DatabaseChanges

from .worlds import World, ids_of, notes, on_files, vector_of

UUID = "018f3c2e-7b6a-7c3d-8e9f-0a1b2c3d4e5f"
WRONG_NAMES = ["", "../x", "x" * 300, "a\n", "a\0", UUID, "{" + UUID + "}", "a b", None, 7]


@pytest.fixture
def path(world: World) -> CollectionPath:
    """A collection with the documents `a` and `b`."""
    made = world.place()
    world.ops.documents.upsert(made, notes("a", "b"))
    return made


def test_a_database_is_found_by_name_and_id(world: World) -> None:
    world.tenant()
    made = world.database(description="What we know.")
    assert (made.state, made.schema_version, made.version) == ("ready", 1, 1)
    for reference in ("kb", made.database_id, str(made.database_id)):
        assert world.ops.databases.get("aki-labs", reference) == made
    assert world.ops.databases.list("aki-labs").items == [made]


def test_a_collection_is_found_by_name_and_id(world: World) -> None:
    path = world.place(metric=Metric.DOT, hnsw_m=8, hnsw_ef_construction=64, max_document_count=5)
    made = world.ops.collections.get(*path)
    assert (made.dimension, made.metric, made.hnsw_m, made.max_document_count) == (16, "dot", 8, 5)
    assert (made.embedding_model, made.state, made.version) == (None, "ready", 1)
    for reference in (made.collection_id, str(made.collection_id)):
        assert world.ops.collections.get("aki-labs", "kb", reference) == made
    assert world.ops.collections.list("aki-labs", "kb").items == [made]


@pytest.mark.parametrize("name", WRONG_NAMES)
def test_a_wrong_name_is_refused_and_nothing_is_stored(world: World, name: Any) -> None:
    world.tenant()
    world.database()
    with pytest.raises(InvalidArgument) as caught:
        world.database(name=name)
    assert caught.value.field == "name"
    with pytest.raises(InvalidArgument) as caught:
        world.collection(name=name)
    assert caught.value.field == "name"
    assert len(world.ops.databases.list("aki-labs").items) == 1
    assert world.ops.collections.list("aki-labs", "kb").items == []


@pytest.mark.parametrize("name", [name for name in WRONG_NAMES if name != UUID])
def test_what_can_be_neither_a_name_nor_an_id_is_refused(
    world: World, path: CollectionPath, name: Any
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        world.ops.databases.get("aki-labs", name)
    assert caught.value.field == "database"
    with pytest.raises(InvalidArgument) as caught:
        world.ops.collections.get("aki-labs", "kb", name)
    assert caught.value.field == "collection"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"dimension": 15}, "dimension"),
        ({"dimension": 4097}, "dimension"),
        ({"dimension": 16.0}, "dimension"),
        ({"dimension": None}, "dimension"),
        ({"metric": "euclid"}, "metric"),
        ({"hnsw_m": 1}, "hnsw_m"),
        ({"hnsw_ef_construction": 0}, "hnsw_ef_construction"),
        ({"max_document_count": -1}, "max_document_count"),
        ({"embedding_model": "hash", "dimension": 16}, "dimension"),
        ({"embedding_model": 7}, "embedding_model"),
    ],
)
def test_a_wrong_setting_of_a_collection_is_named(world: World, fields: dict[str, Any], field: str) -> None:
    world.tenant()
    world.database()
    with pytest.raises(InvalidArgument) as caught:
        world.collection(**{"dimension": 16, **fields} if "embedding_model" not in fields else fields)
    assert caught.value.field == field
    assert world.ops.collections.list("aki-labs", "kb").items == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"description": "x" * 4097}, "description"),
        ({"description": "\0"}, "description"),
        ({"state": "migrating"}, "state"),
        ({"state": "gone"}, "state"),
    ],
)
def test_a_wrong_setting_of_a_database_is_named(world: World, fields: dict[str, Any], field: str) -> None:
    world.tenant()
    with pytest.raises(InvalidArgument) as caught:
        world.database(**fields)
    assert caught.value.field == field


def test_names_that_are_taken_are_named(world: World, path: CollectionPath) -> None:
    for clash, entity in ((world.database, "database"), (world.collection, "collection")):
        with pytest.raises(AlreadyExists) as caught:
            clash()
        assert (caught.value.fields["entity"], caught.value.fields["field"]) == (entity, "name")
    world.database(name="other")
    world.collection(database="other")


def test_a_database_changes_fields_and_states(world: World, path: CollectionPath) -> None:
    changed = world.ops.databases.update(
        "aki-labs", "kb", DatabaseChanges(name="base", description="x", schema_version=2)
    )
    assert (changed.name, changed.description, changed.schema_version, changed.version) == ("base", "x", 2, 2)
    assert world.ops.databases.update("aki-labs", "base", DatabaseChanges(description="x")) == changed
    migrating = world.ops.databases.update("aki-labs", "base", DatabaseChanges(state=DatabaseState.MIGRATING))
    assert migrating.state == "migrating"
    moved = CollectionPath("aki-labs", "base", "notes")
    assert ids_of(world.ops.documents.get(moved, ["a"])) == ["a"]
    for stopped in (
        lambda: world.ops.documents.upsert(moved, notes("c")),
        lambda: world.ops.documents.delete(moved, ids=["a"]),
        lambda: world.ops.databases.update("aki-labs", "base", DatabaseChanges(description="y")),
        lambda: world.collection(database="base", name="other"),
        lambda: world.ops.collections.update(*moved, CollectionChanges(hnsw_m=4)),
    ):
        with pytest.raises(InvalidState) as caught:
            stopped()
        assert caught.value.fields["state"] == "migrating"
    ready = world.ops.databases.update("aki-labs", "base", DatabaseChanges(state=DatabaseState.READY))
    assert ready.state == "ready"
    world.ops.documents.upsert(moved, notes("c"))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        (DatabaseChanges(state=DatabaseState.DELETING), InvalidArgument),
        (DatabaseChanges(state=DatabaseState.PROVISIONING), InvalidState),
        (DatabaseChanges(name="a b"), InvalidArgument),
        (DatabaseChanges(schema_version=0), InvalidArgument),
    ],
)
def test_a_change_that_is_not_allowed_is_not_made(
    world: World, path: CollectionPath, changes: DatabaseChanges, error: type[Exception]
) -> None:
    before = world.ops.databases.get("aki-labs", "kb")
    with pytest.raises(error):
        world.ops.databases.update("aki-labs", "kb", changes)
    assert world.ops.databases.get("aki-labs", "kb") == before


def test_a_provisioning_database_takes_collections_but_no_documents(world: World) -> None:
    world.tenant()
    world.database(state=DatabaseState.PROVISIONING)
    world.collection()
    path = CollectionPath("aki-labs", "kb", "notes")
    with pytest.raises(InvalidState):
        world.ops.documents.upsert(path, notes("a"))
    world.ops.databases.update("aki-labs", "kb", DatabaseChanges(state=DatabaseState.READY))
    world.ops.documents.upsert(path, notes("a"))


def test_a_collection_changes_what_may_change(world: World, path: CollectionPath) -> None:
    changed = world.ops.collections.update(*path, CollectionChanges(name="texts", max_document_count=2))
    assert (changed.name, changed.max_document_count, changed.version) == ("texts", 2, 2)
    moved = path._replace(collection="texts")
    with pytest.raises(NotFound):
        world.ops.collections.get(*path)
    with pytest.raises(QuotaExceeded):
        world.ops.documents.upsert(moved, notes("c"))
    assert world.ops.collections.update(*moved, CollectionChanges(hnsw_m=16)) == changed
    for wrong in (
        CollectionChanges(hnsw_m=1),
        CollectionChanges(name="a b"),
        CollectionChanges(max_document_count=-1),
    ):
        with pytest.raises(InvalidArgument):
            world.ops.collections.update(*moved, wrong)
    assert world.ops.collections.get(*moved) == changed


@pytest.mark.parametrize("verb", ["update", "delete", "restore"])
@pytest.mark.parametrize("kind", ["databases", "collections"])
def test_a_stale_version_is_refused(world: World, path: CollectionPath, kind: str, verb: str) -> None:
    reference = path[:2] if kind == "databases" else path
    service: Any = getattr(world.ops, kind)
    if verb == "restore":
        service.delete(*reference)
        arguments: tuple[Any, ...] = ()
    else:
        renamed = DatabaseChanges(schema_version=5) if kind == "databases" else CollectionChanges(hnsw_m=5)
        service.update(*reference, renamed)
        arguments = (renamed,) if verb == "update" else ()
    with pytest.raises(PreconditionFailed) as caught:
        getattr(service, verb)(*reference, *arguments, if_version=1)
    assert (caught.value.fields["expected"], caught.value.fields["actual"]) == (1, 2)
    getattr(service, verb)(*reference, *arguments, if_version=2)


def test_a_deleted_collection_is_hidden_until_it_is_restored(world: World, path: CollectionPath) -> None:
    world.ops.collections.delete(*path)
    for hidden in (
        lambda: world.ops.collections.get(*path),
        lambda: world.ops.collections.delete(*path),
        lambda: world.ops.collections.update(*path, CollectionChanges(hnsw_m=4)),
        lambda: world.ops.documents.get(path, ["a"]),
        lambda: world.ops.documents.count(path),
        lambda: world.ops.documents.upsert(path, notes("c")),
        lambda: world.ops.documents.search(path, vector=vector_of("a")),
    ):
        with pytest.raises(NotFound) as caught:
            hidden()
        assert caught.value.fields == {"entity": "collection", "id": "notes"}
    assert world.ops.collections.list("aki-labs", "kb").items == []
    assert [c.name for c in world.ops.collections.list("aki-labs", "kb", deleted=True).items] == ["notes"]
    with pytest.raises(AlreadyExists):
        world.collection()
    restored = world.ops.collections.restore(*path)
    assert (restored.state, restored.deleted_at, restored.version) == ("ready", None, 3)
    assert ids_of(world.ops.documents.scan(path).items) == ["a", "b"]


def test_a_deleted_database_hides_its_collections(world: World, path: CollectionPath) -> None:
    world.ops.databases.delete("aki-labs", "kb")
    for hidden in (
        lambda: world.ops.databases.get("aki-labs", "kb"),
        lambda: world.ops.collections.list("aki-labs", "kb"),
        lambda: world.ops.collections.get(*path),
        lambda: world.ops.collections.restore(*path),
        lambda: world.ops.collections.purge(*path),
        lambda: world.ops.documents.get(path, ["a"]),
        lambda: world.ops.documents.delete(path, ids=["a"]),
    ):
        with pytest.raises(NotFound) as caught:
            hidden()
        assert caught.value.fields == {"entity": "database", "id": "kb"}
    assert world.ops.tenants.usage("aki-labs").documents == 0
    world.ops.databases.restore("aki-labs", "kb")
    assert ids_of(world.ops.documents.scan(path).items) == ["a", "b"]
    assert world.ops.tenants.usage("aki-labs").documents == 2


def test_a_collection_deleted_before_its_database_stays_deleted(world: World, path: CollectionPath) -> None:
    world.ops.collections.delete(*path)
    world.ops.databases.delete("aki-labs", "kb")
    world.ops.databases.restore("aki-labs", "kb")
    with pytest.raises(NotFound):
        world.ops.documents.get(path, ["a"])
    world.ops.collections.restore(*path)
    assert ids_of(world.ops.documents.get(path, ["a"])) == ["a"]


@pytest.mark.parametrize("kind", ["databases", "collections"])
def test_purge_removes_documents_and_gives_back_the_storage(
    world: World, path: CollectionPath, kind: str
) -> None:
    reference = path[:2] if kind == "databases" else path
    service: Any = getattr(world.ops, kind)
    with pytest.raises(InvalidState):
        service.purge(*reference)
    service.delete(*reference)
    assert world.ops.tenants.usage("aki-labs").storage_bytes.used > 0
    service.purge(*reference)
    assert world.ops.tenants.usage("aki-labs").storage_bytes.used == 0
    with pytest.raises(NotFound):
        service.restore(*reference)
    with pytest.raises(NotFound):
        service.purge(*reference)
    if kind == "databases":
        world.database()
    world.collection()
    assert world.ops.documents.count(path) == 0
    assert all(finding.ok for finding in world.ops.doctor())


def test_a_collection_made_before_the_store_is_known_to_it(world: World, path: CollectionPath) -> None:
    """The first write makes the store; it learns of everything that there is by then."""
    other = world.place("Other")
    world.collection("other", name="second")
    world.ops.documents.upsert(other._replace(collection="second"), notes("x"))
    world.ops.documents.upsert(other, notes("y"))
    world.collection("other", name="third")
    world.ops.documents.upsert(other._replace(collection="third"), notes("z"))
    assert world.ops.tenants.usage("other").documents == 3


def test_a_collection_with_a_model_embeds_texts(world: World) -> None:
    path = world.place(embedding_model="hash")
    made = world.ops.collections.get(*path)
    assert (made.dimension, made.embedding_model) == (64, "hash")
    assert (made.embedding_fingerprint or "").startswith("sha256:")
    texts = ["cats purr softly", "stock markets fell", "dogs bark loudly"]
    world.ops.documents.upsert(path, [{"id": str(n), "text": text} for n, text in enumerate(texts)])
    assert ids_of(world.ops.documents.search(path, text="dogs that bark", top_k=1).matches) == ["2"]
    mixed: list[dict[str, Any]] = [
        {"id": "3", "text": "given", "vector": [1.0] * 64},
        {"id": "4", "text": "cats purr"},
    ]
    world.ops.documents.upsert(path, mixed)
    assert ids_of(world.ops.documents.search(path, text="cats purr", top_k=2).matches) == ["4", "0"]
    assert ids_of(world.ops.documents.search(path, vector=[1.0] * 64, top_k=1).matches) == ["3"]


def test_an_unknown_model_is_not_found(world: World) -> None:
    world.tenant()
    world.database()
    with pytest.raises(NotFound) as caught:
        world.collection(embedding_model="absent")
    assert caught.value.fields == {"entity": "embedding_model", "id": "absent"}


@on_files
def test_a_model_of_another_fingerprint_is_refused(world: World) -> None:
    path = world.place(embedding_model="hash")
    world.ops.documents.upsert(path, [{"id": "a", "text": "x"}])
    world.ops.close()
    world.execute(
        world.directory / "metadata.db", "UPDATE collections SET embedding_fingerprint = 'sha256:00'"
    )
    world.ops = world.connect()
    for refused in (
        lambda: world.ops.documents.upsert(path, [{"id": "b", "text": "y"}]),
        lambda: world.ops.documents.search(path, text="x"),
    ):
        with pytest.raises(Unavailable, match="another fingerprint"):
            refused()
    assert world.ops.documents.count(path) == 1
    assert len(world.ops.documents.search(path, vector=[1.0] * 64).matches) == 1


@pytest.mark.parametrize("limit", [0, 1001, None, "7"])
def test_a_wrong_limit_is_refused(world: World, path: CollectionPath, limit: Any) -> None:
    for listing in (
        lambda: world.ops.databases.list("aki-labs", limit=limit),
        lambda: world.ops.collections.list("aki-labs", "kb", limit=limit),
        lambda: world.ops.audit.list("aki-labs", limit=limit),
        lambda: world.ops.documents.scan(path, limit=limit),
    ):
        with pytest.raises(InvalidArgument) as caught:
            listing()
        assert caught.value.field == "limit"
