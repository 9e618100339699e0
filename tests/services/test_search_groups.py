"""Groups of matches by a field of the metadata, and pages of matches."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from akidb.domain.documents import Match, SearchResult
from akidb.domain.errors import InvalidArgument
from akidb.domain.fields import CollectionPath
from akidb.operations import documents as ask
from akidb.operations.tenants import UpdateTenant
from akidb.services import choosing, search
from akidb.services.grouping import values_of

from .worlds import GOOD, World, ids_of, vector_of

METADATA: list[dict[str, Any]] = [
    {"author": "ann", "year": 1, "deep": {"er": "x"}},
    {"author": "bob", "year": 1.0, "deep": [{"er": "x"}, {"er": 7}, 5]},
    {"author": ["ann", "bob", "ann"], "year": True, "deep.er": "whole"},
    {"author": None, "deep": {}},
    {"author": {"name": "ann"}, "year": [1, [2]]},
    {},
]
"""What the documents have in turn."""


def metadata_of(n: int) -> dict[str, Any]:
    return METADATA[n % len(METADATA)]


@pytest.fixture
def filled(world: World, path: CollectionPath) -> CollectionPath:
    documents = [
        {"id": f"d{n:02}", "text": f"text {n}", "vector": vector_of(f"d{n}"), "metadata": metadata_of(n)}
        for n in range(60)
    ]
    world.on(path, ask.UpsertDocuments, documents=documents)
    return path


def expected(ranked: list[Match], field: str, top_k: int, size: int) -> list[tuple[Any, str]]:
    """The groups of all documents, in the plainest way."""
    groups: dict[Any, list[str]] = {}
    for match in ranked:
        for value in values_of(match.metadata or {}, field):
            groups.setdefault((type(value) is bool, value), []).append(match.id)
    return [(key[1], id) for key, ids in list(groups.items())[:top_k] for id in ids[:size]]


@pytest.mark.parametrize("field", ["author", "year", "deep.er", "deep", "nowhere"])
@pytest.mark.parametrize(("top_k", "size"), [(1, 1), (2, 3), (10, 100)])
@pytest.mark.parametrize("first", [1, 100])
def test_groups_are_those_of_all_documents(
    world: World,
    filled: CollectionPath,
    monkeypatch: pytest.MonkeyPatch,
    field: str,
    top_k: int,
    size: int,
    first: int,
) -> None:
    monkeypatch.setattr(choosing, "FIRST_ROWS", first)
    ranked = world.on(filled, ask.SearchDocuments, vector=GOOD, top_k=60).matches
    found = world.on(
        filled,
        ask.SearchDocuments,
        vector=GOOD,
        top_k=top_k,
        group_by=field,
        group_size=size,
        include=["metadata.year"],
    )
    assert [(match.group, match.id) for match in found.matches] == expected(ranked, field, top_k, size)
    assert found.next_cursor is None
    assert not found.statistics.limited
    scores = {match.id: match.score for match in ranked}
    for match in found.matches:
        assert match.score == scores[match.id]
        assert match.text is None
        own = metadata_of(int(match.id[1:]))
        assert match.metadata == {key: own[key] for key in ("year",) if key in own}
    (batch,) = world.on(
        filled,
        ask.SearchBatch,
        vectors=[GOOD],
        top_k=top_k,
        group_by=field,
        group_size=size,
        include=["metadata.year"],
    )
    assert batch == found


def test_values_of_a_field_are_named_as_in_filters() -> None:
    assert values_of({"a.b": 1, "a": {"b": 2}}, "a.b") == [1]
    assert values_of({"a": {"b": 2}}, "a.b") == [2]
    assert values_of({"a": [{"b": [1, 1.0, True, "1", None, {}]}, {"b": 3}, 4]}, "a.b") == [1.0, True, "1", 3]
    assert values_of({"a": {"b": {"c": 1}}}, "a.b") == []
    assert values_of({"a": 1}, "a.b") == []


def test_groups_take_filter_threshold_and_id(world: World, filled: CollectionPath) -> None:
    only = {"author": "bob"}
    found = world.on(filled, ask.SearchDocuments, id="d01", group_by="author", filter=only, group_size=100)
    assert {match.group for match in found.matches} == {"ann", "bob"}
    assert "d01" not in ids_of(found.matches)
    some = world.on(
        filled, ask.SearchDocuments, vector=GOOD, group_by="author", score_threshold=0.1, group_size=100
    )
    assert some.matches
    assert all(match.score >= 0.1 for match in some.matches)


def test_few_of_a_large_group_do_not_hide_the_others(
    world: World, path: CollectionPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = [{"id": f"n{n}", "vector": GOOD, "metadata": {"kind": "near"}} for n in range(500)]
    far = [{"id": f"f{n}", "vector": -GOOD, "metadata": {"kind": f"far{n}"}} for n in range(3)]
    world.on(path, ask.UpsertDocuments, documents=[*near, *far])
    found = world.on(path, ask.SearchDocuments, vector=GOOD, group_by="kind", top_k=3)
    assert [match.group for match in found.matches] == ["near", "far0", "far1"]
    monkeypatch.setattr(search, "MAX_CANDIDATES", 200)
    found = world.on(path, ask.SearchDocuments, vector=GOOD, group_by="kind", top_k=3)
    assert [match.group for match in found.matches] == ["near"]
    assert found.statistics.limited


@pytest.mark.parametrize(
    ("question", "field"),
    [
        ({"group_by": ""}, "group_by"),
        ({"group_by": 7}, "group_by"),
        ({"group_by": "$id"}, "group_by"),
        ({"group_by": "x" * 513}, "group_by"),
        ({"group_by": "a", "group_size": 0}, "group_size"),
        ({"group_by": "a", "group_size": 101}, "group_size"),
        ({"group_size": 2}, "group_size"),
        ({"group_by": "a", "group_size": 100, "top_k": 101}, "top_k"),
        ({"cursor": "x"}, "cursor"),
        ({"cursor": 7}, "cursor"),
    ],
)
def test_invalid_groups_and_cursors_are_rejected(
    world: World, filled: CollectionPath, question: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        world.on(filled, ask.SearchDocuments, vector=GOOD, **question)
    assert caught.value.field == field


@pytest.mark.parametrize("mode", ["keyword", "hybrid"])
@pytest.mark.parametrize(("name", "value"), [("group_by", "author"), ("group_size", 2), ("cursor", "x")])
def test_groups_and_pages_are_of_one_mode(
    world: World, path: CollectionPath, mode: str, name: str, value: Any
) -> None:
    with pytest.raises(InvalidArgument, match=f"{name}: has no use in mode {mode}"):
        world.on(path, ask.SearchDocuments, text="x", mode=mode, **{name: value})


def pages(world: World, path: CollectionPath, **question: Any) -> Iterator[SearchResult]:
    cursor = None
    while True:
        page = world.on(path, ask.SearchDocuments, cursor=cursor, **question)
        yield page
        cursor = page.next_cursor
        if cursor is None:
            return


@pytest.mark.parametrize("top_k", [1, 7, 30, 59, 60, 100])
@pytest.mark.parametrize(
    "question",
    [
        {"vector": GOOD},
        {"vector": GOOD, "filter": {"author": "ann"}, "score_threshold": -0.2},
        {"id": "d05"},
    ],
)
def test_pages_are_the_whole_search(
    world: World, filled: CollectionPath, question: dict[str, Any], top_k: int
) -> None:
    twins = [{"id": f"t{n}", "vector": [1.0] * 16, "metadata": {"author": "ann"}} for n in range(9)]
    world.on(filled, ask.UpsertDocuments, documents=twins)  # with equal scores
    whole = world.on(filled, ask.SearchDocuments, **question, top_k=1000).matches
    parts = list(pages(world, filled, **question, top_k=top_k))
    assert [match for page in parts for match in page.matches] == whole
    assert all(page.matches for page in parts)
    assert not any(page.statistics.limited for page in parts)


def test_page_continues_after_its_last_match_after_writes(world: World, filled: CollectionPath) -> None:
    first = world.on(filled, ask.SearchDocuments, vector=GOOD, top_k=20)
    rest = world.on(filled, ask.SearchDocuments, vector=GOOD, top_k=60).matches[20:]
    world.on(filled, ask.DeleteDocuments, ids=[*ids_of(first.matches[5:]), rest[0].id])
    better = [{"id": f"b{n}", "vector": GOOD * (n + 1)} for n in range(50)]
    world.on(filled, ask.UpsertDocuments, documents=better)
    second = world.on(filled, ask.SearchDocuments, vector=GOOD, top_k=10, cursor=first.next_cursor)
    assert second.matches == rest[1:11]


def test_cursor_is_bound_to_its_question(world: World, filled: CollectionPath) -> None:
    cursor = world.on(filled, ask.SearchDocuments, vector=GOOD, top_k=5).next_cursor
    changed: list[dict[str, Any]] = [
        {"vector": vector_of("other")},
        {"id": "d01"},
        {"vector": GOOD, "filter": {"author": "ann"}},
        {"vector": GOOD, "score_threshold": 0.0},
        {"vector": GOOD, "group_by": "author"},
    ]
    for question in changed:
        with pytest.raises(InvalidArgument) as caught:
            world.on(filled, ask.SearchDocuments, **question, cursor=cursor)
        assert caught.value.field == "cursor"
    same: list[Any] = [GOOD.tolist(), GOOD.astype(np.float64)]
    found = [
        world.on(filled, ask.SearchDocuments, vector=form, cursor=cursor, top_k=3, include=()).matches
        for form in same
    ]
    assert ids_of(found[0]) == ids_of(found[1])


def test_result_of_batch_is_continued_by_search(world: World, filled: CollectionPath) -> None:
    found = world.on(filled, ask.SearchBatch, vectors=[GOOD, vector_of("other")], top_k=5)
    again = world.on(
        filled, ask.SearchDocuments, vector=vector_of("other"), top_k=5, cursor=found[1].next_cursor
    )
    both = world.on(filled, ask.SearchDocuments, vector=vector_of("other"), top_k=10)
    assert [*found[1].matches, *again.matches] == both.matches


def test_last_page_that_can_be_reached_says_so(
    world: World, filled: CollectionPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_CANDIDATES", 25)
    parts = list(pages(world, filled, vector=GOOD, top_k=10))
    assert [len(page.matches) for page in parts] == [10, 10, 5]
    assert [page.statistics.limited for page in parts] == [False, False, True]


def test_groups_and_pages_without_memory_are_the_same(world: World, filled: CollectionPath) -> None:
    question: dict[str, Any] = {"vector": GOOD, "group_by": "author", "group_size": 5}
    fast = world.on(filled, ask.SearchDocuments, **question).matches
    fast_pages = [ids_of(page.matches) for page in pages(world, filled, vector=GOOD, top_k=25)]
    world.ops.perform(UpdateTenant(tenant="aki-labs", memory_quota_bytes=0))
    assert world.on(filled, ask.SearchDocuments, **question).matches == fast
    assert [ids_of(page.matches) for page in pages(world, filled, vector=GOOD, top_k=25)] == fast_pages


@pytest.mark.parametrize("times", [1, 4, 9])
def test_groups_are_made_again_when_rows_change(
    world: World, filled: CollectionPath, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    question: dict[str, Any] = {"vector": GOOD, "group_by": "author"}
    expected = world.on(filled, ask.SearchDocuments, **question).matches
    service = world.service(ask.SearchDocuments)
    find, calls = service._index.search, 0

    def ahead(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        answer = find(*arguments)
        if calls > times:
            return answer
        return answer._replace(hits=[replace(hit, sequence=hit.sequence + 1) for hit in answer.hits])

    monkeypatch.setattr(service._index, "search", ahead)
    assert world.on(filled, ask.SearchDocuments, **question).matches == (expected if times < 5 else [])
