"""Collections without a dimension: the first vector settles it, in its transaction."""

import threading
from pathlib import Path
from typing import Any

import pytest

from akidb.domain.entities import Collection
from akidb.domain.errors import InvalidArgument, InvalidState, NotFound, QuotaExceeded
from akidb.domain.fields import CollectionPath
from akidb.operations.archives import CopyTenant
from akidb.operations.changes import GetCollectionChanges, GetTenantChanges
from akidb.operations.collections import (
    DeleteCollection,
    GetCollection,
    ListCollections,
    RestoreCollection,
    UpdateCollection,
)
from akidb.operations.documents import (
    ClearDocuments,
    CountDocuments,
    DeleteDocuments,
    GetDocuments,
    ScanDocuments,
    SearchBatch,
    SearchDocuments,
    UpdateDocuments,
    UpsertDocuments,
)
from akidb.operations.tenants import ActivateTenant, SuspendTenant, UpdateTenant
from akidb.operations.upkeep import CheckStores
from akidb.services.dimensions import Dimensions

from .archived import exported, take_in
from .worlds import World, on_files, opened


@pytest.fixture
def path(world: World) -> CollectionPath:
    return world.place(dimension=None)


def get(world: World, path: CollectionPath) -> Collection:
    return world.on(path, GetCollection)


def write(world: World, path: CollectionPath, *vectors: Any, **more: Any) -> Any:
    documents = [{"id": f"d{at}", "vector": vector} for at, vector in enumerate(vectors)]
    return world.on(path, UpsertDocuments, documents=documents, **more)


def refused(world: World, path: CollectionPath, *vectors: Any, **more: Any) -> tuple[str, str]:
    with pytest.raises(InvalidArgument) as error:
        write(world, path, *vectors, **more)
    return error.value.field, error.value.reason


def is_sound(world: World) -> bool:
    return all(each.ok for each in world.ops.perform(CheckStores()).items)


def test_first_vector_settles_the_dimension(world: World, path: CollectionPath) -> None:
    before = get(world, path)
    assert (before.dimension, before.version) == (None, 1)
    write(world, path, [1, 2, 3])
    after = get(world, path)
    assert (after.dimension, after.version) == (3, 2)
    assert after.updated_at > before.updated_at
    changes = world.ops.perform(GetTenantChanges(tenant="aki-labs")).changes
    assert [each.collection.dimension for each in changes if each.collection is not None] == [3]
    assert refused(world, path, [1, 2]) == ("documents[0].vector", "must have 3 dimensions, has 2")
    write(world, path, [1, 2, 3], [4, 5, 6])
    assert get(world, path).version == 2
    world.reopen()
    assert get(world, path) == after
    found = world.on(path, SearchDocuments, vector=[1, 2, 3], top_k=1).matches
    assert [match.id for match in found] == ["d0"]
    assert is_sound(world)
    assert [entry.action for entry in world.audit("aki-labs")].count("collection.update") == 0


@pytest.mark.parametrize("length", [1, 15, 4096])
def test_any_dimension_is_taken(world: World, path: CollectionPath, length: int) -> None:
    write(world, path, [1.0] * length)
    assert get(world, path).dimension == length


def test_model_gives_its_dimension(world: World) -> None:
    assert get(world, world.place(embedding_model="hash")).dimension == 64


@pytest.mark.parametrize(
    ("vectors", "at", "reason"),
    [
        ([[]], 0, "must have 1 to 4096 dimensions, has 0"),
        ([[0.5] * 4097], 0, "must have 1 to 4096 dimensions, has 4097"),
        ([[1, 2], [1, 2, 3]], 1, "must have 2 dimensions, has 3"),
        ([[1, 2], [1, 2], []], 2, "must have 2 dimensions, has 0"),
        ([[1, float("nan")]], 0, "must not contain NaN"),
        ([[0, 0]], 0, "must not be zero with the metric cosine"),
        (["ab"], 0, "must be a list of numbers"),
    ],
)
def test_refused_vectors_settle_nothing(
    world: World, path: CollectionPath, vectors: Any, at: int, reason: str
) -> None:
    assert refused(world, path, *vectors) == (f"documents[{at}].vector", reason)
    assert (get(world, path).dimension, get(world, path).version) == (None, 1)
    write(world, path, [1, 2, 3, 4])
    assert get(world, path).dimension == 4


def test_failed_writes_settle_nothing(world: World, path: CollectionPath) -> None:
    world.ops.perform(UpdateTenant(tenant="aki-labs", storage_quota_bytes=20))
    with pytest.raises(QuotaExceeded):
        write(world, path, [1.0] * 8)
    world.ops.perform(UpdateTenant(tenant="aki-labs", storage_quota_bytes=None))
    world.on(path, UpdateCollection, max_document_count=1)
    with pytest.raises(QuotaExceeded):
        write(world, path, [1, 2], [3, 4])
    world.ops.perform(SuspendTenant(tenant="aki-labs"))
    with pytest.raises(InvalidState):
        write(world, path, [1, 2])
    world.ops.perform(ActivateTenant(tenant="aki-labs"))
    assert get(world, path).dimension is None
    write(world, path, [1, 2, 3])
    assert get(world, path).dimension == 3


