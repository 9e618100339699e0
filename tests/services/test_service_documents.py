"""Documents and search in process: what is refused, what is answered, and that writes are seen at once."""

import threading
from typing import Any

import numpy as np
import pytest

from akidb.domain.documents import DocumentInput, Include
from akidb.domain.errors import InvalidArgument, QuotaExceeded, RateLimited
from akidb.domain.ids import DocumentId
from akidb.ports.operations import CollectionPath, TenantChanges
from akidb.ports.search import Hits, VectorIndex

from .worlds import World, ids_of, notes, on_files, vector_of

GOOD = vector_of("good")
NAN, INFINITY = float("nan"), float("inf")


@pytest.fixture
def path(world: World) -> CollectionPath:
    made = world.place()
    world.ops.tenants.update("aki-labs", TenantChanges(qps_quota=10**6))
    return made


def with_one(place: int, wrong: Any, count: int = 5) -> list[Any]:
    """A batch of good documents with one that is wrong."""
    batch: list[Any] = [{"id": f"d{n}", "text": "x", "vector": GOOD} for n in range(count)]
    batch[place] = {"id": "wrong", "text": "x", "vector": GOOD, **wrong} if isinstance(wrong, dict) else wrong
    return batch


WRONG_DOCUMENTS: list[tuple[Any, str]] = [
    ({"vector": [1.0] * 15}, ".vector"),
    ({"vector": []}, ".vector"),
    ({"vector": [[1.0] * 16]}, ".vector[0]"),
    ({"vector": np.ones((1, 16), np.float32)}, ".vector"),
    ({"vector": np.array(["1"] * 16)}, ".vector"),
    ({"vector": np.ones(16, bool)}, ".vector"),
    ({"vector": [*[1.0] * 15, NAN]}, ".vector"),
    ({"vector": [*[1.0] * 15, INFINITY]}, ".vector"),
    ({"vector": np.full(16, np.nan, np.float32)}, ".vector"),
    ({"vector": [1e39] * 16}, ".vector"),
    ({"vector": [1e18] * 16}, ".vector"),
    ({"vector": [0.0] * 16}, ".vector"),
    ({"vector": [*[1.0] * 15, "1"]}, ".vector[15]"),
    ({"vector": [*[1.0] * 15, True]}, ".vector[15]"),
    ({"vector": [*[1.0] * 15, None]}, ".vector[15]"),
    ({"vector": "1" * 16}, ".vector"),
    ({"vector": {"0": 1.0}}, ".vector"),
    ({"vector": None}, ".vector"),
    ({"vector": None, "text": None}, ""),
    ({"id": ""}, ".id"),
    ({"id": "x" * 513}, ".id"),
    ({"id": "\u65e5" * 171}, ".id"),
    ({"id": "a\0"}, ".id"),
    ({"id": "\ud800"}, ".id"),
    ({"id": 7}, ".id"),
    ({"id": "d0"}, ".id"),
    ({"text": "x" * (2**20 + 1)}, ".text"),
    ({"text": "\ud800"}, ".text"),
    ({"text": "\0"}, ".text"),
    ({"text": 7}, ".text"),
    ({"metadata": []}, ".metadata"),
    ({"metadata": {"a": [1, {"b": NAN}]}}, ".metadata.a[1].b"),
    ({"metadata": {1: 2}}, ".metadata"),
    ({"metadata": {"a": 2**63}}, ".metadata.a"),
    ({"metadata": {"a": (1, 2)}}, ".metadata.a"),
    ({"metadata": {"a": "x" * (2**20)}}, ".metadata"),
    ({"txt": "x"}, ".txt"),
    (None, ""),
    ("text", ""),
    ([], ""),
]


