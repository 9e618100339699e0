"""Upserts that insert only, skip or update existing documents, decided in the transaction of the write."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from akidb.domain.documents import DocumentInput, Include, UpsertMode, UpsertResult
from akidb.domain.errors import AlreadyExists, InvalidArgument, QuotaExceeded
from akidb.domain.fields import CollectionPath
from akidb.operations import documents as ask
from akidb.operations.tenants import GetUsage, UpdateTenant
from akidb.operations.upkeep import CheckStores

from .worlds import GOOD, World, ids_of, keyed, notes, vector_of

INSERT, SKIP, UPDATE = UpsertMode.INSERT, UpsertMode.SKIP, UpsertMode.UPDATE


def write(world: World, path: CollectionPath, documents: Any, mode: UpsertMode) -> UpsertResult:
    return world.on(path, ask.UpsertDocuments, documents=documents, mode=mode)


def read(world: World, path: CollectionPath, *ids: str) -> list[Any]:
    return world.on(path, ask.GetDocuments, ids=ids, include=list(Include))


def used(world: World) -> tuple[int, int]:
    usage = world.ops.perform(GetUsage(tenant="aki-labs"))
    return usage.documents, usage.storage_bytes.used


def assert_sound(world: World) -> None:
    assert [each for each in world.ops.perform(CheckStores()).items if not each.ok] == []


def test_insert_refuses_all_if_one_exists(world: World, path: CollectionPath) -> None:
    assert write(world, path, notes("a", "b"), INSERT).ids == ["a", "b"]
    before = used(world)
    with pytest.raises(AlreadyExists) as refused:
        write(world, path, notes("new", "b", "a"), INSERT)
    assert refused.value.message == "2 documents already exist: 'b', 'a'"
    assert refused.value.fields == {
        "entity": "document",
        "field": "id",
        "value": "b",
        "ids": ["b", "a"],
        "existing": 2,
    }
    assert used(world) == before
    with pytest.raises(AlreadyExists, match=r"^document 'a' already exists$"):
        write(world, path, notes("a"), INSERT)
    world.on(path, ask.DeleteDocuments, ids=["a"])
    assert write(world, path, [*notes("a"), {"vector": GOOD}], INSERT).upserted == 2
    assert_sound(world)


def test_error_of_insert_is_bounded(world: World, path: CollectionPath) -> None:
    many = notes(*(f"{'x' * 500}{n:04}" for n in range(300)))
    write(world, path, many, INSERT)
    with pytest.raises(AlreadyExists) as refused:
        write(world, path, many, INSERT)
    assert refused.value.fields["existing"] == 300
    assert len(refused.value.fields["ids"]) == 100
    assert len(refused.value.message) < 2_500


def test_skip_keeps_existing_documents(world: World, path: CollectionPath) -> None:
    world.on(path, ask.UpsertDocuments, documents=notes("a", "c", metadata={"n": 1}))
    kept = read(world, path, "a", "c")
    found = write(world, path, notes("d", "c", "b", "a", metadata={"n": 2}), SKIP)
    assert found == UpsertResult(upserted=2, ids=["d", "b"])
    assert read(world, path, "a", "c") == kept
    assert [each.metadata for each in read(world, path, "b", "d")] == [{"n": 2}] * 2
    assert np.array_equal(read(world, path, "b")[0].vector, vector_of("b"))
    before = used(world)
    assert write(world, path, notes("a", "b"), SKIP) == UpsertResult(upserted=0, ids=[])
    assert used(world) == before
    assert_sound(world)


CHANGES: list[tuple[dict[str, Any], str | None, str, dict[str, Any]]] = [
    ({"text": "new"}, "new", "a", {"n": 1}),
    ({"text": ""}, "", "a", {"n": 1}),
    ({"metadata": {"m": 2}}, "text of a", "a", {"m": 2}),
    ({"metadata": {}}, "text of a", "a", {}),
    ({"vector": vector_of("z")}, "text of a", "z", {"n": 1}),
    ({"text": "é" * 50, "vector": vector_of("z"), "metadata": {"é": 1}}, "é" * 50, "z", {"é": 1}),
    ({"text": None, "vector": None, "metadata": {"m": None}}, "text of a", "a", {"m": None}),
]


@pytest.mark.parametrize(("change", "text", "seed", "metadata"), CHANGES)
def test_update_keeps_what_is_not_given(
    world: World,
    path: CollectionPath,
    change: dict[str, Any],
    text: str,
    seed: str,
    metadata: dict[str, Any],
) -> None:
    world.on(path, ask.UpsertDocuments, documents=notes("a", "b", metadata={"n": 1}))
    untouched = read(world, path, "b")
    documents = [DocumentInput(id="missing", metadata={}), {"id": "a", **change}]
    assert write(world, path, documents, UPDATE) == UpsertResult(upserted=1, ids=["a"])
    [found] = read(world, path, "a")
    assert (found.text, found.metadata) == (text, metadata)
    assert np.array_equal(found.vector, vector_of(seed))
    assert read(world, path, "b") == untouched
    best = world.on(path, ask.SearchDocuments, vector=vector_of(seed), top_k=1).matches
    assert ids_of(best) == ["a"]
    assert used(world)[0] == 2
    assert_sound(world)


def test_update_embeds_new_texts(world: World) -> None:
    path = world.place(embedding_model="hash")
    documents: list[Any] = [{"id": "a", "text": "one"}, {"id": "b", "text": "two"}, {"id": "c", "text": "x"}]
    world.on(path, ask.UpsertDocuments, documents=documents)
    changes: list[Any] = [
        {"id": "a", "text": "two"},
        {"id": "b", "metadata": {"n": 1}},
        {"id": "c", "vector": [1.0] * 64},
        {"id": "none", "text": "word " * 300},
    ]
    found = write(world, path, changes, UPDATE)
    assert found == UpsertResult(upserted=3, ids=["a", "b", "c"])  # none of a truncated text
    a, b, c = read(world, path, "a", "b", "c")
    assert np.array_equal(a.vector, b.vector)
    assert (c.text, c.vector.tolist()) == ("x", [1.0] * 64)


def test_many_updates_keep_their_order_and_the_usage(world: World, path: CollectionPath) -> None:
    ids = [f"d{n:03}" for n in range(130)]
    world.on(path, ask.UpsertDocuments, documents=notes(*ids))
    changes = [{"id": id, "metadata": {"n": n}} for n, id in reversed(list(enumerate(ids)))]
    assert write(world, path, changes, UPDATE).ids == ids[::-1]
    assert [each.metadata for each in read(world, path, *ids)] == [{"n": n} for n in range(130)]
    assert_sound(world)


def test_update_is_charged_as_a_whole(world: World, path: CollectionPath) -> None:
    """What shrinks makes room for what grows, in whatever order; too much changes nothing."""
    ids = [f"d{n:03}" for n in range(120)]
    world.on(path, ask.UpsertDocuments, documents=notes(*ids, metadata={"x": "y" * 100}))
    _, storage = used(world)
    world.ops.perform(UpdateTenant(tenant="aki-labs", storage_quota_bytes=storage))
    changes = [{"id": id, "metadata": {"x": "y" * (190 if n < 60 else 10)}} for n, id in enumerate(ids)]
    assert write(world, path, changes, UPDATE).upserted == 120
    assert used(world) == (120, storage)
    changes[0]["metadata"] = {"x": "y" * 191}
    with pytest.raises(QuotaExceeded):
        write(world, path, changes, UPDATE)
    assert len(read(world, path, ids[0])[0].metadata["x"]) == 190
    assert used(world) == (120, storage)
    assert_sound(world)


WRONG: list[tuple[Any, UpsertMode, str]] = [
    ({"text": "x"}, UPDATE, "documents[1].id"),
    ({"id": "x"}, UPDATE, "documents[1]"),
    ({"id": ""}, UPDATE, "documents[1].id"),
    ({"id": "x", "metadata": [1]}, UPDATE, "documents[1].metadata"),
    ({"id": "x", "text": "\0"}, UPDATE, "documents[1].text"),
    ({"id": "x", "vector": [1.0]}, UPDATE, "documents[1].vector"),
    ({"id": "x", "more": 1}, UPDATE, "documents[1].more"),
    ({"id": "a", "text": "x"}, UPDATE, "documents[1].id"),
    ({"id": "x", "metadata": {}}, INSERT, "documents[1]"),
    ({"id": "a", "vector": GOOD}, SKIP, "documents[1].id"),
]


@pytest.mark.parametrize(("wrong", "mode", "field"), WRONG)
def test_wrong_document_is_named_and_nothing_changes(
    world: World, path: CollectionPath, wrong: Any, mode: UpsertMode, field: str
) -> None:
    world.on(path, ask.UpsertDocuments, documents=notes("b"))
    with pytest.raises(InvalidArgument) as refused:
        write(world, path, [*notes("a"), wrong], mode)
    assert refused.value.field == field
    assert used(world)[0] == 1


@pytest.mark.parametrize("mode", list(UpsertMode))
def test_repeated_request_has_the_first_response(
    world: World, path: CollectionPath, mode: UpsertMode
) -> None:
    if mode is not INSERT:
        world.on(path, ask.UpsertDocuments, documents=notes("a", "c"))
    given: list[Any] = notes("a", "b", "c", "d")
    if mode is not UPDATE:
        given.insert(1, {"vector": GOOD, "text": "generated"})
    with keyed(idempotency_key="k"):
        first = write(world, path, given, mode)
    known = {id for id in first.ids if len(id) == 1}
    assert known == {SKIP: {"b", "d"}, UPDATE: {"a", "c"}}.get(mode, set("abcd"))
    world.on(path, ask.DeleteDocuments, ids=["a", "b", "c", "d"])
    world.reopen()
    with keyed(idempotency_key="k"):
        assert write(world, path, given, mode) == first
        other = INSERT if mode is not INSERT else SKIP
        if mode is not UPDATE:
            with pytest.raises(Exception, match="another"):
                write(world, path, given, other)
    assert used(world)[0] == (0 if mode is UPDATE else 1)


def test_one_of_many_concurrent_inserts_succeeds(world: World, path: CollectionPath) -> None:
    def attempt(number: int) -> bool:
        try:
            write(world, path, [*notes("same", text=str(number)), *notes(f"own-{number}")], INSERT)
        except AlreadyExists:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(attempt, range(16)))
    assert won.count(True) == 1
    assert [read(world, path, f"own-{n}") != [] for n in range(16)] == won
    [same] = read(world, path, "same")
    assert same.text == str(won.index(True))
    with ThreadPoolExecutor(8) as threads:
        ids = [f"d{n}" for n in range(20)]
        new = list(threads.map(lambda _: write(world, path, notes(*ids), SKIP).ids, range(8)))
    assert sorted(id for some in new for id in some) == sorted(ids)
    assert_sound(world)