def test_writes_of_no_vector_settle_nothing(world: World, path: CollectionPath) -> None:
    assert write(world, path, [1, 2], mode="update").ids == []
    assert get(world, path).dimension is None
    write(world, path, [1, 2, 3], mode="insert")
    assert get(world, path).dimension == 3
    other = world.collection(name="other", dimension=None)
    write(world, CollectionPath("aki-labs", "kb", other.collection_id), [1], mode="skip")
    assert get(world, path._replace(collection="other")).dimension == 1


@pytest.mark.parametrize("has_store", [False, True])
def test_uses_before_the_first_vector(world: World, path: CollectionPath, has_store: bool) -> None:
    if has_store:
        world.collection(name="other")
        write(world, path._replace(collection="other"), [1.0] * 16)
    for vector in ([1.0], [1, 2, 3], [0.5] * 4096):
        found = world.on(path, SearchDocuments, vector=vector)
        assert (found.matches, found.statistics.scanned) == ([], 0)
    assert world.on(path, SearchDocuments, vector=[1, 2], filter={"a": 1}).matches == []
    assert [found.matches for found in world.on(path, SearchBatch, vectors=[[1, 2], [3, 4]])] == [[], []]
    with pytest.raises(InvalidArgument, match="must have 2 dimensions, has 1") as error:
        world.on(path, SearchBatch, vectors=[[1, 2], [3]])
    assert error.value.field == "vectors[1]"
    with pytest.raises(NotFound):
        world.on(path, SearchDocuments, id="a")
    for wrong in ([], [1.0] * 4097, [float("inf")], [0.0], "ab"):
        with pytest.raises(InvalidArgument) as error:
            world.on(path, SearchDocuments, vector=wrong)
        assert error.value.field == "vector"
    with pytest.raises(InvalidArgument, match="no embedding model") as error:
        world.on(path, SearchDocuments, text="a")
    assert error.value.field == "vector"
    assert world.on(path, GetDocuments, ids=["a"]) == []
    assert world.on(path, ScanDocuments).items == []
    assert world.on(path, CountDocuments) == 0
    assert world.on(path, DeleteDocuments, ids=["a"]) == 0
    assert world.on(path, UpdateDocuments, ids=["a"], metadata={"a": 1}) == 0
    assert world.on(path, ClearDocuments) == 0
    assert world.on(path, GetCollectionChanges).changes == []
    world.on(path, DeleteCollection)
    world.on(path, RestoreCollection)
    assert get(world, path).dimension is None
    [listed] = world.ops.perform(ListCollections(tenant="aki-labs", database="kb", limit=1)).items
    assert listed.dimension is None
    assert is_sound(world)


def test_dimension_outlives_its_documents(world: World, path: CollectionPath) -> None:
    write(world, path, [1, 2])
    world.on(path, ClearDocuments)
    assert refused(world, path, [1, 2, 3])[1] == "must have 2 dimensions, has 3"
    world.on(path, DeleteCollection)
    world.on(path, RestoreCollection)
    assert get(world, path).dimension == 2


