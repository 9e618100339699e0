"""Documents without a vector: stored, found by id, filter and scan, and never by a vector search."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from akidb.deployment.local import restore_local
from akidb.documents import rebuild
from akidb.domain.documents import Document, Include, SearchStatistics, UpsertMode, UpsertResult
from akidb.domain.errors import Damaged, InvalidArgument, QuotaExceeded
from akidb.domain.fields import CollectionPath
from akidb.operations import documents as ask
from akidb.operations.archives import CopyTenant, CreateBackup, ExportTenant, ImportTenant
from akidb.operations.changes import GetCollectionChanges
from akidb.operations.collections import CreateCollection, GetCollection
from akidb.operations.tenants import GetTenant, GetUsage, UpdateTenant
from akidb.operations.upkeep import CheckStores
from akidb.ports.archive import Documents

from .archived import changed, exported, take_in
from .worlds import DIMENSION, World, ids_of, keyed, notes, on_files, vector_of

ALL = list(Include)
BARE: list[dict[str, Any]] = [{"id": "text", "text": "läuft"}, {"id": "meta", "metadata": {"n": 1}}]
BARE_BYTES = 4 + 6 + 2 + 4 + 7


def write(world: World, path: CollectionPath, documents: Any, **fields: Any) -> UpsertResult:
    return world.on(path, ask.UpsertDocuments, documents=documents, **fields)


def found(world: World, path: CollectionPath, **fields: Any) -> tuple[list[str], int, int]:
    """The sorted ids that a search finds, and how many vectors it compared and might have found."""
    result = world.on(path, ask.SearchDocuments, vector=vector_of("a"), top_k=100, **fields)
    return sorted(ids_of(result.matches)), result.statistics.scanned, result.statistics.allowed


def found_ids(world: World, path: CollectionPath, vector: Any) -> list[str]:
    return ids_of(world.on(path, ask.SearchDocuments, vector=vector).matches)


def used(world: World) -> tuple[int, int]:
    usage = world.ops.perform(GetUsage(tenant="aki-labs"))
    return usage.documents, usage.storage_bytes.used


def assert_sound(world: World) -> None:
    assert [each for each in world.ops.perform(CheckStores()).items if not each.ok] == []


def contents(world: World, path: CollectionPath) -> list[Any]:
    return world.on(path, ask.ScanDocuments, include=ALL).items


@pytest.fixture(params=["memory", "disk"])
def searched(request: pytest.FixtureRequest, world: World, path: CollectionPath) -> CollectionPath:
    """An empty collection, whose vectors a search has in memory or reads from the disk."""
    if request.param == "disk":
        world.ops.perform(UpdateTenant(tenant="aki-labs", memory_quota_bytes=0))
    return path


def test_document_without_vector_is_read_like_all_others(world: World, path: CollectionPath) -> None:
    wrote = write(world, path, [*BARE, *notes("a")])
    assert wrote == UpsertResult(upserted=3, ids=["text", "meta", "a"], without_vector=2)
    text, meta, a = world.on(path, ask.GetDocuments, ids=["text", "meta", "a"], include=ALL)
    assert (text.text, text.metadata, text.vector) == ("läuft", {}, None)
    assert (meta.text, meta.metadata, meta.vector) == (None, {"n": 1}, None)
    assert a == Document(id="a", text="text of a", metadata={}, vector=vector_of("a"))
    assert contents(world, path) == [a, meta, text]
    changes = world.on(path, GetCollectionChanges, include=ALL).changes
    assert [(each.id, each.vector is None) for each in changes] == [
        ("text", True),
        ("meta", True),
        ("a", False),
    ]
    by_filter = world.on(path, ask.ScanDocuments, filter={"$text": {"$icontains": "LÄUFT"}}).items
    assert ids_of(by_filter) == ["text"]
    assert world.on(path, ask.CountDocuments, filter={"n": 1}) == 1
    assert used(world) == (3, BARE_BYTES + 1 + 9 + 2 + 4 * DIMENSION)
    assert world.on(path, ask.UpdateDocuments, metadata={"n": 22}, filter={"n": 1}) == 1
    assert used(world)[1] == BARE_BYTES + 1 + 1 + 9 + 2 + 4 * DIMENSION
    assert_sound(world)
    assert world.on(path, ask.DeleteDocuments, filter={"n": 22}) == 1
    assert world.on(path, ask.DeleteDocuments, ids=["text"]) == 1
    assert used(world) == (1, 1 + 9 + 2 + 4 * DIMENSION)
    write(world, path, BARE)
    assert world.on(path, ask.ClearDocuments) == 3
    assert used(world) == (0, 0)
    assert_sound(world)


def test_vector_search_never_finds_it(world: World, searched: CollectionPath) -> None:
    path = searched
    assert found(world, path) == ([], 0, 0)
    write(world, path, BARE)
    assert found(world, path) == ([], 0, 0)
    assert found(world, path, filter={"n": 1}) == ([], 0, 0)
    write(world, path, notes("a", "b", metadata={"n": 1}))
    assert found(world, path) == (["a", "b"], 2, 2)
    assert found(world, path, filter={"n": 1}) == (["a", "b"], 2, 2)
    assert found(world, path, filter={"$text": "läuft"}) == ([], 2, 0)
    result = world.on(path, ask.SearchDocuments, vector=vector_of("a"), score_threshold=-1.0)
    assert len(result.matches) == 2
    assert ids_of(world.on(path, ask.SearchDocuments, id="a").matches) == ["b"]
    with pytest.raises(InvalidArgument, match="id: the document 'text' has no vector to search with"):
        world.on(path, ask.SearchDocuments, id="text")


def test_document_that_loses_its_vector_leaves_the_index(world: World, path: CollectionPath) -> None:
    many = [f"n{at}" for at in range(300)]
    write(world, path, notes(*many, metadata={"n": 1}))
    for _ in range(2):  # with the mask of the filter in memory
        assert found(world, path, filter={"n": 1})[1:] == (300, 300)
    lost = [{"id": id, "metadata": {"n": 1}} for id in many[::2]]
    assert write(world, path, lost).without_vector == 150
    assert found(world, path)[1:] == (150, 150)
    assert found(world, path, filter={"n": 1})[1:] == (150, 150)
    assert not set(found(world, path)[0]).intersection(many[::2])
    write(world, path, notes("n0", metadata={"n": 2}))
    assert found(world, path)[1:] == (151, 151)
    assert found(world, path, filter={"n": 2}) == (["n0"], 151, 1)
    assert found(world, path, filter={"n": 1})[1:] == (151, 150)
    write(world, path, [{"id": id, "text": "x"} for id in many])
    assert found(world, path) == ([], 0, 0)
    assert used(world) == (300, sum(len(id) + 1 + 2 for id in many))
    assert_sound(world)
    before = found(world, path)
    world.reopen()
    assert found(world, path) == before


def test_search_keeps_less_in_memory_after_vectors_are_gone(world: World, path: CollectionPath) -> None:
    many = [f"n{at}" for at in range(100)]
    write(world, path, notes(*many))
    found(world, path)
    loaded = world.ops.perform(GetUsage(tenant="aki-labs")).memory_bytes.used
    write(world, path, [{"id": id, "text": "x"} for id in many])
    found(world, path)
    assert world.ops.perform(GetUsage(tenant="aki-labs")).memory_bytes.used < loaded // 4


def test_model_embeds_texts_only(world: World) -> None:
    path = world.place(embedding_model="hash")
    dimension = world.ops.perform(GetCollection(**path._asdict())).dimension
    assert dimension is not None
    given = vector_of("given", dimension)
    documents: list[dict[str, Any]] = [
        {"id": "m1", "metadata": {"n": 1}},
        {"id": "t1", "text": "one"},
        {"id": "v1", "vector": given},
        {"id": "m2", "metadata": {"n": 2}},
        {"id": "t2", "text": "two", "metadata": {"n": 1}},
    ]
    wrote = write(world, path, documents)
    assert (wrote.upserted, wrote.without_vector, wrote.truncated) == (5, 2, 0)
    stored = {each.id: each.vector for each in contents(world, path)}
    assert {id for id, vector in stored.items() if vector is None} == {"m1", "m2"}
    assert np.array_equal(stored["v1"], given)
    for id, text in (("t1", "one"), ("t2", "two")):
        [best] = world.on(path, ask.SearchDocuments, text=text, top_k=1).matches
        assert (best.id, round(best.score, 5)) == (id, 1.0)
    assert write(world, path, [{"id": "t1", "metadata": {"n": 1}}]).without_vector == 1
    assert write(world, path, [{"id": "m2", "text": "one"}], mode=UpsertMode.UPDATE).without_vector == 0
    assert ids_of(world.on(path, ask.SearchDocuments, text="one", top_k=1).matches) == ["m2"]
    assert_sound(world)


def test_modes_count_documents_without_vector(world: World, path: CollectionPath) -> None:
    wrote = write(world, path, [*notes("a"), *BARE], mode=UpsertMode.INSERT)
    assert wrote.without_vector == 2
    more = [{"id": "new", "text": "x"}, *BARE, *notes("b", "a")]
    wrote = write(world, path, more, mode=UpsertMode.SKIP)
    assert wrote == UpsertResult(upserted=2, ids=["new", "b"], without_vector=1)
    [b] = world.on(path, ask.GetDocuments, ids=["b"], include=["vector"])
    assert b == Document(id="b", vector=vector_of("b"))
    changes: list[dict[str, Any]] = [
        {"id": "missing", "vector": vector_of("z")},
        {"id": "meta", "text": "now with a text"},
        {"id": "text", "vector": vector_of("text")},
        {"id": "a", "text": "keeps its vector"},
        {"id": "b", "vector": vector_of("z")},
    ]
    before = used(world)[1]
    wrote = write(world, path, changes, mode=UpsertMode.UPDATE)
    assert wrote == UpsertResult(upserted=4, ids=["meta", "text", "a", "b"], without_vector=1)
    assert used(world)[1] == before + 15 + 4 * DIMENSION + len("keeps its vector") - len("text of a")
    stored = {each.id: each for each in contents(world, path)}
    assert (stored["meta"].text, stored["meta"].metadata) == ("now with a text", {"n": 1})
    assert {id for id, each in stored.items() if each.vector is None} == {"meta", "new"}
    for id, seed in (("text", "text"), ("a", "a"), ("b", "z")):
        assert np.array_equal(stored[id].vector, vector_of(seed)), id
    assert found(world, path) == (["a", "b", "text"], 3, 3)
    assert_sound(world)


def test_update_that_adds_a_vector_is_charged(world: World, path: CollectionPath) -> None:
    write(world, path, BARE)
    world.ops.perform(UpdateTenant(tenant="aki-labs", storage_quota_bytes=BARE_BYTES + 4 * DIMENSION - 1))
    change = [{"id": "text", "vector": vector_of("x")}]
    with pytest.raises(QuotaExceeded):
        write(world, path, change, mode=UpsertMode.UPDATE)
    world.ops.perform(UpdateTenant(tenant="aki-labs", storage_quota_bytes=BARE_BYTES + 4 * DIMENSION))
    write(world, path, change, mode=UpsertMode.UPDATE)
    assert used(world)[1] == BARE_BYTES + 4 * DIMENSION


def test_repeated_request_gets_the_same_count(world: World, path: CollectionPath) -> None:
    write(world, path, BARE[:1])
    documents: list[Any] = [{"text": "a"}, *BARE, {"metadata": {"n": 2}}, *notes("a")]
    for mode, number in ((UpsertMode.SKIP, 3), (UpsertMode.UPSERT, 4)):
        with keyed(idempotency_key=mode.value):
            first = write(world, path, documents, mode=mode)
            assert write(world, path, documents, mode=mode) == first
        assert first.without_vector == number


def test_document_of_nothing_is_refused(world: World, path: CollectionPath) -> None:
    nothing: list[dict[str, Any]] = [
        {},
        {"id": "x"},
        {"id": "x", "metadata": {}},
        {"id": "x", "text": None, "vector": None, "metadata": None},
    ]
    for document in nothing:
        for mode in (UpsertMode.UPSERT, UpsertMode.INSERT, UpsertMode.SKIP):
            with pytest.raises(InvalidArgument) as refused:
                write(world, path, [BARE[0], document], mode=mode)
            assert refused.value.message == "documents[1]: needs a text, a vector or metadata"
    with pytest.raises(InvalidArgument, match=r"documents\[0\]\.vector: must have 16 dimensions, has 0"):
        write(world, path, [{"text": "x", "vector": []}])
    assert world.on(path, ask.CountDocuments) == 0


def test_archives_and_copies_keep_it(
    world: World, path: CollectionPath, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    write(world, path, [{"id": f"t{at:03}", "text": "x" * at} for at in range(200)])
    write(world, path, notes(*(f"t{at:03}" for at in range(0, 200, 3))))
    write(world, path, [{"id": "t006", "metadata": {"n": 1}}])
    world.on(path, ask.DeleteDocuments, ids=["t001", "t003"])
    bare = CollectionPath("aki-labs", "kb", "bare")
    world.collection(name="bare")
    write(world, bare, BARE)
    before = [contents(world, each) for each in (path, bare)]
    usage = used(world)

    def assert_same(there: World, tenant: str) -> None:
        paths = [each._replace(tenant=tenant) for each in (path, bare)]
        assert [contents(there, each) for each in paths] == before
        assert found(there, paths[0])[1:] == (65, 65)
        assert found(there, paths[1]) == ([], 0, 0)
        assert_sound(there)

    world.ops.perform(CopyTenant(tenant="aki-labs", slug="copy"))
    assert_same(world, "copy")
    export, backup = io.BytesIO(), io.BytesIO()
    world.ops.perform(ExportTenant(tenant="aki-labs"), sink=export)
    world.ops.perform(CreateBackup(), sink=backup)
    for dry_run in (True, False):
        export.seek(0)
        made = ImportTenant(slug="again", new_ids=True, dry_run=dry_run)
        assert world.ops.perform(made, source=export).documents == 200
    assert_same(world, "again")
    assert used(world) == usage
    backup.seek(0)
    # Onto the other kind of database.
    other: Any = tmp_path / "restored"
    if isinstance(request.getfixturevalue("place"), Path):
        other = request.getfixturevalue("postgres_url")
    restore_local(other, world.settings, backup)
    there = World(other)
    try:
        assert_same(there, "aki-labs")
    finally:
        there.ops.close()


def test_first_vector_may_come_after_documents_without_one(world: World) -> None:
    world.tenant()
    world.database()
    world.ops.perform(CreateCollection(tenant="aki-labs", database="kb", name="notes"))
    path = CollectionPath("aki-labs", "kb", "notes")

    def dimension() -> int | None:
        return world.ops.perform(GetCollection(**path._asdict())).dimension

    assert write(world, path, BARE).without_vector == 2
    archive = exported(world)
    assert (dimension(), contents(world, path)[0].vector, used(world)) == (None, None, (2, BARE_BYTES))
    assert write(world, path, [{"id": "meta", "text": "x"}], mode=UpsertMode.UPDATE).without_vector == 1
    change = [{"id": "text", "vector": vector_of("a", 3)}, {"id": "meta", "text": "y"}]
    assert write(world, path, change, mode=UpsertMode.UPDATE).without_vector == 1
    assert (dimension(), found_ids(world, path, vector_of("a", 3))) == (3, ["text"])
    assert used(world) == (2, BARE_BYTES + 1 + 12)
    assert_sound(world)
    take_in(world, archive, new_ids=True, slug="again")
    again = path._replace(tenant="again")
    assert [each.vector for each in contents(world, again)] == [None, None]
    write(world, again, notes("b"))
    assert found(world, again) == (["b"], 1, 1)
    assert_sound(world)


@on_files
def test_wrong_vector_in_archive_is_named_by_its_document(world: World, path: CollectionPath) -> None:
    write(world, path, [BARE[0], *notes("a"), BARE[1], *notes("b")])
    archive = exported(world)

    def without_length(part: Documents) -> Documents:
        return part._replace(vectors=part.vectors * np.array([[1], [0]], np.float32))

    with pytest.raises(InvalidArgument) as refused:
        take_in(world, changed(archive, Documents, without_length), new_ids=True, slug="other")
    assert refused.value.field.endswith("documents[3].vector")
    with pytest.raises(InvalidArgument, match="storage_used_bytes"):
        take_in(
            world,
            changed(
                archive,
                Documents,
                lambda part: part._replace(vectors=part.vectors[:1], without_vector=[0, 1, 2]),
            ),
            new_ids=True,
            slug="other",
        )


@on_files
def test_dimension_is_decided_by_documents_with_vector(world: World, path: CollectionPath) -> None:
    write(world, path, [*({"text": f"{at}"} for at in range(9)), *notes("a")])
    collection = world.ops.perform(GetCollection(**path._asdict()))
    file = world.store_file(world.ops.perform(GetTenant(tenant="aki-labs")))
    world.ops.close()
    assert rebuild.dimensions(file) == {collection.collection_id.raw: DIMENSION}


@on_files
def test_empty_vector_without_checksum_is_damaged(world: World, path: CollectionPath) -> None:
    write(world, path, [*BARE, *notes("a", "b")])
    file = world.store_file(world.ops.perform(GetTenant(tenant="aki-labs")))
    world.ops.close()
    world.execute(
        file,
        "UPDATE documents SET vector = x'', vector_checksum = NULL, content_checksum = NULL WHERE id = 'a'",
        "UPDATE documents SET vector = x'' WHERE id = 'b'",
    )
    assert rebuild.unchecked(file) == rebuild.fill_checksums(file) == 0
    world.ops = world.connect()
    for id in ("a", "b"):
        with pytest.raises(Damaged):
            world.on(path, ask.GetDocuments, ids=[id], include=ALL)
    result = world.on(path, ask.SearchDocuments, vector=vector_of("a"))
    assert result.statistics == SearchStatistics(plan="exact", scanned=0, allowed=0, damaged=2)
    assert len([each for each in world.ops.perform(CheckStores()).items if not each.ok]) > 0