@pytest.mark.parametrize(("wrong", "where"), WRONG_DOCUMENTS)
def test_a_wrong_document_is_named_by_its_place_and_nothing_is_stored(
    world: World, path: CollectionPath, wrong: Any, where: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        world.ops.documents.upsert(path, with_one(3, wrong))
    assert caught.value.field == f"documents[3]{where}"
    assert world.ops.documents.count(path) == 0
    assert world.ops.tenants.usage("aki-labs").storage_bytes.used == 0


@pytest.mark.parametrize("documents", [[], None, "x", b"x", {}, 7, [{}] * 10_001])
def test_a_wrong_batch_is_refused(world: World, path: CollectionPath, documents: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        world.ops.documents.upsert(path, documents)
    assert caught.value.field in {"documents", "documents[0]"}


def test_a_batch_and_an_id_and_a_text_may_be_as_large_as_is_said(world: World, path: CollectionPath) -> None:
    large = [{"id": "\u00e9" * 256, "text": "x" * 2**20, "vector": GOOD}]
    assert world.ops.documents.upsert(path, large).ids == ["\u00e9" * 256]
    many = [{"id": str(number), "vector": GOOD} for number in range(10_000)]
    assert world.ops.documents.upsert(path, many).upserted == 10_000
    assert world.ops.documents.count(path) == 10_001
    assert len(world.ops.documents.search(path, vector=GOOD, top_k=10_000, include=()).matches) == 10_000


def test_vectors_are_taken_in_every_form(world: World, path: CollectionPath) -> None:
    forms: list[Any] = [
        GOOD,
        GOOD.tolist(),
        tuple(GOOD.tolist()),
        GOOD.astype(np.float64),
        list(GOOD),
        np.asfortranarray(np.stack([GOOD, GOOD]))[0],
        [1] * 16,
        np.ones(16, np.int64),
    ]
    world.ops.documents.upsert(path, [{"id": str(n), "vector": form} for n, form in enumerate(forms)])
    found = world.ops.documents.get(path, [str(n) for n in range(len(forms))], include=[Include.VECTOR])
    for each, form in zip(found, forms, strict=True):
        assert np.array_equal(np.asarray(each.vector), np.asarray(form, np.float32))


def test_a_document_without_an_id_gets_one(world: World, path: CollectionPath) -> None:
    result = world.ops.documents.upsert(
        path, [{"vector": GOOD}, {"id": "a", "vector": GOOD}, {"vector": GOOD}]
    )
    assert result.upserted == 3
    assert result.ids[1] == "a"
    made = [DocumentId.parse(result.ids[0]), DocumentId.parse(result.ids[2])]
    assert made == sorted(made)
    assert ids_of(world.ops.documents.get(path, result.ids)) == result.ids


def test_a_struct_is_a_document_too(world: World, path: CollectionPath) -> None:
    made = DocumentInput(id="a", text="x", vector=GOOD.tolist(), metadata={"b": 1})
    world.ops.documents.upsert(path, [made])
    [found] = world.ops.documents.get(path, ["a"])
    assert (found.text, found.metadata, found.vector) == ("x", {"b": 1}, None)


def test_a_text_alone_needs_a_model(world: World, path: CollectionPath) -> None:
    with pytest.raises(InvalidArgument, match="has no embedding model"):
        world.ops.documents.upsert(path, [{"text": "x"}])
    with pytest.raises(InvalidArgument, match="has no embedding model"):
        world.ops.documents.search(path, text="x")


def test_get_gives_each_known_id_once_in_the_order_asked_for(world: World, path: CollectionPath) -> None:
    world.ops.documents.upsert(path, notes("a", "b", "c"))
    assert ids_of(world.ops.documents.get(path, ["c", "x", "a", "c"])) == ["c", "a"]


@pytest.mark.parametrize("ids", [[], None, "abc", [7], [""], ["a"] * 10_001, ["a", None]])
def test_wrong_ids_are_refused(world: World, path: CollectionPath, ids: Any) -> None:
    for call in (
        lambda: world.ops.documents.get(path, ids),
        lambda: world.ops.documents.delete(path, ids=ids),
        lambda: world.ops.documents.update(path, {"a": 1}, ids=ids),
    ):
        with pytest.raises(InvalidArgument) as caught:
            call()
        assert caught.value.field.startswith("ids")


@on_files
def test_before_the_first_write_there_is_nothing_and_no_store(world: World, path: CollectionPath) -> None:
    assert world.ops.documents.get(path, ["a"]) == []
    assert world.ops.documents.scan(path).items == []
    assert world.ops.documents.count(path) == 0
    found = world.ops.documents.search(path, vector=GOOD)
    assert (found.matches, found.statistics.scanned) == ([], 0)
    assert list((world.directory / "tenants").iterdir()) == []


def test_a_scan_is_paged_by_id(world: World, path: CollectionPath) -> None:
    world.ops.documents.upsert(path, notes(*(f"d{n}" for n in range(9)), metadata={"a": 1}))
    world.ops.documents.upsert(path, notes("d4"))
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = world.ops.documents.scan(path, filter={"a": 1}, limit=3, cursor=cursor)
        seen += ids_of(page.items)
        cursor = page.next_cursor
        if cursor is None:
            break
        world.ops.documents.upsert(path, notes(f"c{len(seen)}", metadata={"a": 1}))
    assert seen == [f"d{n}" for n in range(9) if n != 4]


def test_a_cursor_of_a_scan_is_bound_to_its_filter_and_collection(world: World, path: CollectionPath) -> None:
    world.collection(name="other")
    for place in (path, path._replace(collection="other")):
        world.ops.documents.upsert(place, notes("a", "b"))
    cursor = world.ops.documents.scan(path, limit=1).next_cursor
    assert ids_of(world.ops.documents.scan(path, limit=1, cursor=cursor, filter={}).items) == ["b"]
    elsewhere = path._replace(collection="other")
    questions: list[tuple[CollectionPath, dict[str, Any]]] = [
        (path, {"cursor": cursor, "filter": {"a": 1}}),
        (elsewhere, {"cursor": cursor}),
        (path, {"cursor": "x"}),
    ]
    for place, question in questions:
        with pytest.raises(InvalidArgument) as caught:
            world.ops.documents.scan(place, **question)
        assert caught.value.field == "cursor"


def test_an_update_merges_metadata(world: World, path: CollectionPath) -> None:
    world.ops.documents.upsert(path, notes("a", "b", metadata={"x": 1, "y": {"z": 1}}))
    assert (
        world.ops.documents.update(path, {"x": None, "y": {"w": 2}, "new": None, "v": [1]}, ids=["a", "c"])
        == 1
    )
    a, b = world.ops.documents.get(path, ["a", "b"], include=list(Include))
    assert a.metadata == {"y": {"z": 1, "w": 2}, "v": [1]}
    assert b.metadata == {"x": 1, "y": {"z": 1}}
    assert a.text == "text of a"
    assert np.array_equal(np.asarray(a.vector), vector_of("a"))
    assert world.ops.documents.update(path, {"seen": True}, filter={"x": 1}) == 1
    assert world.ops.documents.count(path, filter={"seen": True}) == 1


def test_a_merge_that_grows_too_large_changes_nothing(world: World, path: CollectionPath) -> None:
    world.ops.documents.upsert(path, notes("a", metadata={"x": "x" * 600_000}))
    with pytest.raises(InvalidArgument, match="metadata of 'a'"):
        world.ops.documents.update(path, {"y": "y" * 600_000}, ids=["a"])
    [found] = world.ops.documents.get(path, ["a"])
    assert set(found.metadata or {}) == {"x"}


@pytest.mark.parametrize(
    "choice", [{}, {"ids": ["a"], "filter": {"x": 1}}, {"filter": {}}, {"filter": {"$and": [{}]}}]
)
def test_what_would_choose_everything_or_nothing_is_refused(
    world: World, path: CollectionPath, choice: dict[str, Any]
) -> None:
    world.ops.documents.upsert(path, notes("a"))
    with pytest.raises(InvalidArgument):
        world.ops.documents.delete(path, **choice)
    with pytest.raises(InvalidArgument):
        world.ops.documents.update(path, {"x": 1}, **choice)
    assert world.ops.documents.count(path) == 1


@pytest.mark.parametrize(
    ("filter", "field"),
    [
        ({"$and": [{"a": 1}, {"b": {"$or": 1}}]}, "filter.$and[1].b.$or"),
        ({"$or": [{"$not": {"$and": [{"year": {"$gte": []}}]}}]}, "filter.$or[0].$not.$and[0].year.$gte"),
        ([], "filter"),
        ("x", "filter"),
        ({"$nope": 1}, "filter.$nope"),
    ],
)
def test_a_wrong_filter_is_refused_where_it_is_wrong(
    world: World, path: CollectionPath, filter: Any, field: str
) -> None:
    world.ops.documents.upsert(path, notes("a"))
    for call in (
        lambda: world.ops.documents.search(path, vector=GOOD, filter=filter),
        lambda: world.ops.documents.scan(path, filter=filter),
        lambda: world.ops.documents.count(path, filter=filter),
        lambda: world.ops.documents.delete(path, filter=filter),
        lambda: world.ops.documents.update(path, {"x": 1}, filter=filter),
    ):
        with pytest.raises(InvalidArgument) as caught:
            call()
        assert caught.value.field == field
    assert world.ops.documents.count(path) == 1


@pytest.mark.parametrize(
    ("question", "field"),
    [
        ({}, "text"),
        ({"text": "x", "vector": GOOD}, "text"),
        ({"vector": [1.0] * 15}, "vector"),
        ({"vector": [NAN] * 16}, "vector"),
        ({"vector": [0.0] * 16}, "vector"),
        ({"vector": "x"}, "vector"),
        ({"text": "\0"}, "text"),
        ({"vector": GOOD, "top_k": 0}, "top_k"),
        ({"vector": GOOD, "top_k": 10_001}, "top_k"),
        ({"vector": GOOD, "top_k": 1.0}, "top_k"),
        ({"vector": GOOD, "ef_search": 0}, "ef_search"),
        ({"vector": GOOD, "score_threshold": NAN}, "score_threshold"),
        ({"vector": GOOD, "score_threshold": "1"}, "score_threshold"),
        ({"vector": GOOD, "score_threshold": True}, "score_threshold"),
        ({"vector": GOOD, "include": ["texts"]}, "include"),
        ({"vector": GOOD, "include": "text"}, "include"),
        ({"vector": GOOD, "include": 7}, "include"),
    ],
)
def test_a_wrong_question_is_refused(
    world: World, path: CollectionPath, question: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        world.ops.documents.search(path, **question)
    assert caught.value.field == field


def test_a_search_gives_the_parts_asked_for(world: World, path: CollectionPath) -> None:
    world.ops.documents.upsert(path, notes("a", metadata={"x": 1}))
    [plain] = world.ops.documents.search(path, vector=GOOD).matches
    assert (plain.id, plain.text, plain.metadata, plain.vector) == ("a", "text of a", {"x": 1}, None)
    [bare] = world.ops.documents.search(path, vector=GOOD, include=()).matches
    assert (bare.text, bare.metadata, bare.vector) == (None, None, None)
    [full] = world.ops.documents.search(path, vector=GOOD, include=list(Include), ef_search=7).matches
    assert np.array_equal(np.asarray(full.vector), vector_of("a"))


def test_a_write_is_found_by_the_very_next_search(world: World, path: CollectionPath) -> None:
    for number in range(50):
        world.ops.documents.upsert(path, notes(f"d{number}"))
        found = world.ops.documents.search(path, vector=vector_of(f"d{number}"), top_k=1).matches
        assert ids_of(found) == [f"d{number}"]
        if number % 5 == 0:
            world.ops.documents.delete(path, ids=[f"d{number}"])
            found = world.ops.documents.search(path, vector=vector_of(f"d{number}"), top_k=100).matches
            assert f"d{number}" not in ids_of(found)


def test_a_tenant_without_memory_is_answered_from_disk(world: World, path: CollectionPath) -> None:
    world.ops.documents.upsert(path, notes(*(f"d{n}" for n in range(30))))
    fast = world.ops.documents.search(path, vector=GOOD)
    world.ops.tenants.update("aki-labs", TenantChanges(memory_quota_bytes=0))
    slow = world.ops.documents.search(path, vector=GOOD)
    assert (fast.statistics.plan, slow.statistics.plan) == ("exact", "exact_from_disk")
    assert [(m.id, m.score) for m in fast.matches] == [(m.id, m.score) for m in slow.matches]
    assert world.ops.tenants.usage("aki-labs").memory_bytes.used == 0


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
        return answer._replace(hits=[hit._replace(sequence=hit.sequence + 1) for hit in answer.hits])


@pytest.mark.parametrize(("times", "calls", "found"), [(0, 1, 3), (1, 2, 3), (4, 5, 3), (9, 5, 0)])
def test_a_search_begins_again_when_rows_change_under_it(
    world: World, path: CollectionPath, monkeypatch: pytest.MonkeyPatch, times: int, calls: int, found: int
) -> None:
    world.ops.documents.upsert(path, notes("a", "b", "c"))
    index = Ahead(world.ops.documents._index, times)
    monkeypatch.setattr(world.ops.documents, "_index", index)
    assert len(world.ops.documents.search(path, vector=GOOD).matches) == found
    assert index.calls == calls


def test_every_match_carries_the_text_of_its_vector(world: World, path: CollectionPath) -> None:
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
                world.ops.documents.upsert(path, batch)
                world.ops.documents.delete(path, ids=[ids[(number + 3 * round) % 20]])
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failures.append(error)

    def search(number: int) -> None:
        question = vector_of(f"question {number}")
        try:
            while not done.is_set():
                for filter in (None, {"$id": {"$gte": "d1"}}):
                    for match in world.ops.documents.search(path, vector=question, filter=filter).matches:
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


def test_documents_take_from_the_rate_of_their_tenant(world: World, path: CollectionPath) -> None:
    world.ops.tenants.update("aki-labs", TenantChanges(qps_quota=0))
    other = world.place("Other")
    for call in (
        lambda: world.ops.documents.upsert(path, notes("a")),
        lambda: world.ops.documents.update(path, {"x": 1}, ids=["a"]),
        lambda: world.ops.documents.delete(path, ids=["a"]),
        lambda: world.ops.documents.get(path, ["a"]),
        lambda: world.ops.documents.scan(path),
        lambda: world.ops.documents.count(path),
        lambda: world.ops.documents.search(path, vector=GOOD),
    ):
        with pytest.raises(RateLimited) as caught:
            call()
        assert caught.value.fields == {"limit": 0}
    assert world.ops.documents.count(other) == 0
    assert world.ops.collections.get(*path).name == "notes"  # metadata are free
    world.ops.tenants.update("aki-labs", TenantChanges(qps_quota=10**6))
    assert world.ops.documents.count(path) == 0


def test_a_quota_lowered_below_what_is_used_lets_only_shrinking_writes_pass(
    world: World, path: CollectionPath
) -> None:
    world.ops.documents.upsert(path, notes("a", "b"))
    world.ops.tenants.update("aki-labs", TenantChanges(storage_quota_bytes=10))
    with pytest.raises(QuotaExceeded) as caught:
        world.ops.documents.upsert(path, notes("c"))
    assert caught.value.fields["limit"] == 10
    world.ops.documents.upsert(path, [{"id": "a", "vector": GOOD}])
    assert world.ops.documents.delete(path, ids=["a"]) == 1
    assert world.ops.documents.count(path) == 1


@on_files
def test_a_change_of_nothing_makes_no_store(world: World, path: CollectionPath) -> None:
    assert world.ops.documents.delete(path, ids=["a"]) == 0
    assert world.ops.documents.update(path, {"a": 1}, ids=["a"]) == 0
    assert not list((world.directory / "tenants").glob("*.db"))


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"id": "a", "vector": [10**400] * 16}, "documents[0].vector"),
        ({"id": np.str_("a"), "vector": [1.0] * 16}, "documents[0].id"),
        ({"id": "a", "text": np.str_("a"), "vector": [1.0] * 16}, "documents[0].text"),
    ],
)
def test_foreign_values_are_refused_by_name(
    world: World, path: CollectionPath, document: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        world.ops.documents.upsert(path, [document])
    assert caught.value.field == field