def test_one_of_two_first_writes_wins(world: World, path: CollectionPath) -> None:
    ready = threading.Barrier(4, timeout=60)
    refusals: list[InvalidArgument] = []

    def run(length: int) -> None:
        ready.wait()
        try:
            world.on(path, UpsertDocuments, documents=[{"vector": [1.0] * length}] * 2)
        except InvalidArgument as error:
            refusals.append(error)

    threads = [threading.Thread(target=run, args=(length,)) for length in (2, 3, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    won = get(world, path).dimension
    assert won in {2, 3}
    assert [(error.field, error.reason) for error in refusals] == [
        ("documents[0].vector", f"must have {won} dimensions, has {5 - won}")
    ] * 2
    assert world.on(path, CountDocuments) == 4
    assert get(world, path).version == 2


def settle_in_between(world: World, monkeypatch: pytest.MonkeyPatch, path: CollectionPath) -> None:
    """Let another write settle the dimension, 3, after the next request has found none."""
    found = Dimensions.known
    calls = iter([True])

    def known(self: Dimensions, scope: Any) -> Any:
        answer = found(self, scope)
        if next(calls, False):
            write(world, path, [1, 2, 3])
        return answer

    monkeypatch.setattr(Dimensions, "known", known)


@on_files
@pytest.mark.parametrize(
    ("use", "fields", "field"),
    [
        (SearchDocuments, {"vector": [1, 2]}, "vector"),
        (SearchBatch, {"vectors": [[1, 2], [3, 4]]}, "vectors[0]"),
    ],
)
def test_search_meets_a_dimension_settled_meanwhile(
    world: World, path: CollectionPath, monkeypatch: pytest.MonkeyPatch, use: Any, fields: Any, field: str
) -> None:
    settle_in_between(world, monkeypatch, path)
    with pytest.raises(InvalidArgument) as error:
        world.on(path, use, **fields)
    assert (error.value.field, error.value.reason) == (field, "must have 3 dimensions, has 2")


def test_write_meets_a_dimension_settled_meanwhile(
    world: World, path: CollectionPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle_in_between(world, monkeypatch, path)
    assert refused(world, path, [1, 2]) == ("documents[0].vector", "must have 3 dimensions, has 2")
    assert world.on(path, CountDocuments) == 1


@pytest.fixture
def ahead(world: World, path: CollectionPath, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world whose store has the dimension 2, and whose metadata have none, as after a crash."""

    def die(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(Dimensions, "learn", die)
        with pytest.raises(SystemExit):
            write(world, path, [1, 2])
    listed = world.ops.perform(ListCollections(tenant="aki-labs", database="kb")).items
    assert [each.dimension for each in listed] == [None]
    return world


USES: list[tuple[Any, dict[str, Any]]] = [
    (GetCollection, {}),
    (GetDocuments, {"ids": ["a"]}),
    (ScanDocuments, {}),
    (CountDocuments, {}),
    (SearchDocuments, {"vector": [1, 2]}),
    (DeleteDocuments, {"ids": ["a"]}),
    (UpdateDocuments, {"ids": ["a"], "metadata": {}}),
    (GetCollectionChanges, {}),
    (UpsertDocuments, {"documents": [{"id": "b", "vector": [3, 4]}]}),
]
WRONG: list[tuple[Any, dict[str, Any]]] = [
    (UpsertDocuments, {"documents": [{"id": "b", "vector": [3, 4, 5]}]}),
    (SearchDocuments, {"vector": [1, 2, 3]}),
]


def require_healed(world: World) -> None:
    [listed] = world.ops.perform(ListCollections(tenant="aki-labs", database="kb")).items
    assert (listed.dimension, listed.version) == (2, 2)
    assert is_sound(world)


@on_files
@pytest.mark.parametrize(("use", "fields"), USES, ids=[each[0].__name__ for each in USES])
def test_any_use_heals_metadata_behind_the_store(
    ahead: World, path: CollectionPath, use: Any, fields: dict[str, Any]
) -> None:
    assert is_sound(ahead)
    ahead.reopen()
    ahead.on(path, use, **fields)
    require_healed(ahead)


@pytest.mark.parametrize(("use", "fields"), WRONG, ids=[each[0].__name__ for each in WRONG])
def test_refused_use_heals_metadata_behind_the_store(
    ahead: World, path: CollectionPath, use: Any, fields: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgument, match="must have 2 dimensions, has 3"):
        ahead.on(path, use, **fields)
    require_healed(ahead)


def test_applying_metadata_keeps_the_dimension_of_the_store(ahead: World, path: CollectionPath) -> None:
    ahead.on(path, UpdateCollection, max_document_count=7)
    ahead.reopen()
    assert refused(ahead, path, [1, 2, 3])[1] == "must have 2 dimensions, has 3"
    assert get(ahead, path).dimension == 2


@pytest.mark.parametrize("settled", [False, True])
def test_archives_and_copies_carry_what_there_is(
    world: World, path: CollectionPath, tmp_path: Path, settled: bool
) -> None:
    if settled:
        write(world, path, [1, 2])
    world.ops.perform(CopyTenant(tenant="aki-labs", slug="copy"))
    archive = exported(world)
    with opened(tmp_path / "elsewhere") as other:
        take_in(other, archive)
        for there, where in ((world, path._replace(tenant="copy")), (other, path)):
            assert get(there, where).dimension == (2 if settled else None)
            assert there.on(where, CountDocuments) == int(settled)
            if settled:
                assert refused(there, where, [1, 2, 3])[1] == "must have 2 dimensions, has 3"
            else:
                write(there, where, [1, 2, 3])
            assert get(there, where).dimension == (2 if settled else 3)
            assert is_sound(there)


def test_archive_of_a_store_ahead_is_taken_in(ahead: World, path: CollectionPath, tmp_path: Path) -> None:
    ahead.ops.perform(CopyTenant(tenant="aki-labs", slug="copy"))
    archive = exported(ahead)
    with opened(tmp_path / "elsewhere") as other:
        take_in(other, archive)
        for there, where in ((ahead, path._replace(tenant="copy")), (other, path)):
            assert refused(there, where, [1, 2, 3])[1] == "must have 2 dimensions, has 3"
            assert get(there, where).dimension == 2
            assert is_sound(there)
