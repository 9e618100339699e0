"""Documents in process: validation, reads, scans, updates, deletions and quotas."""

from typing import Any

import numpy as np
import pytest

from akidb.domain.documents import DocumentInput, Include
from akidb.domain.errors import InvalidArgument, QuotaExceeded, RateLimited
from akidb.domain.fields import CollectionPath
from akidb.domain.ids import DocumentId
from akidb.operations import documents as ask
from akidb.operations.collections import GetCollection
from akidb.operations.tenants import GetUsage, UpdateTenant

from .worlds import GOOD, World, ids_of, notes, on_files, vector_of

NAN, INFINITY = float("nan"), float("inf")


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
    ({"metadata": {"a": ({1}, 2)}}, ".metadata.a[0]"),
    ({"metadata": {"a": "x" * (2**20)}}, ".metadata"),
    ({"txt": "x"}, ".txt"),
    (None, ""),
    ("text", ""),
    ([], ""),
]


@pytest.mark.parametrize(("wrong", "where"), WRONG_DOCUMENTS)
def test_invalid_document_is_named_by_index_and_nothing_is_stored(
    world: World, path: CollectionPath, wrong: Any, where: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        world.on(path, ask.UpsertDocuments, documents=with_one(3, wrong))
    assert caught.value.field == f"documents[3]{where}"
    assert world.on(path, ask.CountDocuments) == 0
    assert world.ops.perform(GetUsage(tenant="aki-labs")).storage_bytes.used == 0


@pytest.mark.parametrize("documents", [[], None, "x", b"x", {}, 7, [{}] * 10_001])
def test_invalid_batch_is_rejected(world: World, path: CollectionPath, documents: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        world.on(path, ask.UpsertDocuments, documents=documents)
    assert caught.value.field in {"documents", "documents[0]"}


def test_batch_id_and_text_are_accepted_at_documented_maximum(world: World, path: CollectionPath) -> None:
    large = [{"id": "\u00e9" * 256, "text": "x" * 2**20, "vector": GOOD}]
    assert world.on(path, ask.UpsertDocuments, documents=large).ids == ["\u00e9" * 256]
    many = [{"id": str(number), "vector": GOOD} for number in range(10_000)]
    assert world.on(path, ask.UpsertDocuments, documents=many).upserted == 10_000
    assert world.on(path, ask.CountDocuments) == 10_001
    assert len(world.on(path, ask.SearchDocuments, vector=GOOD, top_k=10_000, include=()).matches) == 10_000


def test_vectors_are_accepted_in_every_form(world: World, path: CollectionPath) -> None:
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
    world.on(
        path, ask.UpsertDocuments, documents=[{"id": str(n), "vector": form} for n, form in enumerate(forms)]
    )
    found = world.on(
        path, ask.GetDocuments, ids=[str(n) for n in range(len(forms))], include=[Include.VECTOR]
    )
    for each, form in zip(found, forms, strict=True):
        assert np.array_equal(np.asarray(each.vector), np.asarray(form, np.float32))


def test_document_without_id_gets_generated_id(world: World, path: CollectionPath) -> None:
    result = world.on(
        path, ask.UpsertDocuments, documents=[{"vector": GOOD}, {"id": "a", "vector": GOOD}, {"vector": GOOD}]
    )
    assert result.upserted == 3
    assert result.ids[1] == "a"
    made = [DocumentId.parse(result.ids[0]), DocumentId.parse(result.ids[2])]
    assert made == sorted(made)
    assert ids_of(world.on(path, ask.GetDocuments, ids=result.ids)) == result.ids


def test_struct_is_accepted_as_document(world: World, path: CollectionPath) -> None:
    made = DocumentInput(id="a", text="x", vector=GOOD.tolist(), metadata={"b": 1})
    world.on(path, ask.UpsertDocuments, documents=[made])
    [found] = world.on(path, ask.GetDocuments, ids=["a"])
    assert (found.text, found.metadata, found.vector) == ("x", {"b": 1}, None)


def test_search_for_text_requires_model(world: World, path: CollectionPath) -> None:
    with pytest.raises(InvalidArgument, match="has no embedding model"):
        world.on(path, ask.SearchDocuments, text="x")


def test_get_returns_each_known_id_once_in_requested_order(world: World, path: CollectionPath) -> None:
    world.on(path, ask.UpsertDocuments, documents=notes("a", "b", "c"))
    assert ids_of(world.on(path, ask.GetDocuments, ids=["c", "x", "a", "c"])) == ["c", "a"]


@pytest.mark.parametrize("ids", [[], None, "abc", [7], [""], ["a"] * 10_001, ["a", None]])
def test_invalid_ids_are_rejected(world: World, path: CollectionPath, ids: Any) -> None:
    for call in (
        lambda: world.on(path, ask.GetDocuments, ids=ids),
        lambda: world.on(path, ask.DeleteDocuments, ids=ids),
        lambda: world.on(path, ask.UpdateDocuments, metadata={"a": 1}, ids=ids),
    ):
        with pytest.raises(InvalidArgument) as caught:
            call()
        assert caught.value.field.startswith("ids")


@on_files
def test_reads_before_first_write_are_empty_and_create_no_store(world: World, path: CollectionPath) -> None:
    assert world.on(path, ask.GetDocuments, ids=["a"]) == []
    assert world.on(path, ask.ScanDocuments).items == []
    assert world.on(path, ask.CountDocuments) == 0
    found = world.on(path, ask.SearchDocuments, vector=GOOD)
    assert (found.matches, found.statistics.scanned) == ([], 0)
    assert list((world.directory / "tenants").iterdir()) == []


def test_scan_is_paged_by_id(world: World, path: CollectionPath) -> None:
    world.on(path, ask.UpsertDocuments, documents=notes(*(f"d{n}" for n in range(9)), metadata={"a": 1}))
    world.on(path, ask.UpsertDocuments, documents=notes("d4"))
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = world.on(path, ask.ScanDocuments, filter={"a": 1}, limit=3, cursor=cursor)
        seen += ids_of(page.items)
        cursor = page.next_cursor
        if cursor is None:
            break
        world.on(path, ask.UpsertDocuments, documents=notes(f"c{len(seen)}", metadata={"a": 1}))
    assert seen == [f"d{n}" for n in range(9) if n != 4]


def test_scan_cursor_is_bound_to_filter_and_collection(world: World, path: CollectionPath) -> None:
    world.collection(name="other")
    for place in (path, path._replace(collection="other")):
        world.on(place, ask.UpsertDocuments, documents=notes("a", "b"))
    cursor = world.on(path, ask.ScanDocuments, limit=1).next_cursor
    assert ids_of(world.on(path, ask.ScanDocuments, limit=1, cursor=cursor, filter={}).items) == ["b"]
    elsewhere = path._replace(collection="other")
    questions: list[tuple[CollectionPath, dict[str, Any]]] = [
        (path, {"cursor": cursor, "filter": {"a": 1}}),
        (elsewhere, {"cursor": cursor}),
        (path, {"cursor": "x"}),
    ]
    for place, question in questions:
        with pytest.raises(InvalidArgument) as caught:
            world.on(place, ask.ScanDocuments, **question)
        assert caught.value.field == "cursor"


def test_update_merges_metadata(world: World, path: CollectionPath) -> None:
    world.on(path, ask.UpsertDocuments, documents=notes("a", "b", metadata={"x": 1, "y": {"z": 1}}))
    patch = {"x": None, "y": {"w": 2}, "new": None, "v": [1]}
    assert world.on(path, ask.UpdateDocuments, metadata=patch, ids=["a", "c"]) == 1
    a, b = world.on(path, ask.GetDocuments, ids=["a", "b"], include=list(Include))
    assert a.metadata == {"y": {"z": 1, "w": 2}, "v": [1]}
    assert b.metadata == {"x": 1, "y": {"z": 1}}
    assert a.text == "text of a"
    assert np.array_equal(np.asarray(a.vector), vector_of("a"))
    assert world.on(path, ask.UpdateDocuments, metadata={"seen": True}, filter={"x": 1}) == 1
    assert world.on(path, ask.CountDocuments, filter={"seen": True}) == 1


def test_merge_over_size_limit_changes_nothing(world: World, path: CollectionPath) -> None:
    world.on(path, ask.UpsertDocuments, documents=notes("a", metadata={"x": "x" * 600_000}))
    with pytest.raises(InvalidArgument, match="metadata of 'a'"):
        world.on(path, ask.UpdateDocuments, metadata={"y": "y" * 600_000}, ids=["a"])
    [found] = world.on(path, ask.GetDocuments, ids=["a"])
    assert set(found.metadata or {}) == {"x"}


@pytest.mark.parametrize(
    "choice", [{}, {"ids": ["a"], "filter": {"x": 1}}, {"filter": {}}, {"filter": {"$and": [{}]}}]
)
def test_selection_of_all_or_no_documents_is_rejected(
    world: World, path: CollectionPath, choice: dict[str, Any]
) -> None:
    world.on(path, ask.UpsertDocuments, documents=notes("a"))
    with pytest.raises(InvalidArgument):
        world.on(path, ask.DeleteDocuments, **choice)
    with pytest.raises(InvalidArgument):
        world.on(path, ask.UpdateDocuments, metadata={"x": 1}, **choice)
    assert world.on(path, ask.CountDocuments) == 1


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
def test_invalid_filter_is_rejected_at_its_path(
    world: World, path: CollectionPath, filter: Any, field: str
) -> None:
    world.on(path, ask.UpsertDocuments, documents=notes("a"))
    for call in (
        lambda: world.on(path, ask.SearchDocuments, vector=GOOD, filter=filter),
        lambda: world.on(path, ask.ScanDocuments, filter=filter),
        lambda: world.on(path, ask.CountDocuments, filter=filter),
        lambda: world.on(path, ask.GetFacets, field="a", filter=filter),
        lambda: world.on(path, ask.DeleteDocuments, filter=filter),
        lambda: world.on(path, ask.UpdateDocuments, metadata={"x": 1}, filter=filter),
    ):
        with pytest.raises(InvalidArgument) as caught:
            call()
        assert caught.value.field == field
    assert world.on(path, ask.CountDocuments) == 1


def test_documents_count_against_rate_limit_of_tenant(world: World, path: CollectionPath) -> None:
    world.ops.perform(UpdateTenant(tenant="aki-labs", qps_quota=0))
    other = world.place("Other")
    for call in (
        lambda: world.on(path, ask.UpsertDocuments, documents=notes("a")),
        lambda: world.on(path, ask.UpdateDocuments, metadata={"x": 1}, ids=["a"]),
        lambda: world.on(path, ask.DeleteDocuments, ids=["a"]),
        lambda: world.on(path, ask.GetDocuments, ids=["a"]),
        lambda: world.on(path, ask.ScanDocuments),
        lambda: world.on(path, ask.CountDocuments),
        lambda: world.on(path, ask.GetFacets, field="a"),
        lambda: world.on(path, ask.SearchDocuments, vector=GOOD),
    ):
        with pytest.raises(RateLimited) as caught:
            call()
        assert caught.value.fields == {"limit": 0}
    assert world.on(other, ask.CountDocuments) == 0
    assert world.on(path, GetCollection).name == "notes"  # metadata are free
    world.ops.perform(UpdateTenant(tenant="aki-labs", qps_quota=10**6))
    assert world.on(path, ask.CountDocuments) == 0


def test_quota_below_usage_allows_only_shrinking_writes(world: World, path: CollectionPath) -> None:
    world.on(path, ask.UpsertDocuments, documents=notes("a", "b"))
    world.ops.perform(UpdateTenant(tenant="aki-labs", storage_quota_bytes=10))
    with pytest.raises(QuotaExceeded) as caught:
        world.on(path, ask.UpsertDocuments, documents=notes("c"))
    assert caught.value.fields["limit"] == 10
    world.on(path, ask.UpsertDocuments, documents=[{"id": "a", "vector": GOOD}])
    assert world.on(path, ask.DeleteDocuments, ids=["a"]) == 1
    assert world.on(path, ask.CountDocuments) == 1


@on_files
def test_noop_change_creates_no_store(world: World, path: CollectionPath) -> None:
    assert world.on(path, ask.DeleteDocuments, ids=["a"]) == 0
    assert world.on(path, ask.UpdateDocuments, metadata={"a": 1}, ids=["a"]) == 0
    assert not list((world.directory / "tenants").glob("*.db"))


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"id": "a", "vector": [10**400] * 16}, "documents[0].vector"),
        ({"id": b"a", "vector": [1.0] * 16}, "documents[0].id"),
        ({"id": "a", "text": np.bytes_(b"a"), "vector": [1.0] * 16}, "documents[0].text"),
    ],
)
def test_unsupported_values_are_rejected_by_field(
    world: World, path: CollectionPath, document: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        world.on(path, ask.UpsertDocuments, documents=[document])
    assert caught.value.field == field
