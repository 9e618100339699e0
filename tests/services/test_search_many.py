"""Searches for documents like a given one, and batches of searches."""

from typing import Any

import numpy as np
import pytest

from akidb.domain.documents import Match
from akidb.domain.errors import InvalidArgument, NotFound, RateLimited
from akidb.domain.fields import CollectionPath
from akidb.operations import documents as ask
from akidb.operations.tenants import UpdateTenant
from akidb.ports.search import Hits

from .worlds import GOOD, World, ids_of, notes, opened, vector_of

IDS = [f"d{n}" for n in range(20)]


@pytest.fixture
def filled(world: World, path: CollectionPath) -> CollectionPath:
    world.on(
        path,
        ask.UpsertDocuments,
        documents=[{**each, "metadata": {"n": n}} for n, each in enumerate(notes(*IDS))],
    )
    return path


def scored(matches: list[Match]) -> list[tuple[str, float]]:
    return [(match.id, match.score) for match in matches]


def test_search_by_id_finds_others_like_that_document(world: World, filled: CollectionPath) -> None:
    by_vector = world.on(filled, ask.SearchDocuments, vector=vector_of("d7"), top_k=6).matches
    by_id = world.on(filled, ask.SearchDocuments, id="d7", top_k=5).matches
    assert by_vector[0].id == "d7"
    assert scored(by_id) == scored(by_vector[1:])
    assert len(world.on(filled, ask.SearchDocuments, id="d7", top_k=100).matches) == 19
    low = {"n": {"$lt": 7}}
    some = world.on(filled, ask.SearchDocuments, id="d7", filter=low, include=["metadata.n"], top_k=7).matches
    assert sorted(match.metadata["n"] for match in some if match.metadata) == list(range(7))
    world.on(filled, ask.DeleteDocuments, ids=["d7"])
    with pytest.raises(NotFound) as caught:
        world.on(filled, ask.SearchDocuments, id="d7")
    assert (caught.value.fields["entity"], caught.value.fields["id"]) == ("document", "d7")


def test_search_by_unknown_id_is_not_found(world: World, path: CollectionPath) -> None:
    for _ in range(2):  # without a store, and with one
        with pytest.raises(NotFound, match="document 'none' does not exist"):
            world.on(path, ask.SearchDocuments, id="none")
        with pytest.raises(NotFound, match="document 'none' does not exist"):
            world.on(path, ask.SearchBatch, ids=["none"])
        world.on(path, ask.UpsertDocuments, documents=notes("a"))


@pytest.mark.parametrize(
    ("question", "field"),
    [
        ({"id": "a", "text": "x"}, "text"),
        ({"id": "a", "vector": GOOD}, "text"),
        ({"id": ""}, "id"),
        ({"id": 7}, "id"),
        ({"id": "x" * 513}, "id"),
    ],
)
def test_invalid_id_to_search_for_is_rejected(
    world: World, path: CollectionPath, question: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        world.on(path, ask.SearchDocuments, **question)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top_k": 3, "include": ["vector", "metadata.n"]},
        {"filter": {"n": {"$gte": 15}}, "top_k": 20},
        {"score_threshold": 0.2, "ef_search": 9},
    ],
)
def test_batch_answers_as_single_searches_do(
    world: World, filled: CollectionPath, options: dict[str, Any]
) -> None:
    vectors = np.stack([vector_of(f"q{n}") for n in range(5)])
    forms: list[Any] = [vectors, vectors.tolist(), list(vectors), vectors.astype(np.float64)]
    single = [world.on(filled, ask.SearchDocuments, vector=row, **options) for row in vectors]
    for form in forms:
        assert world.on(filled, ask.SearchBatch, vectors=form, **options) == single
    alike = [world.on(filled, ask.SearchDocuments, id=id, **options) for id in ("d3", "d4", "d3")]
    assert world.on(filled, ask.SearchBatch, ids=["d3", "d4", "d3"], **options) == alike


