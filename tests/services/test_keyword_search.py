"""Keyword and hybrid search in process: what goes together, filters, freshness, and what is removed."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from akidb.domain.errors import InvalidArgument
from akidb.domain.fields import CollectionPath
from akidb.domain.keywords import MAX_TERMS
from akidb.operations import collections, tenants
from akidb.operations import documents as ask
from akidb.operations.upkeep import MaintainStores

from .worlds import GOOD, World, ids_of, on_files, vector_of

TEXTS = {
    "fox": "The quick brown fox jumps",
    "dog": "A lazy dog sleeps in the sun",
    "both": "Foxes and dogs: brown, brown!",
    "cheese": "Käse und Brot",
}


@pytest.fixture
def filled(world: World, path: CollectionPath) -> World:
    documents = [
        {"id": id, "text": text, "vector": vector_of(id), "metadata": {"n": n}}
        for n, (id, text) in enumerate(TEXTS.items())
    ]
    world.on(path, ask.UpsertDocuments, documents=[*documents, {"id": "bare", "vector": vector_of("bare")}])
    return world


def found(world: World, path: CollectionPath, text: str, **fields: Any) -> list[str]:
    return ids_of(world.on(path, ask.SearchDocuments, **{"text": text, "mode": "keyword", **fields}).matches)


@pytest.mark.parametrize(
    ("question", "field"),
    [
        ({"mode": "keyword"}, "text"),
        ({"mode": "keyword", "vector": GOOD}, "text"),
        ({"mode": "keyword", "text": "x", "vector": GOOD}, "vector"),
        ({"mode": "keyword", "text": "x", "weights": {}}, "weights"),
        ({"mode": "keyword", "text": " ".join(f"w{n}" for n in range(MAX_TERMS + 1))}, "text"),
        ({"mode": "keyword", "text": "a\0b"}, "text"),
        ({"mode": "keyword", "text": "x", "highlights": 1}, "highlights"),
        ({"mode": "words", "text": "x"}, "mode"),
        ({"mode": "hybrid", "vector": GOOD}, "text"),
        ({"mode": "hybrid", "text": "x"}, "vector"),
        ({"mode": "hybrid", "text": "x", "vector": GOOD[:3]}, "vector"),
        ({"mode": "hybrid", "text": "x", "vector": GOOD, "weights": {"vector": -1}}, "weights.vector"),
        ({"mode": "vector", "vector": GOOD, "text": "x"}, "text"),
        ({"mode": "vector", "vector": GOOD, "highlights": True}, "highlights"),
        ({"mode": "vector", "vector": GOOD, "weights": {}}, "weights"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(
    world: World, path: CollectionPath, question: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        world.on(path, ask.SearchDocuments, **question)
    assert caught.value.field == field


def test_documents_are_found_by_their_words(filled: World, path: CollectionPath) -> None:
    answer = filled.on(path, ask.SearchDocuments, text="brown", mode="keyword")
    assert ids_of(answer.matches) == ["both", "fox"]
    assert answer.matches[0].score > answer.matches[1].score > 0
    assert answer.matches[0].text == TEXTS["both"]
    assert answer.matches[0].metadata == {"n": 2}
    assert answer.matches[0].highlight is None
    assert (answer.statistics.plan, answer.statistics.scanned) == ("keyword", 2)
    assert found(filled, path, "KASE") == ["cheese"]
    assert found(filled, path, "brown", top_k=1) == ["both"]
    assert found(filled, path, "brown", score_threshold=answer.matches[0].score) == ["both"]
    assert found(filled, path, "bare") == []
    assert found(filled, path, "*** !") == []


def test_collection_without_documents_or_store_has_no_matches(world: World, path: CollectionPath) -> None:
    answer = world.on(path, ask.SearchDocuments, text="fox", mode="keyword")
    assert (answer.matches, answer.statistics.plan) == ([], "keyword")
    world.on(path, ask.UpsertDocuments, documents=[{"id": "a", "vector": GOOD}])
    assert found(world, path, "fox") == []


def test_filter_is_applied_to_all_that_have_the_words(world: World, path: CollectionPath) -> None:
    documents = [
        {"id": f"d{n:03}", "text": "fox " * (n % 5 + 1), "vector": GOOD, "metadata": {"n": n}}
        for n in range(700)
    ]
    world.on(path, ask.UpsertDocuments, documents=[*documents, {"id": "none", "text": "dog", "vector": GOOD}])
    everything = found(world, path, "fox", top_k=1000)
    assert len(everything) == 700
    wanted = [id for id in everything if int(id[1:]) % 5 == 0 and int(id[1:]) >= 350]
    some = {"$and": [{"n": {"$in": list(range(0, 700, 5))}}, {"n": {"$gte": 350}}]}
    assert found(world, path, "fox", filter=some, top_k=1000) == wanted
    assert found(world, path, "fox", filter=some, top_k=3) == wanted[:3]
    assert found(world, path, "fox", filter={"n": -1}) == []
    assert found(world, path, "fox", filter={}, top_k=2) == everything[:2]


def test_highlights_mark_the_words(filled: World, path: CollectionPath) -> None:
    fields = {"text": '"brown fox" dogs', "mode": "keyword", "highlights": True}
    matches = filled.on(path, ask.SearchDocuments, **fields).matches
    assert {match.id: match.highlight for match in matches} == {
        "both": "Foxes and <em>dogs</em>: brown, brown!",
        "fox": "The quick <em>brown fox</em> jumps",
    }
    bare = filled.on(path, ask.SearchDocuments, **fields, include=[]).matches
    assert [(match.text, match.highlight) for match in bare] == [(None, match.highlight) for match in matches]
    long = "before " * 100 + "needle" + " after" * 100
    filled.on(path, ask.UpsertDocuments, documents=[{"id": "long", "text": long, "vector": GOOD}])
    [match] = filled.on(path, ask.SearchDocuments, text="needle", mode="keyword", highlights=True).matches
    assert match.highlight is not None
    assert "<em>needle</em>" in match.highlight
    assert len(match.highlight) < 400
    assert match.text == long


def test_hybrid_joins_both_rankings(filled: World, path: CollectionPath) -> None:
    def hybrid(**fields: Any) -> list[tuple[str, float]]:
        question = {"text": "brown", "vector": vector_of("cheese"), "mode": "hybrid", **fields}
        return [(m.id, m.score) for m in filled.on(path, ask.SearchDocuments, **question).matches]

    by_vector = ids_of(filled.on(path, ask.SearchDocuments, vector=vector_of("cheese")).matches)
    by_words = found(filled, path, "brown")
    scores = {id: 1 / (60 + rank) for rank, id in enumerate(by_vector, 1)}
    for rank, id in enumerate(by_words, 1):
        scores[id] += 1 / (60 + rank)
    assert dict(hybrid()) == pytest.approx(scores)
    assert hybrid() == sorted(hybrid(), key=lambda each: (-each[1], each[0]))
    assert [id for id, _ in hybrid(weights={"vector": 0})] == by_words
    assert [id for id, _ in hybrid(weights={"keyword": 0})] == by_vector
    assert [id for id, _ in hybrid(filter={"n": {"$lte": 1}}, weights={"vector": 0})] == ["fox"]
    assert len(hybrid(top_k=2)) == 2
    answer = filled.on(path, ask.SearchDocuments, text="brown", vector=GOOD, mode="hybrid", highlights=True)
    assert answer.statistics.plan == "hybrid"
    marked = {match.id: match.highlight for match in answer.matches}
    assert marked["fox"] == "The quick <em>brown</em> fox jumps"
    assert marked["cheese"] is None


def test_hybrid_embeds_the_text(world: World) -> None:
    path = world.place("Models", embedding_model="hash")
    world.on(
        path, ask.UpsertDocuments, documents=[{"id": "a", "text": "one fox"}, {"id": "b", "text": "two"}]
    )
    answer = world.on(path, ask.SearchDocuments, text="fox", mode="hybrid")
    assert ids_of(answer.matches)[0] == "a"
    assert len(answer.matches) == 2


def test_write_is_found_by_the_next_search(filled: World, path: CollectionPath) -> None:
    assert found(filled, path, "fox") == ["fox"]
    filled.on(path, ask.UpsertDocuments, documents=[{"id": "fox", "text": "a hare", "vector": GOOD}])
    assert (found(filled, path, "fox"), found(filled, path, "hare")) == ([], ["fox"])
    filled.on(path, ask.UpdateDocuments, ids=["fox"], metadata={"seen": True})
    assert filled.on(path, ask.SearchDocuments, text="hare", mode="keyword").matches[0].metadata == {
        "seen": True
    }
    filled.on(path, ask.DeleteDocuments, ids=["fox"])
    assert found(filled, path, "hare") == []
    filled.on(path, ask.ClearDocuments)
    assert found(filled, path, "brown dog") == []


def test_index_outlives_the_process(filled: World, path: CollectionPath) -> None:
    before = filled.on(path, ask.SearchDocuments, text="brown", mode="keyword").matches
    filled.reopen()
    assert filled.on(path, ask.SearchDocuments, text="brown", mode="keyword").matches == before
    filled.on(path, ask.DeleteDocuments, ids=["both"])
    filled.reopen()
    assert found(filled, path, "brown") == ["fox"]


def test_every_match_has_the_words_while_others_write(filled: World, path: CollectionPath) -> None:
    ids = [f"d{n}" for n in range(12)]
    done = threading.Event()

    def write() -> None:
        try:
            for round in range(25):
                word = "even" if round % 2 == 0 else "odd"
                documents = [{"id": id, "text": f"{word} {id}", "vector": GOOD} for id in ids]
                filled.on(path, ask.UpsertDocuments, documents=documents)
        finally:
            done.set()

    def search(mode: str, **fields: Any) -> None:
        while not done.is_set():
            question = {"text": "even", "mode": mode, "top_k": 50, **fields}
            matches = filled.on(path, ask.SearchDocuments, **question).matches
            assert len(matches) in {0, 12}, "all documents change at once"
            assert all("even" in (match.text or "") for match in matches)

    with ThreadPoolExecutor() as pool:
        tasks = [
            pool.submit(write),
            pool.submit(search, "keyword"),
            pool.submit(search, "keyword", filter={"$text": {"$contains": "v"}}),
            pool.submit(search, "hybrid", vector=GOOD, weights={"vector": 0}),
        ]
    for task in tasks:
        task.result()
    assert sorted(found(filled, path, "even", top_k=50)) == sorted(ids)


@on_files
def test_deleted_and_purged_collections_and_tenants_leave_no_index(
    filled: World, path: CollectionPath
) -> None:
    folder = filled.directory / "indexes"
    marker = b"zyzzyva"
    filled.on(path, ask.UpsertDocuments, documents=[{"id": "z", "text": marker.decode(), "vector": GOOD}])
    assert found(filled, path, "zyzzyva") == ["z"]

    def traces() -> int:
        return sum(marker in file.read_bytes() for file in folder.rglob("*") if file.is_file())

    assert traces() == 1
    assert {oct(each.stat().st_mode & 0o777) for each in [folder, *folder.rglob("*")]} == {"0o700", "0o600"}
    filled.on(path, ask.DeleteDocuments, ids=["z"])
    assert found(filled, path, "zyzzyva") == []
    assert traces() == 0, "a deleted text is erased with the next search"
    filled.ops.perform(collections.DeleteCollection(**path._asdict()))
    assert not [file for file in folder.rglob("*") if file.is_file()]
    filled.ops.perform(collections.RestoreCollection(**path._asdict()))
    assert found(filled, path, "brown") == ["both", "fox"]
    filled.reopen()
    filled.ops.perform(tenants.DeleteTenant(tenant="aki-labs"))
    filled.ops.perform(tenants.PurgeTenant(tenant="aki-labs"))
    assert not list(folder.iterdir())


@on_files
def test_unused_index_is_removed_by_maintenance(filled: World, path: CollectionPath) -> None:
    folder = filled.directory / "indexes"
    assert found(filled, path, "brown") == ["both", "fox"]
    filled.ops.perform(MaintainStores())
    filled.ops.perform(MaintainStores())
    [note] = folder.rglob("keywords.json")  # closed, and sealed
    note.write_bytes(note.read_bytes().replace(b'"used_at":"2', b'"used_at":"1'))
    filled.ops.perform(MaintainStores())
    assert not [file for file in folder.rglob("*") if file.is_file()]
    assert found(filled, path, "brown") == ["both", "fox"]


@on_files
@pytest.mark.parametrize("is_indexed", [True, False])
def test_damaged_document_is_left_out_and_counted(
    filled: World, path: CollectionPath, *, is_indexed: bool
) -> None:
    def answer() -> tuple[list[str], int]:
        result = filled.on(path, ask.SearchDocuments, text="brown", mode="keyword")
        return ids_of(result.matches), result.statistics.damaged

    if is_indexed:
        assert answer() == (["both", "fox"], 0)
    store = filled.store_file(filled.ops.perform(tenants.GetTenant(tenant="aki-labs")))
    filled.ops.close()
    filled.execute(store, "UPDATE documents SET text = 'another brown text' WHERE id = 'fox'")
    filled.ops = filled.connect()
    assert answer() == (["both"], 1)
    filled.on(path, ask.UpsertDocuments, documents=[{"id": "new", "text": "new", "vector": GOOD}])
    assert answer() == (["both"], 1)
    fox = {"id": "fox", "text": "a brown fox", "vector": GOOD}
    filled.on(path, ask.UpsertDocuments, documents=[fox])
    assert sorted(answer()[0]) == ["both", "fox"]
    assert answer()[1] == 0


@on_files
def test_damaged_document_that_is_deleted_counts_no_more(filled: World, path: CollectionPath) -> None:
    store = filled.store_file(filled.ops.perform(tenants.GetTenant(tenant="aki-labs")))
    filled.ops.close()
    filled.execute(store, "UPDATE documents SET text = 'another' WHERE id = 'fox'")
    filled.ops = filled.connect()
    for damaged, ids in ((1, ["both"]), (0, ["both"])):
        result = filled.on(path, ask.SearchDocuments, text="brown", mode="keyword")
        assert (ids_of(result.matches), result.statistics.damaged) == (ids, damaged)
        filled.on(path, ask.DeleteDocuments, ids=["fox"])
