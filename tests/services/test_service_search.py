"""Search in process: validation, parts of matches, visibility of writes, and searches while others write."""

import threading
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from akidb.domain.documents import Include
from akidb.domain.errors import InvalidArgument
from akidb.domain.fields import CollectionPath
from akidb.operations import documents as ask
from akidb.operations.tenants import GetUsage, UpdateTenant
from akidb.ports.search import Hits, VectorIndex

from .worlds import GOOD, World, ids_of, notes, vector_of


@pytest.mark.parametrize(
    ("question", "field"),
    [
        ({}, "text"),
        ({"text": "x", "vector": GOOD}, "text"),
        ({"vector": [1.0] * 15}, "vector"),
        ({"vector": [np.nan] * 16}, "vector"),
        ({"vector": [0.0] * 16}, "vector"),
        ({"vector": "x"}, "vector"),
        ({"text": "\0"}, "text"),
        ({"vector": GOOD, "top_k": 0}, "top_k"),
        ({"vector": GOOD, "top_k": 10_001}, "top_k"),
        ({"vector": GOOD, "top_k": 1.0}, "top_k"),
        ({"vector": GOOD, "ef_search": 0}, "ef_search"),
        ({"vector": GOOD, "score_threshold": np.nan}, "score_threshold"),
        ({"vector": GOOD, "score_threshold": "1"}, "score_threshold"),
        ({"vector": GOOD, "score_threshold": True}, "score_threshold"),
        ({"vector": GOOD, "include": ["texts"]}, "include"),
        ({"vector": GOOD, "include": "text"}, "include"),
        ({"vector": GOOD, "include": 7}, "include"),
    ],
)
def test_invalid_search_is_rejected(
    world: World, path: CollectionPath, question: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        world.on(path, ask.SearchDocuments, **question)
    assert caught.value.field == field


def test_search_returns_requested_parts(world: World, path: CollectionPath) -> None:
    world.on(path, ask.UpsertDocuments, documents=notes("a", metadata={"x": 1}))
    [plain] = world.on(path, ask.SearchDocuments, vector=GOOD).matches
    assert (plain.id, plain.text, plain.metadata, plain.vector) == ("a", "text of a", {"x": 1}, None)
    [bare] = world.on(path, ask.SearchDocuments, vector=GOOD, include=()).matches
    assert (bare.text, bare.metadata, bare.vector) == (None, None, None)
    [full] = world.on(path, ask.SearchDocuments, vector=GOOD, include=list(Include), ef_search=7).matches
    assert np.array_equal(np.asarray(full.vector), vector_of("a"))


def test_write_is_visible_to_next_search(world: World, path: CollectionPath) -> None:
    for number in range(50):
        world.on(path, ask.UpsertDocuments, documents=notes(f"d{number}"))
        found = world.on(path, ask.SearchDocuments, vector=vector_of(f"d{number}"), top_k=1).matches
        assert ids_of(found) == [f"d{number}"]
        if number % 5 == 0:
            world.on(path, ask.DeleteDocuments, ids=[f"d{number}"])
            found = world.on(path, ask.SearchDocuments, vector=vector_of(f"d{number}"), top_k=100).matches
            assert f"d{number}" not in ids_of(found)


def test_search_without_memory_quota_reads_from_disk(world: World, path: CollectionPath) -> None:
    world.on(path, ask.UpsertDocuments, documents=notes(*(f"d{n}" for n in range(30))))
    fast = world.on(path, ask.SearchDocuments, vector=GOOD)
    world.ops.perform(UpdateTenant(tenant="aki-labs", memory_quota_bytes=0))
    slow = world.on(path, ask.SearchDocuments, vector=GOOD)
    assert (fast.statistics.plan, slow.statistics.plan) == ("exact", "exact_from_disk")
    assert [(m.id, m.score) for m in fast.matches] == [(m.id, m.score) for m in slow.matches]
    assert world.ops.perform(GetUsage(tenant="aki-labs")).memory_bytes.used == 0


class Ahead:
    """An index that knows newer rows than the reader does, a number of times."""

    def __init__(self, index: VectorIndex, times: int) -> None:
        self._index = index
        self._times = times
        self.calls = 0

    def search(self, *arguments: Any) -> Hits:
        self.calls += 1
        answer = self._index.search(*arguments)
        if self.calls > self._times:
            return answer
        return answer._replace(hits=[replace(hit, sequence=hit.sequence + 1) for hit in answer.hits])


@pytest.mark.parametrize(("times", "calls", "found"), [(0, 1, 3), (1, 2, 3), (4, 5, 3), (9, 5, 0)])
def test_search_restarts_when_rows_change_during_it(
    world: World, path: CollectionPath, monkeypatch: pytest.MonkeyPatch, times: int, calls: int, found: int
) -> None:
    world.on(path, ask.UpsertDocuments, documents=notes("a", "b", "c"))
    service = world.service(ask.SearchDocuments)
    index = Ahead(service._index, times)
    monkeypatch.setattr(service, "_index", index)
    assert len(world.on(path, ask.SearchDocuments, vector=GOOD).matches) == found
    assert index.calls == calls


def test_every_match_has_text_belonging_to_its_vector(world: World, path: CollectionPath) -> None:
    """Writers replace documents while others search: text and score of a match belong together."""
    ids = [f"d{n}" for n in range(20)]
    done = threading.Event()
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for round in range(40):
                batch = [
                    {"id": id, "text": f"{id} {round}", "vector": vector_of(f"{id} {round}")}
                    for id in ids[number::3]
                ]
                world.on(path, ask.UpsertDocuments, documents=batch)
                world.on(path, ask.DeleteDocuments, ids=[ids[(number + 3 * round) % 20]])
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failures.append(error)

    def search(number: int) -> None:
        question = vector_of(f"question {number}")
        try:
            while not done.is_set():
                for filter in (None, {"$id": {"$gte": "d1"}}):
                    for match in world.on(path, ask.SearchDocuments, vector=question, filter=filter).matches:
                        expected = float(vector_of(match.text or "") @ question)
                        assert match.score == pytest.approx(expected, abs=1e-5)
                        assert (match.text or "").startswith(match.id + " ")
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failures.append(error)

    searchers = [threading.Thread(target=search, args=(number,)) for number in range(4)]
    writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in searchers + writers:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in searchers:
        thread.join()
    assert failures == []