def test_batch_of_texts_is_embedded_at_once(
    world: World, path: CollectionPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.collection(name="words", embedding_model="hash")
    words = path._replace(collection="words")
    world.on(
        words,
        ask.UpsertDocuments,
        documents=[{"id": word, "text": f"{word} and more"} for word in ("red", "blue")],
    )
    service = world.service(ask.SearchBatch)
    calls: list[Any] = []
    embed = service._embeddings.embed_for

    def noted(*given: Any) -> Any:
        calls.append(given[1])
        return embed(*given)

    monkeypatch.setattr(service._embeddings, "embed_for", noted)
    texts = ["blue and more", "red and more", "x" * 9_000]
    found = world.on(words, ask.SearchBatch, texts=texts)
    assert calls == [texts]
    assert [result.matches[0].id for result in found[:2]] == ["blue", "red"]
    single = [world.on(words, ask.SearchDocuments, text=text) for text in texts]
    assert found == single
    with pytest.raises(InvalidArgument, match="the collection has no embedding model"):
        world.on(path, ask.SearchBatch, texts=["x"])


@pytest.mark.parametrize(
    ("question", "field"),
    [
        ({}, "texts"),
        ({"texts": ["a"], "ids": ["a"]}, "texts"),
        ({"texts": []}, "texts"),
        ({"texts": ["x"] * 201}, "texts"),
        ({"texts": "abc"}, "texts"),
        ({"texts": ["a", 7]}, "texts[1]"),
        ({"texts": ["a", "\0"]}, "texts[1]"),
        ({"vectors": np.ones((201, 16))}, "vectors"),
        ({"vectors": np.ones(16)}, "vectors"),
        ({"vectors": np.ones((2, 15))}, "vectors[0]"),
        ({"vectors": [GOOD, [float("nan")] * 16]}, "vectors[1]"),
        ({"vectors": [GOOD, [*[1.0] * 15, "x"]]}, "vectors[1][15]"),
        ({"ids": ["a", ""]}, "ids[1]"),
        ({"vectors": [GOOD] * 11, "top_k": 10_000}, "top_k"),
        ({"vectors": [GOOD], "filter": {"a": {"$x": 1}}}, "filter.a.$x"),
    ],
)
def test_invalid_batch_is_rejected(
    world: World, path: CollectionPath, question: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        world.on(path, ask.SearchBatch, **question)
    assert caught.value.field == field


def test_batch_without_documents_has_an_empty_answer_for_each(world: World, path: CollectionPath) -> None:
    for _ in range(2):  # without a store, and with one
        found = world.on(path, ask.SearchBatch, vectors=[GOOD, GOOD])
        assert [result.matches for result in found] == [[], []]
        world.on(path, ask.UpsertDocuments, documents=notes("a"))
        world.on(path, ask.DeleteDocuments, ids=["a"])


def test_batch_reads_one_snapshot_once(
    world: World, filled: CollectionPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = world.service(ask.SearchBatch)
    readers: list[object] = []
    find = service._index.search

    def noted(*arguments: Any) -> Hits:
        readers.append(arguments[3])
        return find(*arguments)  # type: ignore[no-any-return]

    monkeypatch.setattr(service._index, "search", noted)
    world.on(filled, ask.SearchBatch, vectors=[GOOD] * 10)
    assert len(readers) == 10
    assert len({id(reader) for reader in readers}) == 1


def test_batch_counts_each_search_towards_the_rate(world: World, filled: CollectionPath) -> None:
    world.ops.perform(UpdateTenant(tenant="aki-labs", qps_quota=1))
    world.reopen()
    world.on(filled, ask.SearchBatch, vectors=[GOOD] * 100)
    with pytest.raises(RateLimited) as caught:
        world.on(filled, ask.CountDocuments)
    assert 90 < caught.value.retry_after_seconds <= 100


def test_answer_of_batch_is_bounded_though_documents_repeat(place: Any) -> None:
    with opened(place, max_answer_bytes=10_000) as world:
        path = world.place()
        long = [{"id": id, "text": "x" * 1_000, "vector": GOOD} for id in ("a", "b")]
        world.on(path, ask.UpsertDocuments, documents=long)
        assert len(world.on(path, ask.SearchBatch, vectors=[GOOD] * 4)) == 4
        with pytest.raises(InvalidArgument, match="top_k: selects more than the 10000 bytes"):
            world.on(path, ask.SearchBatch, vectors=[GOOD] * 5)
        bare = world.on(path, ask.SearchBatch, vectors=[GOOD] * 100, include=())
        assert {tuple(ids_of(result.matches)) for result in bare} == {("a", "b")}
